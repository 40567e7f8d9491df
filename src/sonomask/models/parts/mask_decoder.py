"""Queries that become masks: the decoder that COMBO and VCT share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.models.parts.deformable import sine_position
from sonomask.models.parts.transformer import DecoderLayer


@dataclass(frozen=True)
class Predictions:
    """Predictions before the first layer and after each one, or only after the last.

    Attributes:
        classes: Logits of K classes and, last, of "no object".
        masks: Logits of each query's mask at a quarter of the picture.
    """

    classes: tuple[Float[Tensor, "N Q _K"], ...]
    masks: tuple[Float[Tensor, "N Q h w"], ...]


class MaskDecoder(nn.Module):
    """Decoder whose layers each attend to one map, each query only within its current mask.

        queries → [cross attention to map i mod L where the mask is → self attention → feed forward] × layers
        before and after each: class = linear(norm(query)),   mask = MLP(norm(query)) · pixels

    Args:
        classes: K; "no object" is added.
        queries: Q.
        width: Channels of queries, maps and pixels.
        heads: Number of heads of each attention.
        hidden: Width of the feed-forward part.
        layers: Number of layers.
        levels: Maps, read in turn.
        whole: Numbers of the maps that are read everywhere, whatever the mask.

    Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022, section 3.1.
    """

    def __init__(
        self,
        classes: int,
        *,
        queries: int = 100,
        width: int = 256,
        heads: int = 8,
        hidden: int = 2048,
        layers: int = 9,
        levels: int = 3,
        whole: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.queries, self.places = nn.Embedding(queries, width), nn.Embedding(queries, width)
        self.levels = nn.Embedding(levels, width)
        self.layers = nn.ModuleList(
            DecoderLayer(channels=width, heads=heads, hidden=hidden, activation="relu", first="cross")
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.to_class = nn.Linear(width, classes + 1)
        self.to_mask = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )
        self.whole = tuple(whole)

    def forward(
        self,
        extra: Float[Tensor, "N Q C"],
        maps: Sequence[Float[Tensor, "N C _h _w"]],
        pixels: Float[Tensor, "N C h w"],
        *,
        every: bool = True,
    ) -> Predictions:
        """Classes and masks.

        Args:
            extra: Sum added to the learned queries: what was heard, or seen.
            maps: One for each level.
            pixels: Pixel embeddings from which masks are made.
            every: Keep those of each stage, which training looks at; of the last only otherwise.
        """
        values = [x.flatten(2).mT + level for x, level in zip(maps, self.levels.weight, strict=True)]
        keys = [v + _places(x) for v, x in zip(values, maps, strict=True)]
        x, places = self.queries.weight + extra, self.places.weight
        classes, masks = [], []
        for i in range(len(self.layers) + 1):
            query, level, last = self.norm(x), i % len(maps), i == len(self.layers)
            mask = torch.einsum("nqc,nchw->nqhw", self.to_mask(query), pixels)
            if every or last:
                classes.append(self.to_class(query))
                masks.append(mask)
            if not last:
                seen = None if level in self.whole else inside(mask, maps[level].shape[-2:])
                x = self.layers[i](x, values[level], places=places, keys=keys[level], mask=seen)
        return Predictions(tuple(classes), tuple(masks))


@torch.no_grad()
def inside(masks: Float[Tensor, "N Q h w"], size: Sequence[int]) -> Bool[Tensor, "N Q S"]:
    """The cells of a map of that size that lie inside the query's mask; all, if none does."""
    small = F.interpolate(masks, size=tuple(size), mode="bilinear", align_corners=False)
    seen = small.flatten(2).sigmoid() >= 0.5
    return seen | ~seen.any(2, keepdim=True)


def class_maps(classes: Float[Tensor, "N Q _K"], masks: Float[Tensor, "N Q h w"], size: Sequence[int]) -> Tensor:
    """A map for each class: Σ over queries of its probability times that of the mask, N K H W; 0 to Q."""
    masks = F.interpolate(masks, size=tuple(size), mode="bilinear", align_corners=False).sigmoid()
    return torch.einsum("nqk,nqhw->nkhw", classes.softmax(-1)[..., :-1], masks)


def logits_of(said: Predictions, size: Sequence[int], *, semantic: bool) -> Float[Tensor, "N _K H W"]:
    """Logits of the last stage: the class maps of a semantic model; for one mask, object minus background.

    The references score one mask by the softmax of the two maps; its second channel is the sigmoid of that difference,
    so the usual sigmoid and ½ give their result. With more classes the best is the best map, here as there.

    Frames are taken one by one, since a frame's masks at full size hold a hundred times as many numbers as its picture.

    Args:
        said: Predictions of N frames.
        size: Height and width of the logits.
        semantic: Whether the model tells classes apart.
    """
    if torch.compiler.is_compiling():  # a graph with a free number of frames can't take them one by one
        maps = class_maps(said.classes[-1], said.masks[-1], size)
    else:
        frames = zip(said.classes[-1].split(1), said.masks[-1].split(1), strict=True)
        maps = torch.cat([class_maps(classes, masks, size) for classes, masks in frames])
    return maps if semantic else maps[:, 1:] - maps[:, :1]


def _places(x: Float[Tensor, "N C h w"]) -> Float[Tensor, "S C"]:
    return sine_position(x.shape[-2], x.shape[-1], x.shape[1], normalise=True, like=x).flatten(1).mT
