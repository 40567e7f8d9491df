"""Recognise what is where in a picture: a category for each position, and salience."""

from __future__ import annotations

from functools import partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sonomask.safe_reading.config import check_source

LEVELS = (1, 2, 4, 6)  # stages of an EfficientNet whose maps have strides 4, 8, 16 and 32
IMAGENET = 1000


class SceneReader(nn.Module):
    """EfficientNet with a feature pyramid, and two heads at stride 4: categories (background first) and salience.

    With `groups`, ImageNet's own class scores are read as evidence beside the pyramid: the log-share of each group of classes
    (guitars, buses, furniture, …) at each place and in the whole picture.

    Args:
        backbone: timm's name of an EfficientNet.
        categories: Number of categories, without the background.
        width: Channels of the pyramid.
        groups: Groups of ImageNet's classes that are read as evidence; 0 for none.
        rank: Channels to which the three convolutions at stride 4 are narrowed on their way (`LowRank`); 0 for full ones.

    Source: Lin et al., "Feature pyramid networks for object detection", CVPR 2017.
    """

    def __init__(self, backbone: str, categories: int, width: int = 128, groups: int = 0, rank: int = 0) -> None:
        super().__init__()
        check_source(backbone)
        net: Any = timm.create_model(backbone, pretrained=False)
        channels = [net.feature_info[i]["num_chs"] for i in range(1, 5)]
        self.stem = nn.ModuleDict({"conv": net.conv_stem, "norm": net.bn1})
        self.stages = nn.ModuleList(net.blocks[: LEVELS[-1] + 1])
        self.evidence: Evidence | None = None
        if groups:
            self.evidence = Evidence(net.conv_head, net.bn2, net.classifier, groups)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        fine = partial(LowRank, rank=rank) if rank else _block
        self.smooth = nn.ModuleList((_block if level else fine)(width, width) for level in range(len(channels)))
        self.context = nn.Conv2d(channels[-1], width, 1)
        more = Evidence.WIDTH if groups else 0
        self.refine = nn.Sequential(fine(width + more, width), fine(width, width))
        self.category, self.salience = nn.Conv2d(width, 1 + categories, 1), nn.Conv2d(width, 1, 1)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, "N _C h w"], Float[Tensor, "N 1 h w"]]:
        """Logits of the categories and of salience at a quarter of the size; H and W are multiples of 32."""
        y = self.features(images)
        return self.category(y), self.salience(y)

    def features(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N width h w"]:
        """What the two heads read."""
        x, maps = self.stem["norm"](self.stem["conv"](images)), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in LEVELS:
                maps.append(x)
        y = F.relu(self.context(x.mean((2, 3), keepdim=True)))
        for level in reversed(range(len(maps))):
            z = self.lateral[level](maps[level])
            z = z + (F.interpolate(y, size=z.shape[-2:], mode="bilinear", align_corners=False) if level < 3 else y)
            y = self.smooth[level](z)
        if self.evidence is not None:
            more = F.interpolate(self.evidence(x), size=y.shape[-2:], mode="bilinear", align_corners=False)
            y = torch.cat([y, more], 1)
        found: Tensor = self.refine(y)
        return found


class Evidence(nn.Module):
    """ImageNet's class scores as features: the log-share of each group of classes, here and in the whole picture.

    Args:
        conv: The classifier's last convolution.
        norm: Layer that follows the convolution.
        classifier: Linear, to ImageNet's classes.
        groups: Number of groups; which class belongs to which is part of the weights.
    """

    WIDTH = 64
    members: Tensor

    def __init__(self, conv: nn.Module, norm: nn.Module, classifier: nn.Module, groups: int) -> None:
        super().__init__()
        self.conv, self.norm, self.classifier = conv, norm, classifier
        self.register_buffer("members", torch.zeros(groups, IMAGENET))
        first, second = nn.Conv2d(2 * groups, self.WIDTH, 1), nn.Conv2d(self.WIDTH, self.WIDTH, 1)
        self.mix = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    def shares(self, logits: Float[Tensor, "*N 1000"]) -> Float[Tensor, "*N groups"]:
        """Log-share of each group, from -1 (none) to 1 (all)."""
        return torch.log(logits.softmax(-1) @ self.members.T + 1e-4) / 4.6 + 1

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N 64 h w"]:
        """Features of the coarsest map."""
        x = self.norm(self.conv(x))
        here = self.shares(self.classifier(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        whole = self.shares(self.classifier(x.mean((2, 3))))[:, :, None, None]
        mixed: Tensor = self.mix(torch.cat([here, whole.expand_as(here)], 1))
        return mixed


class LowRank(nn.Module):
    """A 3×3 convolution through few channels, then a 1×1 one and ReLU: a full one for a third of the work.

    Args:
        before: Channels of the input.
        width: Channels of the output.
        rank: Channels between the two.
    """

    def __init__(self, before: int, width: int, rank: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(before, rank, 3, padding=1, bias=False), nn.Conv2d(rank, width, 1)

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C2 h w"]:
        """Return feature maps of the same size."""
        return F.relu(self.b(self.a(x)))


def _block(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
