"""M_F: the F-score (β² = 0.3) of binary masks over 255 thresholds, from one histogram of each frame."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BETA2 = 0.3
COUNT = 255
THRESHOLDS = torch.linspace(0, 1 - 1e-10, COUNT)  # in float32 the last one is exactly 1
_PADDED = torch.cat([THRESHOLDS, torch.tensor([torch.inf])])


def counts(
    logits: Float[Tensor, "N H W"], truth: Bool[Tensor, "N H W"]
) -> tuple[Int[Tensor, "N 255"], Int[Tensor, "N 255"], Int[Tensor, " N"]]:
    """Per frame and threshold the pixels at or above it: true ones, and all; and the true pixels of each frame.

    Exactly what 255 comparisons of the picture would count: a pixel's bin is the last threshold that its probability
    reaches, found by rounding and put right by comparing with the float32 thresholds themselves.
    """
    p = logits.float().sigmoid().flatten(1)
    thresholds = _PADDED.to(p.device)
    guess = (p * (COUNT - 1) - 1e-3).int()  # right, or one too low
    bins = guess + (p >= thresholds.index_select(0, (guess + 1).flatten()).view_as(p))
    frames = torch.arange(len(p), device=p.device, dtype=torch.int32)[:, None]
    place = (frames * 2 + truth.flatten(1)) * COUNT + bins
    histogram = torch.bincount(place.flatten(), minlength=len(p) * 2 * COUNT).reshape(len(p), 2, COUNT)
    reached = histogram.flip(2).cumsum(2).flip(2)
    return reached[:, 1], reached.sum(1), reached[:, 1, 0]


def curves(
    true: Int[Tensor, "N 255"], marked: Int[Tensor, "N 255"], positive: Int[Tensor, " N"]
) -> Float[Tensor, "N 255"]:
    """F at each threshold, from the numbers that `counts` gives; 0 where it has no value."""
    precision = true / (marked + 1e-20)
    recall = true / (positive[:, None] + 1e-20)
    score = (1 + BETA2) * precision * recall / (BETA2 * precision + recall)
    return score.nan_to_num(0.0)


def fscore(logits: Float[Tensor, "N H W"], truth: Bool[Tensor, "N H W"]) -> Float[Tensor, ""]:
    """Greatest value of the mean curve of the frames whose truth is not empty; 0 if there is none."""
    rows = curves(*counts(logits, truth))[truth.flatten(1).any(1)]
    return rows.mean(0).max() if len(rows) else torch.zeros((), device=logits.device)
