"""The recognised kind of a published file, and the mapping of its tensors' names to ours."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

Name = str | Callable[[re.Match[str]], str]
Names = tuple[tuple[str, Name], ...]


Fusion = Literal["tpavi", "visual", "both", "none"]


@dataclass(frozen=True)
class Hints:
    """Facts about a file that only the user knows.

    Attributes:
        fusion: Fusion that AVSBench's model was trained with; every flag has the same weights.
        listens: Whether a model is to have an audio encoder that its file has not: AVSBench's, and EASE.
        size: Side of the pictures that EASE was trained on.
    """

    fusion: Fusion = "tpavi"
    listens: bool = False
    size: int | None = None


NO_HINTS = Hints()


@dataclass(frozen=True)
class Layout:
    """A recognised file.

    Attributes:
        system: Its authors' name for the model.
        name: Name in our catalogue.
        options: Options of `create_model`.
        names: Pattern and replacement, applied in order to each key.
        dead: Patterns of keys that the file holds and its model never uses, or that follow from others.
        flat: Pattern of our keys whose tensors have axes of length 1 too many at the end.
        derived: Pattern of our keys that the file need not hold, since their values follow from the network.
        listens: Whether the file holds an audio encoder.
        config: Fields of `ModelConfig` that the file's model needs beside those of its name.
    """

    system: str
    name: str
    options: Mapping[str, Any]
    names: Names
    dead: tuple[str, ...] = ()
    flat: str | None = None
    derived: str | None = None
    listens: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)

    def kept(self, network: nn.Module) -> dict[str, Tensor]:
        """The network's own tensors that the file need not hold."""
        if self.derived is None:
            return {}
        return {key: value for key, value in network.state_dict().items() if re.search(self.derived, key)}

    def rename(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors under our names, without the dead ones."""
        renamed = {}
        for key, tensor in tensors.items():
            if any(re.search(pattern, key) for pattern in self.dead):
                continue
            for pattern, name in self.names:
                key = re.sub(pattern, name, key)
            if self.flat and re.search(self.flat, key) and tensor.ndim == 5:
                tensor = tensor.squeeze(-1)
            renamed[key] = tensor
        return renamed


def level(room: str, tail: str = "") -> Name:
    """Levels that the file counts from 1."""
    return lambda match: f"{room}{int(match[1]) - 1}.{tail}"


def backbone(resnet: str, pvt: str) -> Names:
    """ResNet-50 and PVT-v2-B5 as AVSBench stores them, below these prefixes, under timm's names.

    Stages 3 and 4 of its ResNet have a second branch, which the model never runs: `dead_branch`.
    """
    return (
        (rf"^{resnet}(conv1|bn1|layer1|layer2)\.", r"backbone.net.\1."),
        (rf"^{resnet}layer([34])_1\.", r"backbone.net.layer\1."),
        (rf"^{pvt}patch_embed1\.", "backbone.net.patch_embed."),
        (rf"^{pvt}patch_embed([2-4])\.", level("backbone.net.stages_", "downsample.")),
        (rf"^{pvt}block([1-4])\.", level("backbone.net.stages_", "blocks.")),
        (rf"^{pvt}norm([1-4])\.", level("backbone.net.stages_", "norm.")),
        (r"\.mlp\.dwconv\.dwconv\.", ".mlp.dwconv."),
    )


def dead_branch(resnet: str) -> str:
    """Pattern of the second branch of stages 3 and 4."""
    return rf"^{resnet}layer[34]_2\."
