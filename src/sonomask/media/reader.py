"""One reader for whatever FFmpeg can decode: frames by presentation time, sound as 16 kHz mono.

    VideoReader   the clock of the part that is wanted; frames by rate or time; pictures that stand
        Decoder   pictures, pixels and samples of the source: `LocalDecoder`, or that of `sonomask.media.sandbox`

Time zero is the start of the container's timeline, or of the part that is wanted. Picture and sound have a decoder each, so
neither waits for the other and nothing is buffered; memory does not depend on the length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count, takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from sonomask.errors import MediaError
from sonomask.media.decoder import LocalDecoder
from sonomask.media.info import Decoder, Selection, VideoInfo
from sonomask.media.opening import FILE_PROTOCOLS, URL, URL_PROTOCOLS, Limits, decoded, open_media
from sonomask.media.skipping import LATE
from sonomask.media.sound import SAMPLE_RATE, resampled
from sonomask.request import Rate, check_rate

__all__ = ["FILE_PROTOCOLS", "SAMPLE_RATE", "URL", "URL_PROTOCOLS", "Frame", "Limits", "VideoInfo", "VideoReader",
           "read_sound"]  # fmt: skip

STANDING = 0.2  # seconds after which a picture that stands is given again, where that is asked for
LONGEST_USUAL = (
    0.34  # seconds between two frames of a video with few of them, in which pictures don't count as standing
)


@dataclass(frozen=True)
class Frame:
    """A picture at a moment.

    Attributes:
        time: Seconds.
        second: Which step of one second it belongs to.
        image: RGB.
        gone: Time at which it goes, where every frame is asked for.
    """

    time: float
    second: int
    image: UInt8[np.ndarray, "H W 3"]
    gone: float = 0.0


class VideoReader:
    """Reads a video file or stream; use it in a `with` block.

    Args:
        source: Path, or an http(s), rtsp, rtmp, srt, udp or rtp address.
        limits: What it may cost.
        start: Seconds of the source at which the wanted part begins; the reader's clock is 0 there. What lies before costs
            nothing but the way from the key frame.
        end: Seconds of the source at which it ends; None for the whole.
        audio_track: Number from 1, language or title of the sound track to hear, or "mix" for all at once; None for the
            default one, or the first that is not silent.
        hwaccel: Hardware decoder, as for `decoder.LocalDecoder`.
        decoder: Another way to the same pictures and sound.

    Raises:
        MediaError: There is no such file, it is no video, it is beyond a limit, or it has no such sound track.
        ValueError: The part is not in the video, or ends before it starts.
    """

    def __init__(
        self,
        source: str | Path,
        limits: Limits | None = None,
        *,
        start: float = 0.0,
        end: float | None = None,
        audio_track: int | str | None = None,
        hwaccel: str | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self.source, self.limits = str(source), limits or Limits()
        self.selection = Selection(start, end, audio_track)
        self.decoder = decoder or LocalDecoder(source, self.limits, self.selection, hwaccel)
        self.guarded, self.warnings = self.decoder.guarded, self.decoder.warnings
        try:
            self.info = self._part(self.decoder.info)
        except (MediaError, ValueError):
            self.decoder.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.decoder.close()

    @property
    def is_part(self) -> bool:
        """Whether a part of the source is read."""
        return self.selection.start > 0 or self.selection.end is not None

    def _part(self, info: VideoInfo) -> VideoInfo:
        start, end = self.selection.start, self.selection.end
        if info.duration is not None and start >= info.duration:
            raise ValueError(f"`start`: the video has {info.duration:.1f} s, so there is nothing at {start:g} s.")
        last = min((t for t in (info.duration, end) if t is not None), default=None)
        length = None if last is None else last - start
        if self.is_part and length is not None and self.limits.seconds is not None and length > self.limits.seconds:
            raise MediaError(f"{self.source}: {length:.0f} s are asked for, the limit is {self.limits.seconds:.0f} s.")
        return replace(info, duration=length, start=start, end=end)

    def frames(
        self,
        rate: Rate = "native",
        *,
        start: float = 0.0,
        stop: float | None = None,
        size: tuple[int, int] | None = None,
        again: bool = False,
    ) -> Iterator[Frame]:
        """Frames in order of presentation.

        A picture stays on screen until the next one, and the last one until the sound ends.

        Args:
            rate: "native" for every frame; a number for that many each second: the i-th is what is on screen 15/16 through its
                step; "avsbench" for AVSBench's choice of one each second, which counts frames at the average rate rounded to a
                whole number (Source: its preprocessing scripts). A last step that is cut short shows the last frame.
            start: Seconds; from the first step that begins there or later.
            stop: Seconds; steps that begin there or later are left out.
            size: (height, width) to scale to; the displayed size unless given.
            again: Whether, at the rate "native", to give a picture that stands again each 0.2 s.

        Raises:
            MediaError: A frame is beyond the limit of pixels.
            ValueError: The rate is no such.
        """
        if rate == "native":
            for time, picture, gone in self._on_screen(start):
                image = None
                for moment in self._moments(time, gone) if again else (time,):
                    if stop is not None and moment >= stop:
                        return
                    if moment >= start:
                        image = self._pixels(picture, size) if image is None else image
                        yield Frame(moment, math.floor(moment), image, gone)
            return
        steps = takewhile(lambda step: stop is None or step[1] < stop, self._steps(rate))
        pending = (step for step in steps if step[1] >= start)
        yield from self._pick(pending, start, size, None if isinstance(rate, str) else float(rate))

    def _moments(self, time: float, gone: float) -> Iterator[float]:
        """When a picture that stands from one time to another is given again; the usual distance of frames is no standing."""
        usual = min(max(STANDING, 1.5 / float(self.info.fps)), LONGEST_USUAL)
        pieces = math.ceil((gone - time) / STANDING - 1e-3) if gone - time > usual + 1e-3 else 1
        for piece in range(pieces):
            yield time + (gone - time) * piece / pieces

    def at(self, times: Iterable[float], *, size: tuple[int, int] | None = None) -> Iterator[Frame]:
        """What is on screen at each of the times, past the end the last frame.

        Args:
            times: Seconds, in order; asked for one by one, so they may become known as the iterator advances.
            size: (height, width) to scale to; the displayed size unless given.
        """
        return self._pick(((math.floor(time), -math.inf, time) for time in times), 0.0, size)

    def _steps(self, rate: Rate) -> Iterator[tuple[int, float, float]]:
        """(second, beginning, moment) of each step, in seconds."""
        if rate == "avsbench":
            interval = max(1, round(float(self.info.fps)))
            for second in count():
                index = int(second * interval + LATE * interval)
                yield second, float(second * interval / self.info.fps), float((index + Fraction(1, 2)) / self.info.fps)
        check_rate(rate)
        pace = float(rate)
        for i in count():
            yield math.floor(i / pace), i / pace, (i + LATE) / pace

    def _pick(
        self,
        steps: Iterator[tuple[int, float, float]],
        start: float,
        size: tuple[int, int] | None,
        pace: float | None = None,
    ) -> Iterator[Frame]:
        step = next(steps, None)
        last, end = None, 0.0
        for time, picture, gone in self._on_screen(start, pace):
            while step is not None and last is not None and step[2] < time:
                yield Frame(step[2], step[0], self._pixels(last, size))
                step = next(steps, None)
            if step is None:
                return
            last, end = picture, gone
        while step is not None and last is not None and step[1] < end - 1e-6:
            yield Frame(min(step[2], max(step[1], end)), step[0], self._pixels(last, size))
            step = next(steps, None)

    def _on_screen(self, start: float, pace: float | None = None) -> Iterator[tuple[float, Any, float]]:
        """(time, picture, time at which it goes) on the reader's clock, from the last one at or before `start`.

        With a pace (`Decoder.pictures`), what is on screen at no step of it may be left out.
        """
        offset, stop = self.selection.start, math.inf
        if self.selection.end is not None:
            stop = self.selection.end - offset
        standing: tuple[Any, float] | None = None
        for time, picture, gone in self.decoder.pictures(start + offset, pace):
            time, gone = time - offset, min(gone - offset, stop)
            if time >= stop:
                break
            if time < -1e-6:  # before the part: on screen where that begins, unless another one follows
                standing = picture, gone
                continue
            if standing is not None and time > 1e-6:
                yield 0.0, standing[0], time
            standing = None
            yield max(time, 0.0), picture, gone
        if standing is not None and standing[1] > 0:
            yield 0.0, *standing

    def _pixels(self, picture: Any, size: tuple[int, int] | None) -> UInt8[np.ndarray, "H W 3"]:
        return self.decoder.pixels(picture, size)

    def waveform(
        self, block: float = 1.0, *, start: float = 0.0, stop: float | None = None
    ) -> Iterator[Float32[np.ndarray, " S"]]:
        """The sound in pieces of `block` seconds, the last one shorter: 16 kHz mono.

        The first sample is at `start` of the same clock as the frames; where there is no sound there are zeros. Channels are
        mixed as FFmpeg does; where they cancel each other the louder one is heard, and the warnings say so.

        Raises:
            MediaError: There is no sound stream.
        """
        if not self.info.has_audio:
            raise MediaError(f"{self.source}: {self.info.sound_missing}")
        size = max(1, round(block * SAMPLE_RATE))
        ends = [t for t in (stop, self._length) if t is not None]
        left = max(0, round((min(ends) - start) * SAMPLE_RATE)) if ends else None
        store = np.zeros(0, np.float32)
        for piece in self.decoder.samples(start + self.selection.start):
            store = np.concatenate([store, piece[0]])
            while len(store) >= size and (left is None or left >= size):
                yield store[:size]
                store = store[size:]
                left = None if left is None else left - size
            if left is not None and len(store) >= left:
                break
        rest = store if left is None else store[:left]
        if len(rest):
            yield rest

    @property
    def _length(self) -> float | None:
        """Seconds after which the wanted part ends; None for the end of the source."""
        return None if self.selection.end is None else self.selection.end - self.selection.start

    def track(self, rate: int = 48_000, layout: Literal["mono", "stereo"] = "stereo") -> Iterator[np.ndarray]:
        """The sound for people to hear: pieces of (channels, S) float32 from time 0, zeros where there is none.

        Raises:
            MediaError: The sound can't be decoded.
        """
        left = None if self._length is None else round(self._length * rate)
        for piece in self.decoder.samples(self.selection.start, rate, layout) if self.info.has_audio else ():
            yield piece if left is None else piece[:, :left]
            left = None if left is None else left - piece.shape[1]
            if left is not None and left <= 0:
                return


def read_sound(source: str | Path, seconds: float) -> Float32[np.ndarray, " S"]:
    """The first seconds of a sound or video file: 16 kHz mono, mixed as FFmpeg does.

    Args:
        source: Path.
        seconds: Seconds to read at most.

    Raises:
        MediaError: It can't be opened, or has no sound.
    """
    pieces, left = [np.zeros(0, np.float32)], round(seconds * SAMPLE_RATE)
    with open_media(str(source), Limits()) as container:
        if not container.streams.audio or container.streams.audio[0].codec_context is None:
            raise MediaError(f"{source}: has no sound stream.")
        for _, piece in resampled(str(source), decoded(container, container.streams.audio[0], []), []):
            pieces.append(piece[0])
            if sum(map(len, pieces)) >= left:
                break
    return np.concatenate(pieces)[:left]
