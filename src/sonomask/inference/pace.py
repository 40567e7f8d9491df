"""How many masks a second this machine makes in real time."""

from __future__ import annotations

import math
import time

import numpy as np

from sonomask.audio.spectrum import MEL_BANDS, PATCH_FRAMES
from sonomask.inference.scorer import Scorer

__all__ = ["real_time_rate"]

SHARE = 0.5  # of real time that the model takes; the rest is for decoding, drawing and encoding
MOST = 30  # masks a second, as many as most videos have frames
TRIES = 3  # after one that warms up; the quickest counts
TOGETHER = 4  # frames in a call of a recurrent model


def real_time_rate(scorer: Scorer) -> float:
    """A whole number of masks a second, from 1 to 30, for which the model needs half of the time.

    The model is run on an empty picture and silence, so the number differs between machines, and between runs on one that has
    other work too.
    """
    config = scorer.config
    frames = TOGETHER if config.recurrent else config.clip_length
    pictures = np.zeros((1, frames, *config.size_of(9, 16), 3), np.uint8)  # the shape of most videos
    sound = np.zeros((1, frames, config.patches, PATCH_FRAMES, MEL_BANDS), np.float32) if config.listens else None
    best = math.inf
    for _ in range(1 + TRIES):
        began = time.perf_counter()
        scorer(pictures, sound, pictures if config.maskige else None)
        best = min(best, time.perf_counter() - began)
    return float(min(MOST, max(1, math.floor(SHARE * frames / max(best, 1e-6)))))
