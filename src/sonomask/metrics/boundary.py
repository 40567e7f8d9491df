"""Boundary F-score: how well the outlines agree, as DAVIS defines it."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

TOLERANCE = 0.008  # of the picture's diagonal


def boundary_fscore(found: Bool[Tensor, "N H W"], truth: Bool[Tensor, "N H W"]) -> Float[Tensor, " N"]:
    """F of the outlines' pixels, each of which may be off by 0.8 % of the diagonal.

    1 where both masks are empty, 0 where one is.

    Source: Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation", CVPR 2016.
    """
    height, width = truth.shape[-2:]
    radius = max(1, round(TOLERANCE * (height**2 + width**2) ** 0.5 + 0.499))
    mine, theirs = outline(found), outline(truth)
    precision = _share(mine, _grow(theirs, radius))
    recall = _share(theirs, _grow(mine, radius))
    score = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    empty = ~found.flatten(1).any(1) & ~truth.flatten(1).any(1)
    return torch.where(empty, torch.ones_like(score), score)


def outline(mask: Bool[Tensor, "N H W"]) -> Bool[Tensor, "N H W"]:
    """Pixels that differ from the one to the right, below, or both."""
    padded = F.pad(mask, (0, 1, 0, 1))
    padded[:, -1], padded[:, :, -1] = padded[:, -2].clone(), padded[:, :, -2].clone()
    return (mask ^ padded[:, :-1, 1:]) | (mask ^ padded[:, 1:, :-1]) | (mask ^ padded[:, 1:, 1:])


def _grow(mask: Tensor, radius: int) -> Tensor:
    """Dilation by a disc."""
    offsets = torch.arange(-radius, radius + 1)
    disc = (offsets[:, None] ** 2 + offsets[None] ** 2 <= radius**2).float().to(mask.device)
    return F.conv2d(mask[:, None].float(), disc[None, None], padding=radius)[:, 0] > 0.5


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return (part & whole).sum((1, 2)) / part.sum((1, 2)).clamp(min=1)
