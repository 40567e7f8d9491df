"""Videos at the source's frame rate with its sound: each frame with the mask that is nearest in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from sonomask.media.reader import SAMPLE_RATE, Frame, VideoReader
from sonomask.media.writer import VideoWriter
from sonomask.outputs.formats import Format
from sonomask.outputs.moment import Job, Moment, Take
from sonomask.visualise.cutout import blur, cutout, dim, transparent
from sonomask.visualise.overlay import captions, overlay
from sonomask.visualise.timeline import Timeline, envelope

__all__ = ["VIDEOS", "VideoKind", "timeline", "write_video"]

STRIP = 0.24  # height of the timeline, of the picture's shorter side


@dataclass(frozen=True)
class VideoKind:
    """What distinguishes the videos.

    Attributes:
        draw: From picture and labels to a picture, RGB, RGBA or grey (H, W, 1); None for the overlay with its timeline.
        encoding: Of the file.
        sound: Whether the sound goes along.
    """

    draw: Callable[[np.ndarray, np.ndarray], np.ndarray] | None
    encoding: Literal["h264", "vp9-alpha", "prores-alpha"] = "h264"
    sound: bool = True


VIDEOS: dict[Format, VideoKind] = {
    "overlay": VideoKind(None),
    "cutout": VideoKind(cutout),
    "dim": VideoKind(dim),
    "blur": VideoKind(blur),
    "matte": VideoKind(lambda _, labels: np.where(labels > 0, np.uint8(255), np.uint8(0))[..., None], sound=False),
    "alpha-webm": VideoKind(transparent, "vp9-alpha"),
    "alpha-mov": VideoKind(transparent, "prores-alpha"),
}


@contextmanager
def write_video(path: Path, job: Job, kind: VideoKind) -> Iterator[Take]:
    """The video drawn anew. A second decoder follows the masks, half a step behind."""
    info = job.reader.info
    strip = timeline(job.reader) if kind.draw is None else None
    size = (info.height + (strip.height if strip else 0), info.width)
    with VideoWriter(
        path, size=size, rate=info.fps, audio_from=job.reader if kind.sound else None, overwrite=job.overwrite,
        encoding=kind.encoding, colours=info.colours,
    ) as video:  # fmt: skip
        follower = Follower(job, kind, strip, video.write)
        yield follower.take
        follower.finish()


class Follower:
    """Draws each frame once it is known which mask is nearest.

    Args:
        job: Whose video.
        kind: How to draw.
        strip: The overlay's timeline.
        write: Takes picture and time.
    """

    def __init__(
        self, job: Job, kind: VideoKind, strip: Timeline | None, write: Callable[[np.ndarray, float], None]
    ) -> None:
        self.job, self.kind, self.strip, self.write = job, kind, strip, write
        self.frames = job.reader.frames("native", size=job.size, again=True)
        self.pending: Frame | None = next(self.frames, None)
        self.now = Moment(-1, 0.0, np.zeros(job.size, np.uint8), np.zeros((0, 0), np.float32))

    def take(self, moment: Moment) -> None:
        """Hand over the next mask."""
        if self.now.index >= 0:
            self._draw_until((self.now.time + moment.time) / 2)
        self.now = moment

    def finish(self) -> None:
        """Draw what is left."""
        self._draw_until(float("inf"))

    def _draw_until(self, time: float) -> None:
        while self.pending is not None and self.pending.time < time:
            self.write(self._drawn(self.pending), self.pending.time)
            self.pending = next(self.frames, None)

    def _drawn(self, frame: Frame) -> UInt8[np.ndarray, "H2 W _C"]:
        if self.kind.draw is not None:
            return self.kind.draw(frame.image, self.now.labels)
        image = overlay(frame.image, self.now.labels, self.job.classes)
        if self.job.labels and self.now.regions:
            boxes = [(region.box, self.job.of(region)[1].replace("_", " ")) for region in self.now.regions]
            image = captions(image, boxes)
        if self.strip is None:
            return image
        self.strip.mark(frame.time, self.now.area, self.now.presence)
        return np.concatenate([image, self.strip.draw(frame.time)])


def timeline(reader: VideoReader) -> Timeline | None:
    """None where the container does not tell how long the video is, as a live stream."""
    info = reader.info
    if info.duration is None:
        return None
    height = max(32, round(min(info.height, info.width) * STRIP))
    height += (info.height + height) % 2
    sound = None
    if info.has_audio:
        sound = envelope(reader.waveform(), info.duration, info.width, SAMPLE_RATE)
    return Timeline((height, info.width), info.duration, sound)
