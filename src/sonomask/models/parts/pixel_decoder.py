"""From a backbone's maps to pixels that can be compared with queries, and to the maps that queries read."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class PixelDecoder(nn.Module):
    """Pixel decoder: the three coarser maps exchange information, which is then added to the finest.

        1/32, 1/16, 1/8 → 1×1 convolution, norm → encoder → three maps ─────────────▶ maps, coarse to fine
        1/4 → 1×1 convolution, norm → + the 1/8 map, enlarged → 3×3, norm, ReLU → 1×1 ─▶ pixels

    Args:
        channels: Number of channels of the backbone's four maps, fine to coarse.
        encoder: Three maps, coarse to fine, to three of the same sizes.
        width: Channels of whatever it gives.

    Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022, section 3.2.
    """

    def __init__(self, channels: Sequence[int], encoder: nn.Module, width: int = 256) -> None:
        super().__init__()
        groups = min(32, width)
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 1), nn.GroupNorm(groups, width)) for c in reversed(channels[1:])
        )
        self.encoder = encoder
        self.lateral = nn.Sequential(nn.Conv2d(channels[0], width, 1, bias=False), nn.GroupNorm(groups, width))
        self.merge = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width), nn.ReLU()
        )
        self.out = nn.Conv2d(width, width, 1)

    def forward(
        self, maps: Sequence[Float[Tensor, "N _C _h _w"]]
    ) -> tuple[Float[Tensor, "N C _h _w"], list[Float[Tensor, "N C _h _w"]]]:
        """Pixels at the size of the finest map, and three maps, coarse to fine."""
        coarse = [project(x) for project, x in zip(self.project, maps[:0:-1], strict=True)]
        read: list[Tensor] = self.encoder(coarse)
        finest = self.lateral(maps[0])
        finest = finest + F.interpolate(read[-1], size=finest.shape[-2:], mode="bilinear", align_corners=False)
        return self.out(self.merge(finest)), read
