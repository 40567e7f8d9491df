"""Flicker: changes of a video's masks that neither picture nor sound explain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from sonomask.audio.spectrum import HOP, PATCH_FRAMES, SAMPLE_RATE, log_mel
from sonomask.media.motion import carried, motion

__all__ = ["flicker", "steady"]

LAG = 0.2  # seconds between the two spectra that are compared
CHANGE = 0.25  # mean difference of their mel bands' logarithms, below which the sound is steady


def flicker(
    masks: Bool[np.ndarray, "N H W"], pictures: UInt8[np.ndarray, "N H W"], still: Bool[np.ndarray, " N-1"]
) -> float:
    """1 − mean IoU of neighbouring masks while the sound is steady, the earlier one moved along with the picture.

    Pairs of two empty masks don't count; NaN where no pair does.

    Args:
        masks: Masks of consecutive frames.
        pictures: Brightness of these frames.
        still: Whether the sound is steady between each frame and the next, from `steady`.
    """
    found = []
    for i in np.flatnonzero(still).tolist():
        before = carried(masks[i].astype(np.float32), motion(pictures[i + 1], pictures[i])) > 0.5
        union = int((before | masks[i + 1]).sum())
        if union or masks[i].any():
            found.append(int((before & masks[i + 1]).sum()) / max(union, 1))
    return 1 - float(np.mean(found)) if found else float("nan")


def steady(waveform: Float32[np.ndarray, " S"], times: Sequence[float]) -> Bool[np.ndarray, " N-1"]:
    """Whether the sound is steady from each time to the next: spectra of 0.96 s, 0.2 s apart, are nearly equal.

    Args:
        waveform: 16 kHz mono from time 0.
        times: Seconds, in order.
    """
    half, rows = PATCH_FRAMES // 2, SAMPLE_RATE // HOP
    edge = (half + rows) * HOP
    bands = log_mel(np.pad(waveform, (edge, 2 * edge)))

    def spectrum(time: float) -> Float32[np.ndarray, "64"]:
        middle = min(round(time * rows) + half + rows, len(bands) - half)
        found: Float32[np.ndarray, "64"] = bands[middle - half : middle + half].mean(0)
        return found

    middles = (np.asarray(times[1:]) + np.asarray(times[:-1])) / 2
    changes = [np.abs(spectrum(m + LAG / 2) - spectrum(m - LAG / 2)).mean() for m in middles.tolist()]
    return np.array(changes, np.float32) < CHANGE
