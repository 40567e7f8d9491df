"""Presence: a calibrated probability, for each frame, that something visible sounds."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float

from sonomask.structures import Names

__all__ = ["calibrate", "evidence", "likelihood", "named_evidence", "presence"]

PART = 0.1  # of what is marked, the least that a thing must have
SHARE = 0.01  # of the pixels: a small object still counts, a few stray ones don't


def evidence(logits: Float[np.ndarray, "N H W"]) -> Float[np.ndarray, " N"]:
    """Mean of the highest hundredth of a frame's logits."""
    flat = logits.reshape(len(logits), -1)
    count = max(1, round(SHARE * flat.shape[1]))
    return np.partition(flat, -count, axis=1)[:, -count:].mean(1)


def presence(logits: Float[np.ndarray, "N H W"], fit: Sequence[float]) -> Float[np.ndarray, " N"]:
    """Probability that something seen sounds in a frame: σ(scale · evidence + offset).

    Args:
        logits: Logits of a mask.
        fit: Scale and offset, from `calibrate`.
    """
    return likelihood(evidence(logits), fit)


def likelihood(strength: Any, fit: Sequence[float]) -> Any:
    """σ(scale · strength + offset)."""
    return 1 / (1 + np.exp(-(fit[0] * strength + fit[1])))


def named_evidence(names: Names, mask: Bool[np.ndarray, "H W"]) -> float:
    """Logarithm of the best score among the sounds of the marked things.

    For a model whose logits are relative to the best visible thing, logits would not show whether that thing fits the sound.

    Args:
        names: Names of a frame.
        mask: Marked pixels.
    """
    kinds = len(names.things)
    areas = cv2.calcHist([names.seen], [0], mask.view(np.uint8), [kinds], [0, kinds]).ravel()
    marked = areas >= max(1.0, PART * mask.sum())
    best = max((score for score, here in zip(names.scores, marked.tolist(), strict=True) if here), default=0.0)
    return math.log(best + 1e-3)


def calibrate(strength: Float[np.ndarray, " N"], truth: Bool[np.ndarray, " N"]) -> tuple[float, float]:
    """Scale and offset of the logistic curve that fits held-out frames best.

    Args:
        strength: Evidence of each frame.
        truth: Whether something seen sounds in it.

    Raises:
        ValueError: All frames are alike in truth, so there is nothing to fit.

    Source: Platt, "Probabilistic outputs for support vector machines", 1999.
    """
    if truth.all() or not truth.any():
        raise ValueError("`truth`: expected frames with and without something that sounds.")
    x = np.stack([strength, np.ones(len(strength))], 1).astype(np.float64)
    y, w = truth.astype(np.float64), np.zeros(2)
    for _ in range(50):  # Newton's method, a trace of ridge against separable data
        p = 1 / (1 + np.exp(-(x @ w)))
        gradient = x.T @ (p - y) + 1e-3 * w
        curve = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(2)
        w = w - np.linalg.solve(curve, gradient).clip(-5, 5)
    return float(w[0]), float(w[1])
