"""The timeline of an overlay in the video's own colours: only what changed since the frame before is converted."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from sonomask.media.colour import Colours
from sonomask.media.picture import planes_of_rgb
from sonomask.visualise.timeline import Timeline

__all__ = ["StripPlanes"]

MARGIN = 8  # columns beside a change that are converted too, since colours are shared by neighbours
CHUNK = 64  # columns are converted in multiples of so many: FFmpeg's scaler is made anew for each size


class StripPlanes:
    """Y, U and V of a timeline.

    Args:
        timeline: Timeline of even size.
        colours: Colours of the video.
    """

    def __init__(self, timeline: Timeline, colours: Colours) -> None:
        self.timeline, self.colours = timeline, colours
        self.planes: tuple[UInt8[np.ndarray, "_h _w"], ...] = ()
        self.texts: tuple[str, ...] = ()
        self.columns = (0, 0)

    def at(self, time: float) -> tuple[UInt8[np.ndarray, "_h _w"], ...]:
        """The strip at a moment not before the last one; the arrays change with the next call."""
        strip, texts, columns = self.timeline, self.timeline.texts(time), self.timeline.columns(time)
        if not self.planes:
            self.planes = tuple(plane.copy() for plane in planes_of_rgb(strip.draw(time), self.colours))
        else:
            if texts != self.texts:
                self._put(strip.heading(time), 0, 0)
            if columns != self.columns:
                first = max(0, min(*columns, *self.columns) - MARGIN) // 2 * 2
                last = min(strip.width, max(*columns, *self.columns) + MARGIN)
                width = min(strip.width, -(-(last - first) // CHUNK) * CHUNK)
                first = min(first, strip.width - width)
                self._put(strip.lanes(time, first, first + width), strip.head, first)
        self.texts, self.columns = texts, columns
        return self.planes

    def _put(self, image: UInt8[np.ndarray, "h w 3"], top: int, left: int) -> None:
        for plane, part, shrink in zip(self.planes, planes_of_rgb(image, self.colours), (1, 2, 2), strict=True):
            height, width = part.shape
            plane[top // shrink :, left // shrink :][:height, :width] = part
