"""Pictures cut to what the container says is shown of them, by FFmpeg's `crop`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, TypeAlias, TypeVar

import av.filter

from sonomask.media.boxes import Crop

__all__ = ["cropped"]

T = TypeVar("T")
TICK = Fraction(1, 1000)


Cutters: TypeAlias = dict[tuple[str, int, int], Any]
"""FFmpeg's graphs by the form of the pictures that they cut."""


def cropped(frames: Iterable[tuple[T, Any]], crop: Crop, cutters: Cutters | None = None) -> Iterator[tuple[T, Any]]:
    """Crop frames (with their companions) to the columns and rows that are shown.

    Where colours are stored for several pixels at once, the first column and row are rounded down to where a colour begins.

    Args:
        frames: Frames of PyAV, each with its companion.
        crop: Columns and rows that are not shown.
        cutters: Graphs of earlier calls with the same crop, to which new ones are added.
    """
    cutters = {} if cutters is None else cutters
    for companion, frame in frames:
        size = crop.size(frame.height, frame.width)
        if size is None:
            yield companion, frame
            continue
        shape = (frame.format.name, frame.width, frame.height)
        if shape not in cutters:
            cutters[shape] = _graph(frame, crop, size)
        time, base = frame.pts, frame.time_base
        frame.pts, frame.time_base = 0, TICK
        cutters[shape].push(frame)
        cut = cutters[shape].pull()
        cut.pts = time
        if base is not None:
            cut.time_base = base
        yield companion, cut


def _graph(frame: Any, crop: Crop, size: tuple[int, int]) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=TICK)
    cutter = graph.add("crop", f"{size[1]}:{size[0]}:{crop.left}:{crop.top}:exact=0")
    sink = graph.add("buffersink")
    source.link_to(cutter)
    cutter.link_to(sink)
    graph.configure()
    return graph
