"""Deinterlace pictures by FFmpeg's `bwdif`; progressive ones pass unchanged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, TypeVar

import av
import av.filter

__all__ = ["deinterlaced"]

T = TypeVar("T")
TICK = Fraction(1, 1000)


def deinterlaced(frames: Iterator[tuple[T, Any]]) -> Iterator[tuple[T, Any]]:
    """Deinterlace frames (with their companions) from the first interlaced one on.

    The filter looks one frame ahead. Pictures that it can't process, such as tiny ones, are passed on unchanged.
    """
    graph: _Graph | None = None
    refused: set[tuple[str, int, int]] = set()
    for companion, frame in frames:
        shape = (frame.format.name, frame.width, frame.height)
        if graph is not None and graph.shape != shape:
            yield from graph.finish()
            graph = None
        if graph is None and frame.interlaced_frame and shape not in refused:
            try:
                graph = _Graph(frame, shape)
            except (
                av.FFmpegError,
                ValueError,
            ):  # fewer than three columns or rows, or a format of colours that it lacks
                refused.add(shape)
        if graph is None:
            yield companion, frame
            continue
        yield from graph.push(companion, frame)
    if graph is not None:
        yield from graph.finish()


class _Graph:
    def __init__(self, frame: Any, shape: tuple[str, int, int]) -> None:
        self.shape, self.count = shape, 0
        self.waiting: deque[Any] = deque()
        graph = self.graph = av.filter.Graph()
        self.source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=TICK)
        bwdif, self.sink = graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
        self.source.link_to(bwdif)
        bwdif.link_to(self.sink)
        graph.configure()

    def push(self, companion: Any, frame: Any) -> Iterator[tuple[Any, Any]]:
        self.waiting.append(companion)
        frame.pts, frame.time_base = self.count, TICK
        self.count += 1
        self.source.push(frame)
        yield from self._pull()

    def finish(self) -> Iterator[tuple[Any, Any]]:
        self.source.push(None)
        yield from self._pull()

    def _pull(self) -> Iterator[tuple[Any, Any]]:
        with suppress(BlockingIOError, EOFError, av.FFmpegError):
            while self.waiting:
                frame = self.sink.pull()
                yield self.waiting.popleft(), frame
