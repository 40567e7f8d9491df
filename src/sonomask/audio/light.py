"""A small audio encoder with VGGish's input, for laptops."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LightEncoder(nn.Module):
    """Depthwise-separable convolutions over a log-mel patch, about a hundredth of VGGish's size and work.

    Batch norm rather than group norm: it folds away in inference, and T patches a clip make its batches large enough.

    Args:
        channels: D, of the embedding.
        widths: Channels after each halving of the map.
    """

    def __init__(self, channels: int = 128, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        self.channels = channels
        layers: list[nn.Module] = [_norm_relu(nn.Conv2d(1, widths[0], 5, stride=2, padding=2, bias=False))]
        for before, after in pairwise(widths):
            layers += [
                _norm_relu(nn.Conv2d(before, before, 3, stride=2, padding=1, groups=before, bias=False)),
                _norm_relu(nn.Conv2d(before, after, 1, bias=False)),
                _norm_relu(nn.Conv2d(after, after, 3, padding=1, groups=after, bias=False)),
                _norm_relu(nn.Conv2d(after, after, 1, bias=False)),
            ]
        self.features = nn.Sequential(*layers)  # 96×64 becomes 6×4
        self.embedding = nn.Linear(2 * widths[-1], channels)

    def forward(self, logmel: Float[Tensor, "N 1 96 64"]) -> Float[Tensor, "N D"]:
        """Embeddings: mean and maximum over the patch, so that both lasting and short sounds count."""
        maps = self.features(logmel / 4)  # from -4.6 … 4 to about one unit
        embedding: Tensor = self.embedding(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))
        return embedding


def _norm_relu(conv: nn.Conv2d) -> nn.Module:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU())
