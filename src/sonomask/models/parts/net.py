"""What every model of the catalogue is."""

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.structures import Batch, ModelConfig, Output


class Net(nn.Module):
    """A module with a config, that takes clips of pictures and sound and gives an `Output`.

    Attributes:
        config: What a user of its weights must know.
        keeps_audio: Whether training leaves the audio encoder alone unless told.
    """

    config: ModelConfig
    keeps_audio = False

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """Mask logits at the size of the images; those of frames that don't exist are 0."""
        raise NotImplementedError

    def objective(self, batch: Batch) -> dict[str, Tensor] | None:
        """The terms of the model's own training loss; None if it trains by the masks' cross-entropy."""
        return None

    def started(self) -> None:
        """Called once in training, after weights were loaded."""

    def picture_net(self) -> Any:
        """The part that ImageNet weights fill, with the names of their file."""
        raise ValueError(f"{self.config.name} has no backbone to fill. Leave out `backbone_weights`.")


def gate(logits: Float[Tensor, "B T K H W"], valid: Bool[Tensor, "B T"] | None) -> Tensor:
    """Zero for frames that do not exist."""
    return logits if valid is None else logits * valid[:, :, None, None, None]
