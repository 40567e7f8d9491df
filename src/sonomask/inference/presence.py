"""Is anything that is seen sounding? One calibrated probability for each frame."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["calibrate", "evidence", "presence"]

SHARE = 0.01  # of the pixels: a small object still counts, a few stray ones don't


def evidence(logits: Float[Tensor, "N H W"]) -> Float[Tensor, " N"]:
    """Mean of the highest hundredth of a frame's logits."""
    flat = logits.flatten(1)
    return flat.topk(max(1, round(SHARE * flat.shape[1])), dim=1).values.mean(1)


def presence(logits: Float[Tensor, "N H W"], fit: Sequence[float]) -> Float[Tensor, " N"]:
    """Probability that something seen sounds in a frame: σ(scale · evidence + offset).

    Args:
        logits: Of a mask.
        fit: Scale and offset, from `calibrate`.
    """
    return (fit[0] * evidence(logits) + fit[1]).sigmoid()


def calibrate(strength: Float[Tensor, " N"], truth: Bool[Tensor, " N"]) -> tuple[float, float]:
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
    x = torch.stack([strength.double(), torch.ones(len(strength), dtype=torch.double)], 1)
    y, w = truth.double(), torch.zeros(2, dtype=torch.double)
    for _ in range(50):  # Newton's method, a trace of ridge against separable data
        p = (x @ w).sigmoid()
        gradient = x.T @ (p - y) + 1e-3 * w
        curve = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * torch.eye(2, dtype=torch.double)
        w = w - torch.linalg.solve(curve, gradient).clamp(-5, 5)
    return float(w[0]), float(w[1])
