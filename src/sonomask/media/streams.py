"""Inspect a container's streams before decoding."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.stream import Disposition

from sonomask.errors import MediaError
from sonomask.media.opening import Limits
from sonomask.media.orientation import Orientation, orientation_of

__all__ = ["check_size", "displayed", "packets", "pixel_aspect", "sought", "stored_size", "timecode", "video_stream"]


def sought(container: Any, seconds: float) -> bool:
    """Go to a place at or before a time of the container's clock; a file that can't be sought in is read from its beginning."""
    try:
        container.seek(int(seconds * av.time_base), backward=True)
    except (av.FFmpegError, OSError):
        return False
    return True


def packets(container: Any, *streams: Any) -> Iterator[Any]:
    """Packets of some streams, up to the end or to where the file is damaged."""
    source = container.demux(*streams)
    while True:
        try:
            yield next(source)
        except (StopIteration, av.FFmpegError, OSError, ValueError):
            return


def video_stream(container: Any, source: str) -> Any:
    """The stream of pictures: the default one, else the first; never a cover picture or one of an unknown codec.

    Raises:
        MediaError: There is none.
    """
    streams = [stream for stream in container.streams.video if stream.codec_context is not None]
    found = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not found:
        raise MediaError(f"{source}: has no video stream. Give a file with pictures.")
    return next((stream for stream in found if stream.disposition & Disposition.default), found[0])


def pixel_aspect(stream: Any) -> Fraction | None:
    """Width of a pixel through its height: what the container says before what the codec says, as players do."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return aspect if aspect and 0.1 < aspect < 10 else None


def stored_size(frame: Any, aspect: Fraction | None) -> tuple[int, int]:
    """Height and width of a frame with square pixels, before it is turned."""
    height, width = frame.height, frame.width
    if aspect is None or aspect == 1:
        return height, width
    return (height, round(width * aspect)) if aspect > 1 else (round(height / aspect), width)


def displayed(frame: Any, aspect: Fraction | None) -> tuple[int, int]:
    """Height and width of a frame as shown."""
    orientation: Orientation = orientation_of(frame)
    return orientation.size(*stored_size(frame, aspect))


def check_size(width: int, height: int, source: str, limits: Limits) -> None:
    """Make sure that a picture is within the limit.

    Raises:
        MediaError: It is not.
    """
    if width * height > limits.pixels:
        raise MediaError(
            f"{source}: frames of {width}×{height} pixels, the limit is {limits.pixels} pixels. Scale it down first."
        )


def timecode(container: Any) -> str:
    """Timecode of the first frame, from the file's header, the picture's stream or a timecode stream."""
    heads = [container.metadata, *(stream.metadata for stream in container.streams if stream.type in ("video", "data"))]
    return next((str(head["timecode"])[:20] for head in heads if head.get("timecode")), "")
