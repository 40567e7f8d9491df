"""Metrics of referring audio-visual segmentation: J, F and their mean, and S where a sentence means nothing that is there.

J and F are means over batches of four clips, as the authors' evaluation takes them (F depends on the batch); S is the mean over
batches of the root of the share that is marked, lower being better.

Source: Wang et al., "Ref-AVS", ECCV 2024, and its `utility.py` (read, not copied).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sonomask.metrics.fscore import fscore

__all__ = ["ReferringScore"]

J_THRESHOLD, S_THRESHOLD = 0.4, 0.5  # of the probability
TINY = 1e-7


class ReferringScore:
    """Gathers clips in order; `compute` gives the figures.

    Args:
        batch: Clips whose frames are averaged together.
    """

    def __init__(self, batch: int = 4) -> None:
        self.batch = batch
        self._clips: list[tuple[Tensor, Tensor]] = []
        self._rows: list[tuple[float, float, float]] = []

    def update(self, probability: Float[Tensor, "T H W"], truth: Bool[Tensor, "T H W"]) -> None:
        """Add a clip.

        Args:
            probability: Probability that a pixel is referred to, 0 to 1.
            truth: The pixels that are.
        """
        self._clips.append((probability, truth))
        if len(self._clips) == self.batch:
            self._close()

    def compute(self) -> dict[str, float]:
        """`J`, `F`, `J&F` and `S`, 0 to 1.

        Raises:
            ValueError: There was no clip.
        """
        if self._clips:
            self._close()
        if not self._rows:
            raise ValueError("Expected at least one clip.")
        j, f, s = (sum(column) / len(self._rows) for column in zip(*self._rows, strict=True))
        return {"J": j, "F": f, "J&F": (j + f) / 2, "S": s}

    def _close(self) -> None:
        probability, truth = (torch.cat(side) for side in zip(*self._clips, strict=True))
        self._clips = []
        share = (probability > S_THRESHOLD).float().mean()
        f = fscore(torch.logit(probability.double(), eps=1e-12).float(), truth)
        self._rows.append((float(_jaccard(probability > J_THRESHOLD, truth).mean()), float(f), float(share.sqrt())))


def _jaccard(found: Bool[Tensor, "N H W"], truth: Bool[Tensor, "N H W"]) -> Float[Tensor, " N"]:
    """IoU of each frame; where the truth is empty, the share of pixels that are empty in both."""
    both, either = ((x.flatten(1)).sum(1).double() for x in (found & truth, found | truth))
    pixels = truth[0].numel()
    silent = ~truth.flatten(1).any(1)
    iou = both / (either + TINY)
    return torch.where(silent, (pixels - either) / (pixels + TINY), iou)
