"""The memory of a streaming model: traces of the last seconds, in constant space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from sonomask.models.parts.tpavi import Trace

Traces: TypeAlias = tuple[Trace | None, ...]  # one for each level; None where fusion looks at its own second alone

DENSEST = 1 / 32  # seconds between two that are kept; a moment is then met within half of that


@dataclass(frozen=True)
class Past:
    """The traces of a stream's frames of the last seconds.

    The model was trained on clips whose frames are 1 s apart. At any frame rate, a step at time τ sees the frames nearest to
    τ-1, τ-2, …, if there are any within half a second. At most 32 frames a second are kept, so size and cost are bounded.

    Attributes:
        seconds: Number of seconds that the fusion sees together, the present one included.
        kept: Times in seconds, and the traces, in order.
    """

    seconds: int
    kept: tuple[tuple[float, Traces], ...] = ()

    @property
    def latest(self) -> float | None:
        """Time of the last frame that was kept."""
        return self.kept[-1][0] if self.kept else None

    def before(self, time: float) -> list[Traces]:
        """For each second before `time` the nearest trace, in order; seconds without a frame are skipped."""
        nearest: dict[int, tuple[float, Traces]] = {}
        for then, traces in self.kept:
            ago = round(time - then)
            away = abs(time - then - ago)
            if 0 < ago < self.seconds and (ago not in nearest or away < nearest[ago][0]):
                nearest[ago] = (away, traces)
        return [nearest[ago][1] for ago in sorted(nearest, reverse=True)]

    def add(self, time: float, traces: Traces) -> Past:
        """The past with one more trace, and without those that are too old to be used again."""
        if self.seconds < 2 or not any(traces) or (self.kept and time - self.kept[-1][0] < DENSEST - 1e-6):
            return self
        alive = tuple(entry for entry in self.kept if time - entry[0] <= self.seconds)
        return replace(self, kept=(*alive, (time, traces)))


def per_level(seconds: Sequence[Traces]) -> list[list[Trace | None]]:
    """By level, then by second."""
    return [list(level) for level in zip(*seconds, strict=True)]
