"""M_F: the F-score (β² = 0.3) of binary masks over 255 thresholds, from one histogram of each frame."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BETA2 = 0.3
COUNT = 255
THRESHOLDS = torch.linspace(0, 1 - 1e-10, COUNT)  # in float32 the last one is exactly 1
_NEXT = torch.cat([THRESHOLDS[1:], torch.tensor([torch.inf])])


def counts(
    logits: Float[Tensor, "N H W"], truth: Bool[Tensor, "N H W"]
) -> tuple[Int[Tensor, "N 255"], Int[Tensor, "N 255"], Int[Tensor, " N"]]:
    """Per frame and threshold the pixels at or above it: true ones, and all; and the true pixels of each frame.

    The counts equal those of 255 comparisons of the picture: a pixel's bin is the last threshold that its probability reaches,
    found by rounding and corrected by comparing with the float32 thresholds themselves.
    """
    if not len(logits):
        return (torch.zeros(0, COUNT, dtype=torch.long),) * 2 + (torch.zeros(0, dtype=torch.long),)
    histogram = torch.stack([_histogram(scores, marks) for scores, marks in zip(logits, truth, strict=True)])
    reached = histogram.flip(2).cumsum(2).flip(2)
    return reached[:, 1], reached.sum(1), reached[:, 1, 0]


def _histogram(logits: Float[Tensor, "H W"], truth: Bool[Tensor, "H W"]) -> Int[Tensor, "2 255"]:
    """Pixels by truth and bin; a frame at a time, so that what is in between stays in the processor's cache."""
    p = logits.float().sigmoid().flatten()
    bins = p.mul(COUNT - 1).sub_(1e-3).int()  # right, or one too low
    bins += p >= _NEXT.to(p.device).index_select(0, bins)
    bins.add_(truth.flatten(), alpha=COUNT)
    return torch.bincount(bins, minlength=2 * COUNT).view(2, COUNT)


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
