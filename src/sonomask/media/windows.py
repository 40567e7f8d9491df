"""A video cut into windows of whole seconds, each with the sound around it."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from sonomask.media.reader import SAMPLE_RATE, Frame, VideoReader
from sonomask.request import Rate

SHORTEST = 0.05  # seconds that a picture must stand in a second to be shown there
MARGIN = 1  # seconds of sound beyond both ends


@dataclass(frozen=True)
class Window:
    """Some consecutive seconds.

    Attributes:
        first: Number of the first second.
        frames: The frames chosen in each second, one or more.
        waveform: 16 kHz mono from one second before the first to one after the last, zeros outside the track; None
            if the video has no sound stream.
        waveform_start: Time of its first sample.
        fresh: Number of seconds, from the end, that were in no window before. In a video shorter than a window the
            last second is repeated to fill it: then `fresh` counts from the beginning.
        repeated: Number of seconds at the end that are such copies.
        final: Whether it is the last one.
    """

    first: int
    frames: tuple[tuple[Frame, ...], ...]
    waveform: Float32[np.ndarray, " S"] | None
    waveform_start: float
    fresh: int
    repeated: int = 0
    final: bool = False


def windows(
    reader: VideoReader, *, rate: Rate = 1.0, seconds: int = 5, size: tuple[int, int] | None = None
) -> Iterator[Window]:
    """Iterate over adjacent windows; the last one overlaps the one before, so that it is complete.

    Two windows are held at most.

    Args:
        reader: Reader of the video.
        rate: See `VideoReader.frames`.
        seconds: Seconds of a window.
        size: (height, width) of the frames.
    """
    sound = _Sound(reader) if reader.info.has_audio else None
    held: deque[tuple[Frame, ...]] = deque(maxlen=seconds)
    fresh, total = 0, 0
    for frames, final in _by_second(reader, rate, size):
        held.append(frames)
        fresh, total = fresh + 1, total + 1
        if final and total < seconds:
            copies = (held[-1],) * (seconds - total)
            yield replace(_window(sound, 0, (*held, *copies), fresh), repeated=len(copies), final=True)
        elif fresh == seconds or final:
            yield replace(_window(sound, total - seconds, tuple(held), fresh), final=final)
            fresh = 0


def _by_second(
    reader: VideoReader, rate: Rate, size: tuple[int, int] | None
) -> Iterator[tuple[tuple[Frame, ...], bool]]:
    """The frames of each second, and whether it is the last; one in which nothing new appears shows what is on screen."""
    group: list[Frame] = []
    due = 0
    for frame in reader.frames(rate, size=size):
        if group and frame.second != group[-1].second:
            yield tuple(group), False
            group, due = group[-1:], due + 1
        standing = group[-1] if group else frame
        for missing in range(due, frame.second):
            yield (replace(standing, time=float(missing), second=missing),), False
            due = missing + 1
        group = [*group, frame] if group and group[-1].second == frame.second else [frame]
    while group and due + 1 < group[-1].gone - SHORTEST:
        yield tuple(group), False
        due += 1
        group = [replace(group[-1], time=float(due), second=due)]
    if group:
        yield tuple(group), True


def _window(sound: "_Sound | None", first: int, frames: tuple[tuple[Frame, ...], ...], fresh: int) -> Window:
    start, stop = first - MARGIN, first + len(frames) + MARGIN
    waveform = None if sound is None else sound.between(start, stop)
    return Window(first, frames, waveform, float(start), fresh)


class _Sound:
    """The track a second at a time, of which only the latest are kept."""

    def __init__(self, reader: VideoReader) -> None:
        self.blocks = reader.waveform(1.0)
        self.kept: dict[int, np.ndarray] = {}
        self.read = 0

    def between(self, start: int, stop: int) -> np.ndarray:
        """Whole seconds; zeros outside the track."""
        while self.read < stop:
            block = next(self.blocks, np.zeros(0, np.float32))
            self.kept[self.read] = np.pad(block, (0, SAMPLE_RATE - len(block)))
            self.read += 1
        for second in [s for s in self.kept if s < start - (stop - start)]:
            del self.kept[second]  # a later window reaches back by its own length at most
        return np.concatenate([self.kept.get(s, np.zeros(SAMPLE_RATE, np.float32)) for s in range(start, stop)])
