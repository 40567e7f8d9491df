"""Decoded pictures that wait until their mask is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

from sonomask.media.picture import Picture
from sonomask.media.reader import VideoReader
from sonomask.threads import ahead

__all__ = ["PictureQueue", "fits", "noting", "pictures_of"]
ROOM = 600e6  # bytes of waiting pictures; a video whose windows need more is decoded twice
AHEAD = 4  # pictures that a decoder of its own may be ahead


class PictureQueue:
    """A line of pictures, in order.

    Filled by `noting(reader, waiting.add)` from the thread that decodes for the model, or by a decoder of its own (`of`).

    Args:
        source: Iterator of pictures for the case that none was added; None if all are.
    """

    def __init__(self, source: Iterator[Picture] | None = None) -> None:
        self.line: deque[Picture] = deque()
        self.source = source

    @classmethod
    def of(cls, reader: VideoReader) -> PictureQueue:
        """Use a second decoder, in a thread of its own unless the reader is guarded (its frames can't wait)."""
        pictures = pictures_of(reader)
        return cls(pictures if reader.guarded else ahead(pictures, AHEAD))

    def add(self, picture: Picture) -> None:
        """Put a picture at the end of the line."""
        self.line.append(picture)

    def before(self, time: float) -> Picture | None:
        """The next picture, if it appears before that time; else it stays in line."""
        if not self.line and self.source is not None:
            following = next(self.source, None)
            if following is not None:
                self.line.append(following)
        return self.line.popleft() if self.line and self.line[0].time < time else None

    def close(self) -> None:
        """End the decoder, if there is one."""
        self.line.clear()
        if self.source is not None and hasattr(self.source, "close"):
            self.source.close()


def fits(reader: VideoReader, seconds: float) -> bool:
    """Whether the pictures of that many seconds fit into the memory for waiting ones."""
    info = reader.info
    return not reader.guarded and 1.5 * info.width * info.height * float(info.fps) * seconds <= ROOM


def pictures_of(reader: VideoReader) -> Iterator[Picture]:
    """Iterate over every picture of a video, repeating still ones; each is converted only when it is used.

    Those of a guarded reader have to be converted before the next one is taken.
    """
    for time, frame, gone in reader._on_screen(0.0):
        for moment in reader._moments(time, gone):
            yield _picture(reader, moment, frame)


def noting(reader: VideoReader, take: Callable[[Picture], None]) -> VideoReader:
    """A view of a reader that hands each picture that it decodes to `take`, so that it need not be decoded again."""
    view = copy(reader)

    def on_screen(start: float, pace: float | None = None) -> Iterator[tuple[float, Any, float]]:  # noqa: ARG001 - all are drawn
        for time, frame, gone in reader._on_screen(start):
            for moment in reader._moments(time, gone):
                take(_picture(reader, moment, frame))
            yield time, frame, gone

    view._on_screen = on_screen  # type: ignore[method-assign]
    return view


def _picture(reader: VideoReader, time: float, frame: Any) -> Picture:
    info = reader.info
    size = getattr(frame, "height", 0), getattr(frame, "width", 0)
    plain = not reader.guarded and not info.rotation and not info.mirrored and size == (info.height, info.width)
    return Picture(time, frame, reader._pixels, info.colours if plain else None)
