"""Read anything that FFmpeg can decode: frames by presentation time, sound as 16 kHz mono.

    VideoReader   clock of the requested part; frames by rate or time; repeated still pictures
        Decoder   pictures, pixels and samples of the source: `LocalDecoder`, or that of `sonomask.media.sandbox`

Time zero is the start of the container's timeline, or of the requested part. Picture and sound have separate decoders, so
neither waits for the other and nothing is buffered. Memory use does not depend on the length.
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
    """A picture and its time.

    Attributes:
        time: Presentation time in seconds.
        second: Index of the second that it belongs to.
        image: RGB picture.
        gone: Time at which the next picture replaces it, if every frame was requested.
    """

    time: float
    second: int
    image: UInt8[np.ndarray, "H W 3"]
    gone: float = 0.0


class VideoReader:
    """Read a video file or stream; use it in a `with` block.

    Args:
        source: Path, or an http(s), rtsp, rtmp, srt, udp or rtp address.
        limits: Limits on the size and clock of the source.
        start: Position in seconds at which the requested part begins; the reader's clock is 0 there. Nothing before it is
            decoded, except from the preceding key frame.
        end: Position in seconds at which the part ends; None for the end of the source.
        audio_track: Number from 1, language or title of the sound track to read, or "mix" for all tracks; None for the
            default one, or the first that is not silent.
        hwaccel: Hardware decoder, as for `decoder.LocalDecoder`.
        decoder: Decoder to use instead of a `LocalDecoder` for the source.

    Raises:
        MediaError: The file does not exist, is not a video, exceeds a limit, or has no such sound track.
        ValueError: The part is outside of the video, or ends before it starts.
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
        """Whether only a part of the source is read."""
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
        """Iterate over frames in order of presentation.

        A picture stays on screen until the next one, and the last one until the sound ends.

        Args:
            rate: "native" for every frame; a number for that many per second, where the i-th frame is the one on screen 15/16
                of the way through its step; "avsbench" for AVSBench's choice of one per second, which counts frames at the
                average rate rounded to a whole number (Source: its preprocessing scripts). If the last step is incomplete, it
                gives the last frame.
            start: Time in seconds; steps that begin earlier are skipped.
            stop: Time in seconds; steps that begin there or later are skipped.
            size: (height, width) to scale to; the displayed size if None.
            again: Repeat a still picture every 0.2 s, at the rate "native".

        Raises:
            MediaError: A frame exceeds the limit of pixels.
            ValueError: The rate is invalid.
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
        """Times at which a still picture is repeated; pictures that stay for the usual frame interval are not repeated."""
        usual = min(max(STANDING, 1.5 / float(self.info.fps)), LONGEST_USUAL)
        pieces = math.ceil((gone - time) / STANDING - 1e-3) if gone - time > usual + 1e-3 else 1
        for piece in range(pieces):
            yield time + (gone - time) * piece / pieces

    def at(self, times: Iterable[float], *, size: tuple[int, int] | None = None) -> Iterator[Frame]:
        """Iterate over the frames on screen at the given times; after the end of the video, the last frame.

        Args:
            times: Times in seconds, in ascending order. They are consumed one by one, so an iterator may compute them late.
            size: (height, width) to scale to; the displayed size if None.
        """
        return self._pick(((math.floor(time), -math.inf, time) for time in times), 0.0, size)

    def _steps(self, rate: Rate) -> Iterator[tuple[int, float, float]]:
        """Iterate over (index of the second, start of the step, time of its frame) of each step."""
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
        """Iterate over (time, picture, time of the next picture) on the reader's clock, from the last one at or before `start`.

        With a pace (`Decoder.pictures`), pictures that are on screen at none of its steps may be left out.
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
        """Iterate over the sound in pieces of `block` seconds (the last one may be shorter), as 16 kHz mono.

        The first sample is at `start`, on the same clock as the frames; gaps in the sound are zeros. Channels are downmixed
        like FFmpeg does. If they cancel each other out, the louder one is used, and the warnings say so.

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
        """Length of the requested part in seconds; None if it lasts until the end of the source."""
        return None if self.selection.end is None else self.selection.end - self.selection.start

    def track(self, rate: int = 48_000, layout: Literal["mono", "stereo"] = "stereo") -> Iterator[np.ndarray]:
        """Iterate over the sound for playback: pieces (channels, S) of float32 from time 0; gaps are zeros.

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
    """Read the beginning of a sound or video file as 16 kHz mono, downmixed like FFmpeg does.

    Args:
        source: Path of the file.
        seconds: Greatest number of seconds to read.

    Raises:
        MediaError: The file can't be opened, or has no sound.
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
