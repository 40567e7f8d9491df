"""Baselines that use neither picture nor sound."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sonomask.batches import Batch, Output
from sonomask.structures import ModelConfig

__all__ = ["FLOORS", "Floor"]

SIDES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the centre box, of the picture's
CUTS = tuple(i / 20 for i in range(1, 20))  # at which the mean mask is tried


class Constant(nn.Module):
    """The same mask for every frame.

    Args:
        mask: Logits (H, W).
        name: Name in its config.
    """

    def __init__(self, mask: Tensor, name: str) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        height, width = mask.shape
        self.config = ModelConfig(name, listens=False, image_size=(height, width))

    def forward(self, images: Tensor, *_: Any, **__: Any) -> Output:
        """Logits of the mask."""
        size, frames = images.shape[-2:], images.shape[:2]
        return Output(self.get_buffer("mask").expand(*frames, 1, *size))


def _everything(masks: Tensor) -> Tensor:
    return torch.ones(masks.shape[-2:])


def _nothing(masks: Tensor) -> Tensor:
    return -torch.ones(masks.shape[-2:])


def _box(masks: Tensor) -> Tensor:
    height, width = masks.shape[-2:]
    y, x = (torch.linspace(-1, 1, n).abs() for n in (height, width))
    return _best(masks, [((y[:, None] <= side) & (x <= side)).float() - 0.5 for side in SIDES])


def _mean(masks: Tensor) -> Tensor:
    mean = masks.float().mean(0)
    return _best(masks, [mean - cut * mean.max() for cut in CUTS])


def _best(masks: Tensor, candidates: list[Tensor]) -> Tensor:
    """The candidate with the highest mean IoU with masks of training."""

    def score(logits: Tensor) -> float:
        found = logits > 0
        both, either = (masks & found).sum((1, 2)), (masks | found).sum((1, 2))
        return float((both / either.clamp(min=1)).mean())

    return max(candidates, key=score)


@dataclass(frozen=True)
class Floor:
    """An answer that is the same for every frame.

    Attributes:
        label: Name in tables.
        make: Masks (N, H, W) of labelled frames of training to logits (H, W).
    """

    label: str
    make: Callable[[Tensor], Tensor]

    def fit(self, batches: Iterable[Batch], name: str) -> Constant:
        """The answer that suits the training clips best."""
        masks = torch.cat([batch.masks[batch.labelled] > 0 for batch in batches])
        return Constant(self.make(masks), name)


FLOORS = {
    "everything": Floor("everything marked", _everything),
    "nothing": Floor("nothing marked", _nothing),
    "box": Floor("centre box, side by the training masks", _box),
    "mean": Floor("mean training mask, cut by them", _mean),
}
