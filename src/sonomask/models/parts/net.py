"""The base class of all models in the catalogue."""

from dataclasses import dataclass
from operator import attrgetter
from typing import ClassVar, Literal, get_args

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.batches import Batch, Output
from sonomask.models.parts.tpavi import FusionLevel
from sonomask.structures import ModelConfig

PartName = Literal["backbone", "audio", "adversary", "pretrained"]


@dataclass(frozen=True)
class Parts:
    """Paths of the submodules that training and loading treat separately; None for parts that a net lacks.

    Attributes:
        backbone: Network that sees the pictures.
        audio: Network that encodes the sound.
        adversary: Network that is trained against the rest.
        pretrained: The network that a file of ImageNet's or COCO's weights fills.
    """

    backbone: str | None = None
    audio: str | None = None
    adversary: str | None = None
    pretrained: str | None = None


class Net(nn.Module):
    """A module with a config, that takes clips of pictures and sound and gives an `Output`.

    Attributes:
        config: The model's configuration.
        parts: Names of the parts that training and loading treat apart.
        pretrained_names: Naming scheme of files for the part "pretrained", see `checkpoints.backbones`.
        recomputable: Names of the networks of timm whose activations can be recomputed in the backward pass.
        keeps_audio: Whether training leaves the audio encoder alone unless told.
        streams: Whether the net has a streaming form, `start` and `step`.
        not_exported: Why no exported graph can hold the net; "" if one can.
        progress: Share of its training that is done, 0 to 1, for a net whose objective changes on the way.
    """

    config: ModelConfig
    parts: ClassVar[Parts] = Parts()
    pretrained_names: str = "torchvision"
    recomputable: tuple[str, ...] = ()
    keeps_audio: ClassVar[bool] = False
    streams: ClassVar[bool] = False
    not_exported: ClassVar[str] = ""
    progress: float = 0.0

    def part(self, name: PartName) -> nn.Module | None:
        """A part by its name in `parts`; None if the net has none, or was built without."""
        path = getattr(self.parts, name)
        found: nn.Module | None = attrgetter(path)(self) if path else None
        return found

    def needed_part(self, name: PartName, option: str) -> nn.Module:
        """A part that an option wants.

        Raises:
            ValueError: The net has no such part; names the option.
        """
        found = self.part(name)
        if found is None:
            has = ", ".join(n for n in get_args(PartName) if self.part(n) is not None) or "none"
            raise ValueError(
                f"`{option}`: {self.config.name} has no part {name!r} (its parts: {has}). Leave the option out."
            )
        return found

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

    def attending(self) -> list[FusionLevel]:
        """The levels of fusion at which pixels attend to sound; none but for nets with TPAVI."""
        return []

    def foldable(self) -> list[nn.Module]:
        """The networks that see pictures and whose batch norms inference may fold (`models.optimize`)."""
        return []

    def after_pretrained(self) -> None:
        """Called once the part "pretrained" was filled from a file."""


def gate(logits: Float[Tensor, "B T K H W"], valid: Bool[Tensor, "B T"] | None) -> Tensor:
    """Zero for frames that do not exist."""
    return logits if valid is None else logits * valid[:, :, None, None, None]
