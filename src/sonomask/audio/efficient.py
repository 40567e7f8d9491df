"""An audio encoder that treats the log-mel patch as a picture, so that it can start from ImageNet's weights."""

from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

LEVEL = -4.6  # ln(0.01), the log-mel of silence


class EfficientEncoder(nn.Module):
    """A timm network over a log-mel patch, mean and maximum over what it finds, one embedding.

    Edges and textures of pictures are a good start for those of spectrograms, where recordings are few.

    Args:
        channels: D, of the embedding.
        backbone: timm's name.
        dropout: Dropout of the pooled features in training.

    Source: Palanisamy et al., "Rethinking CNN models for audio classification", 2020, for the start from ImageNet.
    """

    def __init__(self, channels: int = 128, backbone: str = "tf_efficientnet_lite0", dropout: float = 0.2) -> None:
        super().__init__()
        self.channels = channels
        net: Any = timm.create_model(backbone, features_only=True, in_chans=1, out_indices=(4,))
        self.net = net
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Linear(2 * net.feature_info.channels()[-1], channels)

    def forward(self, logmel: Float[Tensor, "N 1 96 64"]) -> Float[Tensor, "N D"]:
        """Embeddings: mean and maximum over the patch, so that both lasting and short sounds count."""
        maps = self.net((logmel - LEVEL) / 2 - 1)[-1]
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
        embedding: Tensor = self.embedding(self.dropout(pooled))
        return embedding
