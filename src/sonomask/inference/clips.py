"""Group the frames of a window into clips, and the model's maps back into frames.

The model knows clips of T seconds with one frame from each. At more frames per second, *phase* j is the clip of each
second's frame j, so that the frames of every clip stay 1 s apart:

    second        0         1         2
    frames        a b c     d e f     g h i
    phase 0       a         d         g
    phase 1         b         e         h
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from sonomask.media.reader import Frame
from sonomask.media.windows import Window
from sonomask.request import Rate

__all__ = ["by_phase", "clips_of", "fresh", "wanted"]

Item = TypeVar("Item")


def clips_of(window: Window, *, dense: bool = False) -> list[list[Frame]]:
    """The clips of a window, by phase; one clip with every frame for a model that is `dense`."""
    if dense:
        return [[frame for second in window.frames for frame in second]]
    count = max(map(len, window.frames))
    return [[frames[min(phase, len(frames) - 1)] for frames in window.frames] for phase in range(count)]


def by_phase(items: Sequence[Item], window: Window) -> list[list[Item]]:
    """Arrange one item per frame of a window in order, given in the groups of `clips_of`."""
    own = iter(items)
    grouped = [[next(own) for _ in frames] for frames in window.frames]
    count = max(map(len, grouped))
    return [[second[min(phase, len(second) - 1)] for second in grouped] for phase in range(count)]


def fresh(window: Window) -> Iterable[int]:
    """The seconds of a window that were in no window before it."""
    return range(window.fresh) if window.repeated else range(len(window.frames) - window.fresh, len(window.frames))


def wanted(second: int, rate: Rate, *, final: bool = False) -> bool:
    """Whether a second gets a mask; below one mask per second, the second in which the next step ends.

    The final second of a video gets one too if it is shorter than a step.
    """
    if isinstance(rate, str) or rate >= 1 or (final and (second + 1) * rate < 1):
        return True
    return math.floor((second + 1) * rate + 1e-9) > math.floor(second * rate + 1e-9)
