"""The picture side: any timm network that gives four feature maps."""

from collections.abc import Mapping
from typing import Any

import timm
from jaxtyping import Float
from torch import Tensor, nn

from sonomask.safe_reading.config import check_options, check_source

LEVELS = 4


class Backbone(nn.Module):
    """Feature maps of four levels from a timm network, fine to coarse (usually 1/4, 1/8, 1/16 and 1/32 of the picture).

    Args:
        name: A timm model with at least four feature levels; of more, the four coarsest are taken.
        options: Further arguments of `timm.create_model`, e.g. `drop_path_rate`.

    Raises:
        ValueError: timm does not know the model or would fetch it, an option names a file, or it has fewer than four levels.
    """

    file_names = "timm"  # whose names a file of ImageNet weights has

    def __init__(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        check_source(name)
        check_options(options or {})
        try:
            net: Any = timm.create_model(name, pretrained=False, features_only=True, **(options or {}))
        except RuntimeError as error:
            raise ValueError(f"`backbone`: expected a timm model with feature maps, got {name!r} ({error}).") from error
        self.net: Any = net
        self.name, self.options = name, dict(options or {})
        channels = net.feature_info.channels()
        if len(channels) < LEVELS:
            raise ValueError(f"`backbone`: expected {LEVELS} feature levels, {name!r} has {len(channels)}.")
        self.channels: tuple[int, ...] = tuple(channels[-LEVELS:])

    def pretrained(self) -> dict[str, Tensor]:
        """The weights that timm offers for this network, from its cache or fetched.

        Raises:
            ValueError: timm has none for it, or they can't be fetched; says which.
        """
        try:
            net = timm.create_model(self.name, pretrained=True, features_only=True, **self.options)
        except Exception as error:  # of timm, of the hub's client, of the network
            about = timm.get_pretrained_cfg(self.name.split(".")[0])
            where = f"https://huggingface.co/{about.hf_hub_id}" if about is not None and about.hf_hub_id else "timm"
            reason = (str(error) or type(error).__name__).splitlines()[0][:200]
            raise ValueError(
                f"`pretrained`: the weights of {self.name} are not in the cache and can't be fetched ({reason}). Get the file "
                f"from {where} and give its path."
            ) from error
        return dict(net.state_dict())

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> list[Float[Tensor, "N _C _h _w"]]:
        """Four maps, fine to coarse."""
        return list(self.net(images)[-LEVELS:])
