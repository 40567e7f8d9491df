"""The audio encoder that knows AudioSet's 521 sounds: MobileNetV1 over a log-mel patch, as in YAMNet."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sonomask.audio.logmel import OFFSET

WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
HALVES = (1, 3, 5, 11)  # blocks that halve the map
NAMES = 521
YAMNET_OFFSET = 0.001  # added before the logarithm where VGGish adds 0.01


class Tagger(nn.Module):
    """Log-mel patches to a score for each of AudioSet's sounds.

    Batch norms are folded into the convolutions, as in the weights that were published for phones.

    Args:
        names: Number of sounds.

    Source: YAMNet, TensorFlow models, research/audioset (Apache-2.0); Howard et al., "MobileNets", 2017.
    """

    channels = WIDTHS[-1]

    def __init__(self, names: int = NAMES) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, stride=2)
        before = (32, *WIDTHS[:-1])
        strides = [2 if i in HALVES else 1 for i in range(len(WIDTHS))]
        self.depth = nn.ModuleList(nn.Conv2d(c, c, 3, stride=s, groups=c) for c, s in zip(before, strides, strict=True))
        self.point = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in zip(before, WIDTHS, strict=True))
        self.head = nn.Linear(WIDTHS[-1], names)

    def embed(self, logmel: Float[Tensor, "N 1 96 64"]) -> Float[Tensor, "N 1024"]:
        """Embeddings of VGGish's patches."""
        magnitude = (logmel.exp() - OFFSET).clamp(min=0)
        x = F.relu6(_same(self.stem, torch.log(magnitude + YAMNET_OFFSET)))
        for depth, point in zip(self.depth, self.point, strict=True):
            x = F.relu6(point(F.relu6(_same(depth, x))))
        return x.mean((2, 3))

    def forward(self, logmel: Float[Tensor, "N 1 96 64"]) -> Float[Tensor, "N names"]:
        """Logits; their sigmoid is the score of each of `sonomask.audio.audioset.NAMES`."""
        logits: Tensor = self.head(self.embed(logmel))
        return logits


class TaggerEncoder(Tagger):
    """The tagger without its names, as an audio encoder: it knows sounds before any training.

    Its weights can come from any model with a `Tagger`: `audio_weights: world_duo.real`.
    """

    def __init__(self) -> None:
        super().__init__()
        del self.head

    def forward(self, logmel: Float[Tensor, "N 1 96 64"]) -> Float[Tensor, "N 1024"]:
        """Embeddings."""
        return self.embed(logmel)


def _same(conv: nn.Module, x: Tensor) -> Tensor:
    """TensorFlow's "same" padding of a 3×3 kernel over an even size: one line at the end where the stride is 2."""
    assert isinstance(conv, nn.Conv2d)  # noqa: S101 - for mypy
    return conv(F.pad(x, (0, 1, 0, 1) if conv.stride[0] == 2 else (1, 1, 1, 1)))
