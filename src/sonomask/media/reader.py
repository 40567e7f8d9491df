"""One reader for whatever FFmpeg can decode: frames by presentation time, sound as 16 kHz mono.

Time zero is the start of the container's timeline. Picture and sound have a decoder each, so neither waits for the other
and nothing is buffered; memory does not depend on the length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import av
import numpy as np
from av.stream import Disposition
from jaxtyping import Float32, UInt8

from sonomask.errors import MediaError
from sonomask.media.clock import MOST_FPS, Clock
from sonomask.media.opening import FILE_PROTOCOLS, URL, URL_PROTOCOLS, Limits, decoded, open_media, told
from sonomask.request import Rate, check_rate

__all__ = ["FILE_PROTOCOLS", "SAMPLE_RATE", "URL", "URL_PROTOCOLS", "Frame", "Limits", "VideoInfo", "VideoReader",
           "read_sound"]  # fmt: skip

SAMPLE_RATE = 16_000  # Hz
LATE = 15 / 16  # of each step: where AVSBench takes its frame
GAP = 0.05  # seconds by which sound may be off its timestamp before silence is put in or sound left out
PREROLL = 0.5  # seconds decoded before a start in the middle, for codecs that need a run-up
SLOWEST_FPS = Fraction(1, 3600)
RATES = (1000, 768_000)  # Hz that a sound may have; others are damage, and a second of them could be a day


@dataclass(frozen=True)
class VideoInfo:
    """What is known before decoding.

    Attributes:
        source: Path or URL.
        width: As displayed: after pixel aspect and rotation.
        height: As displayed.
        fps: Average frame rate.
        duration: Seconds, or None if the container does not tell.
        rotation: Quarter turns counter-clockwise that were applied, in degrees.
        has_audio: Whether there is a sound stream.
    """

    source: str
    width: int
    height: int
    fps: Fraction
    duration: float | None
    rotation: int
    has_audio: bool


@dataclass(frozen=True)
class Frame:
    """A picture at a moment.

    Attributes:
        time: Seconds.
        second: Which step of one second it belongs to.
        image: RGB.
    """

    time: float
    second: int
    image: UInt8[np.ndarray, "H W 3"]


class VideoReader:
    """Reads a video file or stream; use it in a `with` block.

    Args:
        source: Path, or an http(s), rtsp, rtmp, srt, udp or rtp address.
        limits: What it may cost.

    Raises:
        MediaError: There is no such file, it is no video, or it is beyond a limit.
    """

    guarded = False  # whether the file is read by another process, see `sandbox`

    def __init__(self, source: str | Path, limits: Limits | None = None) -> None:
        self.source, self.limits = str(source), limits or Limits()
        self.warnings: list[str] = []
        with told(self.source), open_media(self.source, self.limits) as container:
            self.info, self._origin = self._examine(container)
        self._open_containers: list[Any] = []

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for container in self._open_containers:
            container.close()

    def _examine(self, container: Any) -> tuple[VideoInfo, float]:
        stream = _video_stream(container, self.source)
        _check_size(stream.codec_context.width, stream.codec_context.height, self.source, self.limits)
        frame = next(decoded(container, stream, []), None)
        if frame is None:
            raise MediaError(f"{self.source}: nothing in its video stream can be decoded. Is the file complete?")
        duration = container.duration / av.time_base if container.duration else None
        if duration is not None and not 0 < duration < 1e9:  # "unknown" in some containers
            duration = None
        if self.limits.seconds is not None and duration is not None and duration > self.limits.seconds:
            raise MediaError(
                f"{self.source}: {duration:.0f} s long, the limit is {self.limits.seconds:.0f} s. Cut it first."
            )
        self._aspect = stream.codec_context.sample_aspect_ratio
        width, height, turns = _displayed(frame, self._aspect)
        _check_size(width, height, self.source, self.limits)
        rates = (stream.average_rate, stream.guessed_rate)
        fps = next((r for r in rates if r and SLOWEST_FPS <= r <= MOST_FPS), Fraction(25))
        origin = (container.start_time or 0) / av.time_base
        if abs(origin) > 1e9:
            origin = frame.time or 0.0
        sound = self._hears(container)
        return VideoInfo(self.source, width, height, Fraction(fps), duration, turns * 90, sound), origin

    def _hears(self, container: Any) -> bool:
        """Whether there is a sound stream that can be decoded."""
        if not container.streams.audio:
            return False
        codec = container.streams.audio[0].codec_context
        if codec is None or not RATES[0] <= codec.sample_rate <= RATES[1]:
            rate = "unknown" if codec is None else f"{codec.sample_rate} Hz"
            self.warnings.append(f"{self.source}: its sound is left out: it can't be decoded (sample rate {rate}).")
            return False
        return True

    def frames(
        self,
        rate: Rate = "native",
        *,
        start: float = 0.0,
        stop: float | None = None,
        size: tuple[int, int] | None = None,
    ) -> Iterator[Frame]:
        """Frames in order of presentation.

        Args:
            rate: "native" for every frame; a number for that many each second: the i-th is what is on screen 15/16
                through its step; "avsbench" for AVSBench's choice of one each second, which counts frames at the average
                rate rounded to a whole number (Source: its preprocessing scripts). A last step that is cut short shows
                the last frame.
            start: Seconds; from the first step that begins there or later.
            stop: Seconds; steps that begin there or later are left out.
            size: (height, width) to scale to; the displayed size unless given.

        Raises:
            MediaError: A frame is beyond the limit of pixels.
            ValueError: The rate is no such.
        """
        if rate == "native":
            for time, frame, _ in self._on_screen(start):
                if stop is not None and time >= stop:
                    return
                if time >= start:
                    yield Frame(time, math.floor(time), self._convert(frame, size))
            return
        steps = takewhile(lambda step: stop is None or step[1] < stop, self._steps(rate))
        pending = (step for step in steps if step[1] >= start)
        yield from self._pick(pending, start, size)

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
        self, steps: Iterator[tuple[int, float, float]], start: float, size: tuple[int, int] | None
    ) -> Iterator[Frame]:
        step = next(steps, None)
        last, end = None, 0.0
        for time, frame, gone in self._on_screen(start):
            while step is not None and last is not None and step[2] < time:
                yield Frame(step[2], step[0], self._convert(last, size))
                step = next(steps, None)
            if step is None:
                return
            last, end = frame, gone
        while step is not None and last is not None and step[1] < end - 1e-6:
            yield Frame(min(step[2], max(step[1], end)), step[0], self._convert(last, size))
            step = next(steps, None)

    def _on_screen(self, start: float) -> Iterator[tuple[float, Any, float]]:
        """(time, frame, time at which it goes) in order, from the last frame at or before `start`."""
        container = self._own()
        stream = _video_stream(container, self.source)
        stream.thread_type = "AUTO"
        if start > 0:
            container.seek(int((start + self._origin) * av.time_base), backward=True)
        spare = float(1 / self.info.fps)
        clock, end, late = Clock(self.source, self.limits.gap, self.warnings, start), 0.0, 0
        for frame in decoded(container, stream, self.warnings):
            time = clock.at(None if frame.time is None else frame.time - self._origin, spare)
            if time is None:
                late += 1
                continue
            _check_size(frame.width, frame.height, self.source, self.limits)
            if self.limits.seconds is not None and time > self.limits.seconds:
                self.warnings.append(f"{self.source}: only the first {self.limits.seconds:.0f} s are read (limit).")
                return
            length = float(frame.duration * frame.time_base) if getattr(frame, "duration", 0) else spare
            end = time + min(max(length, 0.0), 10.0)
            yield time, frame, end
        if late:
            self.warnings.append(f"{self.source}: {late} frames whose time is not after the one before were left out.")
        expected = self.info.duration
        if expected is not None and end < expected - max(1.0, 0.1 * expected):
            self.warnings.append(f"{self.source}: ends after {end:.1f} s of {expected:.1f} s. What there is was read.")

    def _convert(self, frame: Any, size: tuple[int, int] | None) -> UInt8[np.ndarray, "H W 3"]:
        with told(self.source):
            return to_rgb(frame, size, self._aspect)

    def waveform(
        self, block: float = 1.0, *, start: float = 0.0, stop: float | None = None
    ) -> Iterator[Float32[np.ndarray, " S"]]:
        """The sound in pieces of `block` seconds, the last one shorter: 16 kHz, the mean of the channels, in -1..1.

        The first sample is at `start` of the same clock as the frames; where there is no sound there are zeros.

        Raises:
            MediaError: There is no sound stream.
        """
        if not self.info.has_audio:
            raise MediaError(f"{self.source}: has no sound stream. Add one, or use a model that does not listen.")
        size = max(1, round(block * SAMPLE_RATE))
        left = None if stop is None else max(0, round((stop - start) * SAMPLE_RATE))
        store = np.zeros(0, np.float32)
        for piece in self._samples(start):
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

    def track(self, rate: int = 48_000, layout: Literal["mono", "stereo"] = "stereo") -> Iterator[np.ndarray]:
        """The sound for people to hear: pieces of (channels, S) float32 from time 0, zeros where there is none.

        Raises:
            MediaError: The sound can't be decoded.
        """
        if self.info.has_audio:
            yield from self._samples(0.0, rate, layout)

    def _samples(self, start: float, rate: int = SAMPLE_RATE, layout: str = "mono") -> Iterator[np.ndarray]:
        """(channels, S) from `start` on."""
        container = self._own()
        stream = container.streams.audio[0]
        if start > PREROLL:
            container.seek(int((start - PREROLL + self._origin) * av.time_base), backward=True)
        place = 0  # samples handed out since `start`
        shift, longest = 0, round(self.limits.gap * rate)
        for time, piece in _resampled(self.source, decoded(container, stream, self.warnings), rate, layout):
            due = None if time is None else round((time - self._origin - start) * rate) + shift
            if due is not None and place and not place - rate <= due <= place + longest:
                shift, due = shift + place - due, place  # the clock was set anew; the pictures' `Clock` does the same
            if due is not None and abs(due - place) > GAP * rate:
                if due > place + longest:  # nothing was heard yet, and this is no time
                    self.warnings.append(f"{self.source}: sound at {due / rate:.0f} s, far from the rest, is left out.")
                    return
                if due > place:
                    yield from _silence(due - place, rate, len(piece))
                    place = due
                else:  # before the start, or a second time
                    piece = piece[:, min(piece.shape[1], place - due) :]
            place += piece.shape[1]
            yield piece

    def _own(self) -> Any:
        container = open_media(self.source, self.limits)
        self._open_containers.append(container)
        return container


def read_sound(source: str | Path, seconds: float) -> Float32[np.ndarray, " S"]:
    """The first seconds of a sound or video file: 16 kHz, the mean of the channels, in -1..1.

    Args:
        source: Path.
        seconds: How much at most.

    Raises:
        MediaError: It can't be opened, or has no sound.
    """
    pieces, left = [np.zeros(0, np.float32)], round(seconds * SAMPLE_RATE)
    with open_media(str(source), Limits()) as container:
        if not container.streams.audio or container.streams.audio[0].codec_context is None:
            raise MediaError(f"{source}: has no sound stream.")
        for _, piece in _resampled(str(source), decoded(container, container.streams.audio[0], [])):
            pieces.append(piece[0])
            if sum(map(len, pieces)) >= left:
                break
    return np.concatenate(pieces)[:left]


def _resampled(
    source: str, frames: Iterator[Any], rate: int = SAMPLE_RATE, layout: str = "mono"
) -> Iterator[tuple[float | None, np.ndarray]]:
    """(time, samples of each channel) of decoded sound, whose form may change on the way."""
    shape, resampler = None, _resampler(rate, layout)
    for frame in frames:
        if not RATES[0] <= frame.sample_rate <= RATES[1]:
            raise MediaError(f"{source}: its sound claims {frame.sample_rate} Hz, expected {RATES[0]} to {RATES[1]}.")
        if shape not in (None, (frame.format.name, frame.layout.name, frame.sample_rate)):
            yield None, _drained(source, resampler, None)
            resampler = _resampler(rate, layout)
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        time, frame.pts = frame.time, None
        yield time, _drained(source, resampler, frame)
    if shape is not None:
        yield None, _drained(source, resampler, None)


def _drained(source: str, resampler: Any, frame: Any) -> np.ndarray:
    with told(source, "its sound can't be decoded"):
        parts = [part.to_ndarray() for part in resampler.resample(frame)]
    return np.concatenate(parts or [np.zeros((resampler.layout.nb_channels, 0), np.float32)], axis=1)


def _video_stream(container: Any, source: str) -> Any:
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream  # a cover picture is no video, and one of an unknown codec is of no use
    raise MediaError(f"{source}: has no video stream. Give a file with pictures.")


def _displayed(frame: Any, aspect: Fraction | None) -> tuple[int, int, int]:
    """Width and height as displayed, and quarter turns counter-clockwise; `aspect` is that of a pixel."""
    width, height = frame.width, frame.height
    if aspect and 0.1 < aspect < 10 and aspect != 1:
        width, height = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    turns = round(frame.rotation / 90) % 4
    return (height, width, turns) if turns % 2 else (width, height, turns)


def to_rgb(frame: Any, size: tuple[int, int] | None, aspect: Fraction | None) -> UInt8[np.ndarray, "H W 3"]:
    """A decoded frame as displayed, at (height, width) if given; `aspect` is that of a pixel."""
    width, height, turns = _displayed(frame, aspect)
    if size is not None:
        height, width = size
    if turns % 2:
        width, height = height, width
    image = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR").to_ndarray()
    return np.ascontiguousarray(np.rot90(image, turns))


def _check_size(width: int, height: int, source: str, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise MediaError(
            f"{source}: frames of {width}×{height} pixels, the limit is {limits.pixels} pixels. Scale it down first."
        )


def _resampler(rate: int = SAMPLE_RATE, layout: str = "mono") -> Any:
    return av.AudioResampler(format="fltp", layout=layout, rate=rate)


def _silence(samples: int, rate: int, channels: int) -> Iterator[np.ndarray]:
    """Zeros, a minute at a time."""
    whole, rest = divmod(samples, 60 * rate)
    for _ in range(whole):
        yield np.zeros((channels, 60 * rate), np.float32)
    yield np.zeros((channels, rest), np.float32)
