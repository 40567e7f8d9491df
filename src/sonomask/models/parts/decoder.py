"""From four fused maps to mask logits, coarse to fine."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Residual(nn.Module):
    """relu(x) + conv3×3(relu(conv3×3(relu(x)))).

    The first ReLU is on the shortcut too: the reference applies it in place, and its weights were trained so.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        """Same shape."""
        x = F.relu(x)
        return x + self.conv2(F.relu(self.conv1(x)))


class Refine(nn.Module):
    """Joins the coarser path with one level's map and doubles the size.

    Args:
        width: Channels.
        has_skip: Whether a coarser path exists to join with.
    """

    def __init__(self, width: int, *, has_skip: bool) -> None:
        super().__init__()
        if has_skip:
            self.skip = Residual(width)
        self.merge = Residual(width)

    def forward(
        self, level: Float[Tensor, "N C h w"], path: Float[Tensor, "N C h w"] | None, size: tuple[int, int]
    ) -> Float[Tensor, "N C _H _W"]:
        """The finer path."""
        joined = level if path is None else path + self.skip(level)
        return F.interpolate(self.merge(joined), size, mode="bilinear", align_corners=True)


class Decoder(nn.Module):
    """Panoptic-FPN-like top-down path of residual units.

    Args:
        width: Channels of every level.
        classes: K, channels of the logits.
        levels: Number of maps that come in.
        fine: Whether the last two steps run at twice and at the whole size of the finest map's picture, as in the reference.
            Without, logits are made at the size of the finest map and enlarged: half of the work, edges a little softer.

    Source: Zhou et al., ECCV 2022, §4, after Kirillov et al., "Panoptic feature pyramid networks", CVPR 2019.
    """

    def __init__(self, width: int, classes: int, levels: int = 4, *, fine: bool = True) -> None:
        super().__init__()
        self.fine = fine
        self.blocks = nn.ModuleList(Refine(width, has_skip=level + 1 < levels) for level in range(levels))
        last = min(32, width // 2)
        finer = (
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(width // 2, last, 3, padding=1),
        )
        self.head = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            *(finer if fine else ()),
            nn.ReLU(),
            nn.Conv2d(last if fine else width // 2, classes, 1),
        )

    def forward(self, levels: Sequence[Float[Tensor, "N C _h _w"]], size: tuple[int, int]) -> Float[Tensor, "N K H W"]:
        """Logits at `size`, from maps ordered fine to coarse."""
        height, width = levels[0].shape[-2:]
        first = (2 * height, 2 * width) if self.fine else (height, width)
        sizes = [first, *(tuple(x.shape[-2:]) for x in levels)]
        path = None
        for i in reversed(range(len(levels))):
            path = self.blocks[i](levels[i], path, sizes[i])
        logits: Tensor = self.head(path)
        if tuple(logits.shape[-2:]) != size:  # not `fine`, or sides that are no multiples of 32
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits
