"""M_J: the Jaccard index (intersection over union, IoU) of binary masks, as AVSBench counts it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def jaccard(
    logits: Float[Tensor, "N H W"], truth: Bool[Tensor, "N H W"], threshold: float = 0.5
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, " N"]]:
    """IoU of each frame, with the numbers of pixels it is the quotient of.

    A pixel is marked if its probability is strictly above the threshold (in float32: a logit of 6e-8 is not, above ½).
    Where the truth is empty the background is compared instead: agreeing background over all pixels.

    Returns:
        IoU, intersection, union.
    """
    found = logits.sigmoid() > threshold
    empty = ~truth.flatten(1).any(1)
    both = (found & truth).sum((1, 2)).float()
    either = (found | truth).sum((1, 2)).float()
    pixels = float(truth[0].numel()) if len(truth) else 1.0
    # where the truth is empty, `either` counts the false marks, and the background agrees in the rest
    intersection, union = torch.where(empty, pixels - either, both), torch.where(empty, pixels, either)
    return intersection / union.clamp(min=1), both, either
