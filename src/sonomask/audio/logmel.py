"""`audio.spectrum`, the log-mel front end, on tensors, and the patches of AVSBench's clips.

Source: Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017 (VGGish's release).
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sonomask.audio import spectrum
from sonomask.audio.spectrum import (
    FFT_SIZE,
    HOP,
    MEL_BANDS,
    OFFSET,
    PATCH_FRAMES,
    PATCH_SAMPLES,
    PATCH_SECONDS,
    PATCH_STEP,
    SAMPLE_RATE,
    WINDOW,
    Align,
)

__all__ = [
    "FFT_SIZE", "HOP", "MEL_BANDS", "OFFSET", "PATCH_FRAMES", "PATCH_SAMPLES", "PATCH_SECONDS", "PATCH_STEP", "SAMPLE_RATE",
    "WINDOW", "Align", "examples", "examples_at", "fit", "log_mel", "mel_matrix", "patches_at",
]  # fmt: skip


def log_mel(waveform: Float[Tensor, " S"]) -> Float[Tensor, "F 64"]:
    """See `spectrum.log_mel`; the result is on the waveform's device."""
    return torch.from_numpy(spectrum.log_mel(waveform.detach().cpu().numpy())).to(waveform.device)


def mel_matrix() -> Float[Tensor, "257 64"]:
    """See `spectrum.mel_matrix`."""
    return torch.from_numpy(spectrum.mel_matrix())


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
    """Exactly `count` patches: surplus ones are cut off, missing ones are added.

    Args:
        patches: Patches as from `examples`.
        count: Number of patches.
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
    """`patches_at` with one patch for each moment."""
    return patches_at(waveform, times, 1, start=start, align=align)


def patches_at(
    waveform: Float[Tensor, " S"], times: Sequence[float], count: int, *, start: float = 0.0, align: Align = "end"
) -> Float[Tensor, "N count 96 64"]:
    """See `spectrum.patches_at`; the result is on the waveform's device."""
    patches = spectrum.patches_at(waveform.detach().cpu().numpy(), times, count, start=start, align=align)
    return torch.from_numpy(patches).to(waveform.device)
