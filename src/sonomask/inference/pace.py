"""How fast a model is on this machine."""

from __future__ import annotations

import math
import time

import numpy as np

from sonomask.audio.spectrum import MEL_BANDS, PATCH_FRAMES
from sonomask.inference.scorer import Scorer

__all__ = ["quickest", "real_time_rate"]

SHARE = 0.5  # of real time that the model takes; the rest is for decoding, drawing and encoding
MOST = 30  # masks a second, as many as most videos have frames
TRIES = 3  # after one that warms up; the quickest counts
TOGETHER = 4  # frames in a call of a recurrent model


def real_time_rate(scorer: Scorer) -> float:
    """A whole number of masks a second, from 1 to 30, for which the model needs half of the time.

    The model is run on an empty picture and silence, so the number differs between machines, and between runs on one that has
    other work too.
    """
    frames = TOGETHER if scorer.config.recurrent else scorer.config.clip_length
    return float(min(MOST, max(1, math.floor(SHARE * frames / max(_seconds(scorer, frames), 1e-6)))))


def quickest(scorer: Scorer) -> Scorer:
    """The form of a model that marks one picture in the least time: as it is or, if it comes with it, in 8-bit integers.

    Processors without instructions for products of such integers may be slower with them.
    """
    forms: list[Scorer] = scorer.forms() if hasattr(scorer, "forms") else [scorer]
    return forms[0] if len(forms) == 1 else min(forms, key=_seconds)


def _seconds(scorer: Scorer, frames: int = 1) -> float:
    """Time of a call with an empty picture and silence, the best of a few."""
    config = scorer.config
    pictures = np.zeros((1, frames, *config.size_of(9, 16), 3), np.uint8)  # the shape of most videos
    sound = np.zeros((1, frames, config.patches, PATCH_FRAMES, MEL_BANDS), np.float32) if config.listens else None
    best = math.inf
    for _ in range(1 + TRIES):
        began = time.perf_counter()
        scorer(pictures, sound, pictures if config.maskige else None)
        best = min(best, time.perf_counter() - began)
    return best
