"""Videos at the source's frame rate with its sound: each frame with the mask nearest in time, moved to its place there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from sonomask.media.picture import Picture, Yuv
from sonomask.media.reader import SAMPLE_RATE, VideoReader
from sonomask.media.timecode import shifted
from sonomask.media.waiting import PictureQueue
from sonomask.media.writer import VideoWriter
from sonomask.outputs.following import Following
from sonomask.outputs.formats import Format
from sonomask.outputs.moment import Moment, OutputContext, Take
from sonomask.outputs.strip import StripPlanes
from sonomask.visualise.cutout import blur, cutout, dim, grey_matte, transparent
from sonomask.visualise.overlay import captions, overlay
from sonomask.visualise.planes import Marks, PlaneColours, overlay_planes
from sonomask.visualise.timeline import Timeline, envelope

__all__ = ["VIDEOS", "VideoKind", "timeline", "write_video"]

STRIP = 0.24  # height of the timeline, of the picture's shorter side
ROWS = 4  # of names on the timeline of an overlay with labels


@dataclass(frozen=True)
class VideoKind:
    """The differences between the video formats.

    Attributes:
        draw: Function from picture, labels and feather to a picture, RGB, RGBA or grey (H, W, 1); None for the overlay.
        encoding: Encoding of the file.
        sound: Whether the sound goes along.
    """

    draw: Callable[[np.ndarray, np.ndarray, float | None], np.ndarray] | None
    encoding: Literal["h264", "vp9-alpha", "prores-alpha"] = "h264"
    sound: bool = True


VIDEOS: dict[Format, VideoKind] = {
    "overlay": VideoKind(None),
    "cutout": VideoKind(cutout),
    "dim": VideoKind(dim),
    "blur": VideoKind(blur),
    "matte": VideoKind(grey_matte, sound=False),
    "alpha-webm": VideoKind(transparent, "vp9-alpha"),
    "alpha-mov": VideoKind(transparent, "prores-alpha"),
}


@contextmanager
def write_video(path: Path, context: OutputContext, kind: VideoKind) -> Iterator[Take]:
    """The video drawn anew. A second decoder follows the masks, half a step behind."""
    info = context.reader.info
    rows = ROWS if context.labels and context.things else 0
    strip = timeline(context.reader, rows) if kind.draw is None else None
    size = (info.height + (strip.height if strip else 0), info.width)
    with VideoWriter(
        path, size=size, rate=info.fps, audio_from=context.reader if kind.sound else None, overwrite=context.overwrite,
        encoding=kind.encoding, colours=info.colours, timecode=shifted(info.timecode, info.start, info.fps),
    ) as video:  # fmt: skip
        follower = Follower(context, kind, strip, video)
        with closing(follower.source):
            yield follower.take
            follower.finish()


class Follower:
    """Draws each frame with its nearest mask, moved along with the picture, as soon as that mask is known.

    Args:
        context: Context that the formats of the video share.
        kind: Way of drawing.
        strip: The overlay's timeline.
        video: Takes the pictures.
    """

    def __init__(self, context: OutputContext, kind: VideoKind, strip: Timeline | None, video: VideoWriter) -> None:
        self.context, self.kind, self.strip, self.video = context, kind, strip, video
        self.source = context.waiting or PictureQueue.of(context.reader)
        self.marks: tuple[UInt8[np.ndarray, "H W"], PlaneColours, Marks] | None = None
        self.foot: StripPlanes | None = None
        self.now = Moment(-1, 0.0, np.zeros(context.size, np.uint8), np.zeros(context.size, np.float32))
        self.following = Following(self.now)

    def take(self, moment: Moment) -> None:
        """Add the next mask."""
        if self.now.index >= 0:
            self._draw_until((self.now.time + moment.time) / 2)
        self.now, self.following = moment, Following(moment)

    def finish(self) -> None:
        """Draw what is left."""
        self._draw_until(float("inf"))

    def _draw_until(self, time: float) -> None:
        while (picture := self.source.before(time)) is not None:
            if self.strip is not None:
                self.strip.mark(picture.time, self.now.area, self.now.presence, self._names)
            labels = self.following.labels_at(picture)
            yuv = picture.yuv() if self._on_planes else None
            if yuv is None:
                self.video.write(self._drawn(picture, labels), picture.time)
            else:
                self.video.write_planes(partial(self._draw_planes, yuv, labels, picture.time), picture.time)

    @property
    def _names(self) -> list[str]:
        """Names of the things that are marked now, largest first."""
        largest = sorted(self.now.regions, key=lambda region: -region.area)
        return list(dict.fromkeys(self.context.of(region)[1].replace("_", " ") for region in largest))

    @property
    def _on_planes(self) -> bool:
        """Whether the overlay can be drawn without RGB: no text on it, and a size that suits subsampled colours."""
        height, width = self.context.size
        lettered = self.context.classes or self.context.labels  # for the whole video, so that its colours stay the same
        return self.kind.draw is None and not lettered and height % 2 == 0 and width % 2 == 0

    def _draw_planes(
        self, yuv: Yuv, labels: UInt8[np.ndarray, "H W"], time: float, target: Sequence[np.ndarray]
    ) -> None:
        height = self.context.size[0]
        colours = PlaneColours(yuv.matrix, yuv.colours.full)
        if self.marks is None or self.marks[0] is not labels or self.marks[1] != colours:
            self.marks = labels, colours, Marks(labels, colours)
        rows = (height, height // 2, height // 2)
        picture = [plane[:n] for plane, n in zip(target, rows, strict=True)]
        overlay_planes(yuv.planes, picture, self.marks[2], colours)
        if self.strip is not None:
            if self.foot is None or self.foot.colours != yuv.colours:
                self.foot = StripPlanes(self.strip, yuv.colours)
            for plane, n, own in zip(target, rows, self.foot.at(time), strict=True):
                plane[n:] = own

    def _drawn(self, picture: Picture, labels: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H2 W _C"]:
        image = picture.image(self.context.size)
        if self.kind.draw is not None:
            return self.kind.draw(image, labels, self.context.feather)
        image = overlay(image, labels, self.context.classes)
        if self.context.labels and self.now.regions:
            boxes = [(region.box, self.context.of(region)[1].replace("_", " ")) for region in self.now.regions]
            image = captions(image, boxes)
        return image if self.strip is None else np.concatenate([image, self.strip.draw(picture.time)])


def timeline(reader: VideoReader, rows: int = 0) -> Timeline | None:
    """The timeline below the video; None if the video's length is unknown, as for a live stream.

    Args:
        reader: Reader of the video.
        rows: Rows for the names of what sounds.
    """
    info = reader.info
    if info.duration is None:
        return None
    height = max(32, round(min(info.height, info.width) * STRIP))
    height += (info.height + height) % 2
    sound = None
    if info.has_audio:
        sound = envelope(reader.waveform(), info.duration, info.width, SAMPLE_RATE)
    return Timeline((height, info.width), info.duration, sound, rows)
