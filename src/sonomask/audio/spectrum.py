"""VGGish's log-mel front end, exactly as AVSBench uses it, for whole tracks in one call; NumPy only.

A *log-mel* picture of a sound is the logarithm of its short-time spectrum, summed into bands that are spaced evenly on
the mel scale (roughly as pitch is heard). A *patch* is 0.96 s of it, what the audio encoders read. `audio.logmel` offers the
same functions on tensors.

Source: Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017 (VGGish's release).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Float64

SAMPLE_RATE = 16_000  # Hz
WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
FFT_SIZE = 512  # the next power of two above the window
MEL_BANDS = 64
MEL_RANGE = (125.0, 7500.0)  # Hz
OFFSET = 0.01  # keeps the logarithm of silence finite
PATCH_FRAMES = 96  # 0.96 s
PATCH_SECONDS = PATCH_FRAMES * HOP / SAMPLE_RATE
PATCH_STEP = 0.24  # seconds from one patch of a frame to the one before, where a model reads several
PATCH_SAMPLES = (PATCH_FRAMES - 1) * HOP + WINDOW  # 15,600: the least that makes a patch
CHUNK_FRAMES = 6_000  # a minute at a time: 25 MB of spectrum, however long the track

Align: TypeAlias = Literal["end", "centre"]


def log_mel(waveform: Float[np.ndarray, " S"]) -> Float32[np.ndarray, "F 64"]:
    """The log-mel picture of a track: ln(mel + 0.01), one row each 10 ms.

    No padding: F = 1 + (S - 400) // 160 whole windows, none if S < 400.

    Args:
        waveform: 16 kHz mono in -1..1.

    Raises:
        ValueError: The waveform is not one-dimensional, or holds NaN or infinity.
    """
    if waveform.ndim != 1:
        raise ValueError(f"`waveform`: expected one channel (S,), got {waveform.shape}. Average the channels first.")
    if not np.isfinite(waveform).all():
        bad = int(np.flatnonzero(~np.isfinite(waveform))[0])
        raise ValueError(f"`waveform`: expected finite samples, got {waveform[bad]} at {bad / SAMPLE_RATE:.3f} s.")
    if len(waveform) < WINDOW:
        return np.zeros((0, MEL_BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]  # a view
    # float64, because the logarithm shows the rounding of float32 in bands that are near silence
    rows = [
        np.log(_mel_bands(np.abs(np.fft.rfft(frames[i : i + CHUNK_FRAMES] * _hann(), FFT_SIZE))) + OFFSET)
        for i in range(0, len(frames), CHUNK_FRAMES)
    ]
    return np.concatenate(rows).astype(np.float32)


def _mel_bands(spectrum: Float64[np.ndarray, "F 257"]) -> Float64[np.ndarray, "F 64"]:
    """`spectrum @ mel_matrix()`, by the few bins of each band.

    A product of matrices would go to a BLAS, whose threads wait for one another in busy loops: where two processes share
    two cores that makes it a hundred times slower. Here a row is also the same to the bit whatever rows stand beside it.
    """
    bands = np.empty((len(spectrum), MEL_BANDS))
    for band, (bins, weights) in enumerate(_triangles()):
        np.einsum("fb,b->f", spectrum[:, bins], weights, out=bands[:, band])
    return bands


@cache
def _triangles() -> list[tuple[slice, Float64[np.ndarray, " b"]]]:
    """For each mel band the bins that it covers and their weights."""
    covered = [np.flatnonzero(weights) for weights in mel_matrix().T]
    return [
        (slice(bins[0], bins[-1] + 1), mel_matrix()[bins[0] : bins[-1] + 1, band].copy())
        for band, bins in enumerate(covered)
    ]


@cache
def _hann() -> Float64[np.ndarray, "400"]:
    """The periodic Hann window."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@cache
def mel_matrix() -> Float64[np.ndarray, "257 64"]:
    """Weights of the mel bands: triangles that are linear in mel, of height 1; 0 Hz counts nowhere."""
    hertz = np.arange(FFT_SIZE // 2 + 1) * SAMPLE_RATE / FFT_SIZE
    low, high = _mel(np.array(MEL_RANGE)).tolist()
    edges = np.linspace(low, high, MEL_BANDS + 2)
    mel = _mel(hertz)[:, None]
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    triangles = np.minimum(rising, falling).clip(min=0)
    triangles[0] = 0
    return triangles


def _mel(hertz: np.ndarray) -> np.ndarray:
    return 1127 * np.log1p(hertz / 700)


def patches_at(
    waveform: Float[np.ndarray, " S"],
    times: Sequence[float],
    count: int = 1,
    *,
    start: float = 0.0,
    align: Align = "end",
) -> Float32[np.ndarray, "N count 96 64"]:
    """The patch that belongs to each moment, and those before it, for frames at any rate.

    Patches start on the 10 ms grid of absolute time, so a piece of a track gives the same patches as the whole, if the
    piece starts on that grid too. Outside of the waveform there is silence.

    Args:
        waveform: 16 kHz mono.
        times: Seconds, of the same clock as `start`.
        count: Patches of each moment, `PATCH_STEP` apart, the latest first.
        start: Time of the first sample.
        align: Whether the 0.96 s "end" at each time or have it at their "centre".
    """
    before = PATCH_FRAMES if align == "end" else PATCH_FRAMES // 2
    origin = round(start * SAMPLE_RATE / HOP)
    moments = [time - i * PATCH_STEP for time in times for i in range(count)]
    firsts = [round(moment * SAMPLE_RATE / HOP) - before - origin for moment in moments]
    if not firsts:
        return np.zeros((0, count, PATCH_FRAMES, MEL_BANDS), np.float32)
    low, high = min(firsts), max(firsts) + PATCH_FRAMES
    left = max(0, -low) * HOP
    right = max(0, (high - 1) * HOP + WINDOW - len(waveform))
    rows = log_mel(np.pad(waveform, (left, right))[(low * HOP + left) : (high - 1) * HOP + WINDOW + left])
    places = (np.array(firsts) - low)[:, None] + np.arange(PATCH_FRAMES)
    return rows[places].reshape(len(times), count, PATCH_FRAMES, MEL_BANDS)
