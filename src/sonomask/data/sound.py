"""The sound of a data set's clip, from whatever holds it."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from sonomask.audio.logmel import SAMPLE_RATE, examples
from sonomask.errors import DatasetError
from sonomask.safe_reading.pickled_logmel import read_logmel

__all__ = ["patches_of", "read_wav"]

MOST_CHANNELS = 8  # read directly; a header that tells of more is FFmpeg's to judge
LONGEST = 60  # seconds read of a track; clips have 5 or 10


def patches_of(path: Path) -> Float32[Tensor, "n 1 96 64"]:
    """Read log-mel patches from a `.pkl`, or compute them from a sound or video file.

    Raises:
        DatasetError: It can't be read, or holds NaN.
        MediaError: It is no media file.
    """
    if path.suffix == ".pkl":
        patches = read_logmel(path)
        if not torch.isfinite(patches).all():
            raise DatasetError(f"{path}: holds NaN or infinity. Make it again from the wav.")
        return patches
    try:
        return examples(torch.from_numpy(read_wav(path)))
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error


def read_wav(path: Path) -> Float32[np.ndarray, " S"]:
    """A track at 16 kHz, mean of its channels, in -1..1: 16-bit wav directly, all else through FFmpeg.

    Raises:
        DatasetError: There is no such file.
        MediaError: It is no media file, or has no sound.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file. `sonomask doctor` lists what is missing.")
    try:
        with wave.open(str(path), "rb") as file:
            channels = file.getnchannels()
            if file.getframerate() == SAMPLE_RATE and file.getsampwidth() == 2 and channels <= MOST_CHANNELS:
                data = np.frombuffer(file.readframes(LONGEST * SAMPLE_RATE), "<i2")
                track = (
                    data[: len(data) // channels * channels].reshape(-1, channels).astype(np.float64).mean(1) / 32768
                )
                return track.astype(np.float32)
    except (wave.Error, EOFError, RuntimeError, ValueError):
        pass  # floats, 24 bits, another container
    from sonomask.media.reader import read_sound  # PyAV is not needed where the wavs are as AVSBench's

    return read_sound(path, LONGEST)
