"""Monotonic times of frames, whatever a file's timestamps are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BACK", "MOST_FPS", "FrameClock", "Joins", "Stamps"]

MOST_FPS = 1000  # frames nearer to one another are left out
BACK = 1.0  # seconds by which a clock that goes back was set anew


class FrameClock:
    """Gives frames their times.

    Args:
        source: Source for messages.
        gap: Seconds above which a step forward is taken for a clock that was set anew.
        warnings: List to which warnings are added.
        start: Time at which reading began.
        shifts: Seconds to add in each piece of joined recordings, as `Joins` found them; worked out here where it ends.
        stands: Whether a picture stands from one time to another, in seconds, although the step is over `gap`; no unless
            given.
    """

    def __init__(
        self,
        source: str,
        gap: float,
        warnings: list[str],
        start: float = 0.0,
        *,
        shifts: Sequence[float] = (0.0,),
        stands: Callable[[float, float], bool] | None = None,
    ) -> None:
        self.source, self.gap, self.warnings, self.start = source, gap, warnings, start
        self.shifts, self.stands, self.piece = list(shifts), stands, 0
        self.last, self.shift = -math.inf, self.shifts[0]

    def at(self, time: float | None, spare: float) -> float | None:
        """Presentation time of a frame; None for a frame that is not shown.

        A clock that goes back by more than a second, or leaps, was set anew (joined recordings, streams).

        Args:
            time: Time of its timestamp.
            spare: Seconds after the frame before, where its timestamp is of no use.
        """
        begun = self.last >= 0
        following = self.last + spare if begun else self.start
        stamp = time
        time = following if stamp is None else stamp + self.shift
        earliest, latest = (self.last - BACK, self.last + self.gap) if begun else (-math.inf, self.start + self.gap)
        if stamp is not None and not earliest <= time <= latest and not self._stands(following, time):
            time = self._join(stamp, following)
        if -0.9 / MOST_FPS < time < 0:
            time = 0.0  # a start that was rounded
        if time < 0 or time < self.last + 0.9 / MOST_FPS:
            return None  # cut away by an edit list, or not after the one before
        self.last = time
        return time

    def _stands(self, since: float, time: float) -> bool:
        return time > since and self.stands is not None and self.stands(since, time)

    def _join(self, stamp: float, following: float) -> float:
        self.warnings.append(f"{self.source}: its clock leaps at {following:.1f} s; what follows is joined on.")
        self.piece += 1
        if (
            self.piece < len(self.shifts)
            and following - BACK <= stamp + self.shifts[self.piece] <= following + self.gap
        ):
            self.shift = self.shifts[self.piece]
            return max(stamp + self.shift, self.last + 1 / MOST_FPS)
        self.shift = following - stamp
        return following


@dataclass
class Joins:
    """Finds where recordings were joined end to end, from the stamps of all their streams.

    All streams of a piece are moved by the same time, so that sound and picture stay together over any number of joins.

    Args:
        gap: Seconds above which a step forward is taken for a clock that was set anew.
    """

    gap: float
    shifts: list[float] = field(default_factory=lambda: [0.0])
    end: float = 0.0
    _last: dict[int, float] = field(default_factory=dict)
    _piece: dict[int, int] = field(default_factory=dict)

    def place(self, stream: int, stamp: float, length: float = 0.0) -> float:
        """The time of a packet on the clock of the whole.

        Args:
            stream: Number of its stream.
            stamp: Decoding time in seconds.
            length: Seconds that it lasts.
        """
        last = self._last.get(stream)
        piece = self._piece.setdefault(stream, len(self.shifts) - 1)
        if last is not None and not last - BACK <= stamp <= last + self.gap:
            piece = self._piece[stream] = piece + 1
            if piece == len(self.shifts):
                self.shifts.append(self.end - stamp)
        self._last[stream] = stamp
        time = stamp + self.shifts[piece]
        self.end = max(self.end, time + length)
        return time


@dataclass
class Stamps:
    """Chooses between a frame's own time and its decoding time, whichever has been in order.

    Some containers (AVI) have no times of presentation, and others wrong ones; the decoder gives frames in order of
    presentation, so the times of decoding are right there but for a constant delay.

    Args:
        decoding: Trust times of decoding from the beginning.
    """

    decoding: bool = False
    delay: int = 0
    end: int | None = None
    _first_packet: int | None = None
    _last: tuple[int | None, int | None] = (None, None)
    _faults: tuple[int, int] = (0, 0)

    def packet(self, packet: Any) -> None:
        """Note a PyAV packet that goes into the decoder; `end` is when the last one ends."""
        if packet.dts is None:
            return
        if self._first_packet is None:
            self._first_packet = packet.dts
        begins = packet.dts if packet.pts is None or self.decoding else packet.pts
        self.end = max(begins + (packet.duration or 0), begins if self.end is None else self.end)

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        """The stamp of the next frame, in units of its time base."""
        if self._last == (None, None) and dts is not None and self._first_packet is not None:
            self.delay = max(0, dts - self._first_packet)
        faults = [n + (now is not None and before is not None and now <= before)
                  for n, now, before in zip(self._faults, (pts, dts), self._last, strict=True)]  # fmt: skip
        self._faults = faults[0], faults[1]
        self._last = (self._last[0] if pts is None else pts, self._last[1] if dts is None else dts)
        if dts is None or (pts is not None and not self.decoding and faults[0] <= faults[1]):
            return None if self.decoding else pts
        return dts - self.delay
