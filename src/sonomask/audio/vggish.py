"""VGGish: a VGG-like network from log-mel patches to embeddings of 128 numbers, and its PCA post-processing."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class VGGish(nn.Module):
    """Log-mel patches to embeddings; parameters are named as in the PyTorch port that AVSBench uses.

    Args:
        embed: Give embeddings; if not, the last map (N, 512, 6, 4), time by frequency.

    Source: Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017.
    """

    channels = 128

    def __init__(self, *, embed: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = 1
        for width in (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool"):
            if isinstance(width, str):
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(previous, width, 3, padding=1), nn.ReLU()]
                previous = width
        self.features = nn.Sequential(*layers)
        self.embeddings: nn.Sequential | None = None
        if embed:
            self.embeddings = nn.Sequential(
                nn.Linear(512 * 6 * 4, 4096),
                nn.ReLU(),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Linear(4096, 128),
                nn.ReLU(),
            )

    def forward(self, logmel: Float[Tensor, "N 1 96 64"]) -> Float[Tensor, "N ..."]:
        """Embeddings (N, 128), or maps; 0 or more (the last layer has a ReLU too)."""
        maps: Tensor = self.features(logmel)
        if self.embeddings is None:
            return maps
        embedding: Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))  # time, frequency, channel
        return embedding


class PCA(nn.Module):
    """VGGish's optional post-processing: whitened by principal components and rounded to 8 bits, as in AudioSet.

    The two tables come with VGGish's release; `sonomask convert` reads them.
    """

    pca_eigen_vectors: Tensor
    pca_means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pca_eigen_vectors", torch.eye(128))
        self.register_buffer("pca_means", torch.zeros(128, 1))

    def forward(self, embedding: Float[Tensor, "N 128"]) -> Float[Tensor, "N 128"]:
        """Whole numbers from 0 to 255, as floats."""
        whitened = (self.pca_eigen_vectors @ (embedding.mT - self.pca_means)).mT
        return torch.round((whitened.clamp(-2, 2) + 2) * (255 / 4))
