"""VGGish's log-mel front end, exactly as AVSBench uses it, for whole tracks in one call.

A *log-mel* picture of a sound is the logarithm of its short-time spectrum, summed into bands that are spaced evenly on
the mel scale (roughly as pitch is heard). A *patch* is 0.96 s of it, what the audio encoders read.

Source: Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017 (VGGish's release).
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

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

Align = Literal["end", "centre"]


def log_mel(waveform: Float[Tensor, " S"]) -> Float[Tensor, "F 64"]:
    """The log-mel picture of a track: ln(mel + 0.01), one row each 10 ms.

    No padding: F = 1 + (S - 400) // 160 whole windows, none if S < 400.

    Args:
        waveform: 16 kHz mono in -1..1.

    Raises:
        ValueError: The waveform is not one-dimensional, or holds NaN or infinity.
    """
    if waveform.ndim != 1:
        raise ValueError(
            f"`waveform`: expected one channel (S,), got {tuple(waveform.shape)}. Average the channels first."
        )
    if not torch.isfinite(waveform).all():
        bad = int((~torch.isfinite(waveform)).nonzero()[0])
        raise ValueError(
            f"`waveform`: expected finite samples, got {waveform[bad].item()} at {bad / SAMPLE_RATE:.3f} s."
        )
    if len(waveform) < WINDOW:
        return waveform.new_zeros((0, MEL_BANDS), dtype=torch.float32)
    window = torch.hann_window(WINDOW, periodic=True, dtype=torch.float64)
    frames = waveform.cpu().unfold(0, WINDOW, HOP)  # a view
    # float64, because the logarithm shows the rounding of float32 in bands that are near silence
    rows = [
        torch.log(torch.fft.rfft(part * window, FFT_SIZE).abs() @ mel_matrix() + OFFSET).float()
        for part in frames.split(CHUNK_FRAMES)
    ]
    return torch.cat(rows).to(waveform.device)


@cache
def mel_matrix() -> Float[Tensor, "257 64"]:
    """Weights of the mel bands: triangles that are linear in mel, of height 1; 0 Hz counts nowhere."""
    hertz = torch.arange(FFT_SIZE // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FFT_SIZE
    low, high = _mel(torch.tensor(MEL_RANGE, dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, MEL_BANDS + 2, dtype=torch.float64)
    mel = _mel(hertz)[:, None]
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    triangles = torch.minimum(rising, falling).clamp(min=0)
    triangles[0] = 0
    return triangles


def _mel(hertz: Tensor) -> Tensor:
    return 1127 * torch.log1p(hertz / 700)


def examples(waveform: Float[Tensor, " S"]) -> Float[Tensor, "n 1 96 64"]:
    """The reference's patches: one after the other, each 0.96 s; what is left at the end is dropped.

    Patch i starts at 0.96·i seconds, so it runs ahead of second i by 0.04·i. 15,600 samples are the least for one.
    """
    rows = log_mel(waveform)
    count = len(rows) // PATCH_FRAMES
    return rows[: count * PATCH_FRAMES].reshape(count, 1, PATCH_FRAMES, MEL_BANDS)


def fit(
    patches: Float[Tensor, "n 1 96 64"], count: int, pad: Literal["repeat", "zeros"] = "repeat"
) -> Float[Tensor, "count 1 96 64"]:
    """Exactly `count` patches: what is too much is cut off, what is missing is made up.

    Args:
        patches: As from `examples`.
        count: How many.
        pad: "repeat" the last patch, as AVSBench does for S4 and MS3 (a track without any patch counts as silence), or
            "zeros" as in AVSS.
    """
    patches = patches[:count]
    missing = count - len(patches)
    if missing == 0:
        return patches
    if pad == "zeros":
        return F.pad(patches, (0, 0, 0, 0, 0, 0, 0, missing))
    last = patches[-1:] if len(patches) else examples(patches.new_zeros(PATCH_SAMPLES))
    return torch.cat([patches, last.expand(missing, -1, -1, -1)])


def examples_at(
    waveform: Float[Tensor, " S"], times: Sequence[float], *, start: float = 0.0, align: Align = "end"
) -> Float[Tensor, "N 1 96 64"]:
    """The patch that belongs to each moment, for frames at any rate.

    Patches start on the 10 ms grid of absolute time, so a piece of a track gives the same patches as the whole, if the
    piece starts on that grid too. Outside of the waveform there is silence.

    Args:
        waveform: 16 kHz mono.
        times: Seconds, of the same clock as `start`.
        start: Time of the first sample.
        align: Whether the 0.96 s "end" at each time or have it at their "centre".
    """
    before = PATCH_FRAMES if align == "end" else PATCH_FRAMES // 2
    origin = round(start * SAMPLE_RATE / HOP)
    firsts = [round(time * SAMPLE_RATE / HOP) - before - origin for time in times]
    if not firsts:
        return waveform.new_zeros((0, 1, PATCH_FRAMES, MEL_BANDS))
    low, high = min(firsts), max(firsts) + PATCH_FRAMES
    left = max(0, -low) * HOP
    right = max(0, (high - 1) * HOP + WINDOW - len(waveform))
    rows = log_mel(F.pad(waveform, (left, right))[(low * HOP + left) : (high - 1) * HOP + WINDOW + left])
    patches = rows.unfold(0, PATCH_FRAMES, 1)  # (positions, 64, 96), a view
    return patches[torch.tensor(firsts) - low].transpose(1, 2).unsqueeze(1)


def patches_at(
    waveform: Float[Tensor, " S"], times: Sequence[float], count: int, *, start: float = 0.0, align: Align = "end"
) -> Float[Tensor, "N count 96 64"]:
    """For each moment its patch and those before it, `PATCH_STEP` apart, the latest first; see `examples_at`."""
    moments = [time - i * PATCH_STEP for time in times for i in range(count)]
    patches = examples_at(waveform, moments, start=start, align=align)
    return patches.reshape(len(times), count, PATCH_FRAMES, MEL_BANDS)
