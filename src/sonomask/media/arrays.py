"""Pictures and sound in memory, as a source like any file."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import av
import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sonomask.media.info import VideoInfo
from sonomask.media.reader import VideoReader
from sonomask.media.sound import RATES, SAMPLE_RATE, AudioTrack, resampled

__all__ = ["check_source", "from_arrays", "on_disk"]

BLOCK = 1 << 20  # bytes copied at a time


def from_arrays(
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    fps: float,
    waveform: Float[np.ndarray, "*channels S"] | None = None,
    sample_rate: int = SAMPLE_RATE,
    name: str = "frames",
) -> VideoReader:
    """A video made of arrays, which `Segmenter` takes like a path.

    Args:
        frames: RGB pictures of one size, 0 to 255: an array (N, H, W, 3), a list, or a generator, which can be read once.
        fps: Frames per second.
        waveform: Sound from the first frame on, -1 to 1: (S,) or (channels, S); None for no sound.
        sample_rate: Samples per second of the waveform.
        name: Name in messages.

    Raises:
        ValueError: There is no frame, or a frame, the rate or the waveform is not as described.
    """
    return VideoReader(name, decoder=_ArrayDecoder(frames, fps, waveform, sample_rate, name))


class _ArrayDecoder:
    """A `media.info.Decoder` over arrays."""

    guarded = False

    def __init__(
        self, frames: Iterable[np.ndarray], fps: float, waveform: np.ndarray | None, sample_rate: int, name: str
    ) -> None:
        if not 0 < fps < math.inf:
            raise ValueError(f"`fps`: expected frames per second above 0, got {fps}.")
        if not RATES[0] <= sample_rate <= RATES[1]:
            raise ValueError(f"`sample_rate`: expected {RATES[0]} to {RATES[1]} Hz, got {sample_rate}.")
        self.warnings: list[str] = []
        self.name, self.fps, self.rate = name, Fraction(fps).limit_denominator(100_000), sample_rate
        count = len(frames) if isinstance(frames, Sized) else None
        if count is None:
            iterator = iter(frames)
            first = next(iterator, None)
            self.frames: Iterable[np.ndarray] = chain([] if first is None else [first], iterator)
        else:
            self.frames, first = frames, next(iter(frames), None)
        if first is None:
            raise ValueError("`frames`: expected at least one picture, got none.")
        height, width = _checked(first, None).shape[:2]
        self.sound = None if waveform is None else _channels(waveform)
        heard = () if self.sound is None else (1,)
        self.info = VideoInfo(
            name, width, height, self.fps, None if count is None else float(count / self.fps), 0, bool(heard),
            audio_tracks=tuple(AudioTrack(number, "pcm", default=True) for number in heard), heard=heard,
        )  # fmt: skip

    def pictures(
        self,
        start: float,
        pace: float | None = None,  # noqa: ARG002 - they are all here
    ) -> Iterator[tuple[float, Any, float]]:
        """Iterate over (time, picture, time of the next picture), from the last picture at or before `start`."""
        for index, picture in enumerate(self.frames):
            if (index + 1) / self.fps > start:
                checked = _checked(picture, (self.info.height, self.info.width))
                yield float(index / self.fps), checked, float((index + 1) / self.fps)

    def pixels(self, picture: Any, size: tuple[int, int] | None) -> UInt8[np.ndarray, "H W 3"]:
        """A picture at (height, width)."""
        if size is None or size == picture.shape[:2]:
            return np.ascontiguousarray(picture)
        smaller = size[0] * size[1] < picture.shape[0] * picture.shape[1]
        return np.asarray(
            cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        )

    def samples(self, start: float, rate: int = SAMPLE_RATE, layout: str = "mono") -> Iterator[np.ndarray]:
        """(channels, S) of the sound from `start` on."""
        for _, piece in resampled(self.name, self._blocks(start), self.warnings, rate, layout):
            yield piece

    def _blocks(self, start: float) -> Iterator[Any]:
        """A second of sound at a time, as FFmpeg's resampler takes it."""
        sound = np.zeros((1, 0), np.float32) if self.sound is None else self.sound
        for begin in range(round(start * self.rate), sound.shape[1], self.rate):
            block = np.ascontiguousarray(sound[:, begin : begin + self.rate])
            frame = av.AudioFrame.from_ndarray(block, "fltp", "mono" if len(block) == 1 else "stereo")
            frame.sample_rate = self.rate
            yield frame

    def close(self) -> None:
        """Nothing is open."""


def _checked(picture: Any, size: tuple[int, int] | None) -> UInt8[np.ndarray, "H W 3"]:
    picture = np.asarray(picture)
    same = size is None or picture.shape[:2] == size
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size or not same:
        wanted = "(H, W, 3)" if size is None else f"({size[0]}, {size[1]}, 3)"
        raise ValueError(
            f"`frames`: expected RGB pictures {wanted} of uint8, got {picture.shape} of {picture.dtype}. "
            "Convert grey, float or BGR pictures first."
        )
    return picture


def _channels(waveform: Any) -> Float[np.ndarray, "channels S"]:
    """Convert sound to one or two channels of float32."""
    sound = np.asarray(waveform)
    sound = sound[None] if sound.ndim == 1 else sound
    if sound.ndim != 2 or not 1 <= len(sound) <= 8 or not np.issubdtype(sound.dtype, np.floating):
        raise ValueError(
            f"`waveform`: expected (S,) or (channels, S) of floats from -1 to 1, got {np.shape(waveform)} of "
            f"{np.asarray(waveform).dtype}. Divide 16-bit samples by 32768, and put channels first."
        )
    if not np.isfinite(sound).all():
        raise ValueError("`waveform`: expected finite samples, got NaN or infinity.")
    return (sound if len(sound) <= 2 else sound.mean(0, keepdims=True)).astype(np.float32)


@contextmanager
def on_disk(file: IO[bytes]) -> Iterator[Path]:
    """Copy an open file, such as a `BytesIO`, to a temporary file for the duration of the context.

    Args:
        file: Open for reading bytes; read from where it stands to its end.
    """
    with TemporaryDirectory(prefix="sonomask-") as folder:
        path = Path(folder) / "video"
        with path.open("wb") as copy:
            shutil.copyfileobj(file, copy, BLOCK)
        yield path


def check_source(source: Any) -> str | Path:
    """Yield a path or address unchanged.

    Raises:
        TypeError: It is neither.
    """
    if not isinstance(source, str | Path):
        raise TypeError(
            f"`source`: expected a path, an address, an open file or a VideoReader, got {type(source).__name__}. Wrap bytes in "
            "io.BytesIO, and arrays in sonomask.from_arrays."
        )
    return source
