"""The visual backbone: any timm network with four feature maps, or with one from which four are made."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sonomask.safe_reading.config import check_options, check_source

LEVELS = 4


class Backbone(nn.Module):
    """Feature maps of four levels from a timm network, fine to coarse (usually 1/4, 1/8, 1/16 and 1/32 of the picture).

    A network of one level (ViT, DINOv2, XCiT) gets a simple pyramid, whose weights are learnt with the rest.

    Args:
        name: A timm model with at least four feature levels, of which the four coarsest are taken, or with one.
        options: Further arguments of `timm.create_model`, e.g. `drop_path_rate`; a ViT takes pictures of any size unless
            `dynamic_img_size` is false.

    Raises:
        ValueError: timm does not know the model or would fetch it, an option names a file, or it has two or three levels.
    """

    file_names = "timm"  # whose names a file of ImageNet weights has

    def __init__(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        check_source(name)
        check_options(options or {})
        self.name, self.options = name, dict(options or {})
        try:
            net: Any = self._made(pretrained=False)
        except RuntimeError as error:
            raise ValueError(f"`backbone`: expected a timm model with feature maps, got {name!r} ({error}).") from error
        self.net: Any = net
        channels, reduction = net.feature_info.channels(), net.feature_info.reduction()
        single = len(channels) < LEVELS and len(set(reduction)) == 1
        if len(channels) < LEVELS and not single:
            raise ValueError(
                f"`backbone`: expected {LEVELS} feature levels, or one, {name!r} has {len(channels)} (1/"
                f"{', 1/'.join(map(str, reduction))} of the picture). Take another network."
            )
        self.channels_last = str(getattr(net, "output_fmt", "")).endswith("NHWC")
        self.pyramid = Pyramid(channels[-1]) if single else None
        self.channels: tuple[int, ...] = tuple(channels[-LEVELS:]) if self.pyramid is None else self.pyramid.channels

    def _made(self, *, pretrained: bool) -> Any:
        """The network; a ViT for pictures of any size, if it can."""
        any_size = {"dynamic_img_size": True} | self.options
        try:
            return timm.create_model(self.name, pretrained=pretrained, features_only=True, **any_size)
        except TypeError as error:
            if "dynamic_img_size" in self.options or "dynamic_img_size" not in str(error):
                raise
            return timm.create_model(self.name, pretrained=pretrained, features_only=True, **self.options)

    def pretrained(self) -> dict[str, Tensor]:
        """The weights that timm offers for this network, from its cache or fetched.

        Raises:
            ValueError: timm has none for it, or they can't be fetched; says which.
        """
        try:
            net = self._made(pretrained=True)
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
        """Four maps, fine to coarse.

        Raises:
            ValueError: The network does not take pictures of this size.
        """
        try:
            found = self.net(images)
        except (
            AssertionError,
            RuntimeError,
        ) as error:  # timm's windowed networks; a RuntimeError is most often another one
            if isinstance(error, RuntimeError) and "shape" not in str(error):
                raise
            raise ValueError(self._size_refused(images, error)) from error
        maps = [x.permute(0, 3, 1, 2) if self.channels_last else x for x in found[-LEVELS:]]
        return maps if self.pyramid is None else self.pyramid(maps[-1])

    def _size_refused(self, images: Tensor, error: Exception) -> str:
        height, width = images.shape[-2:]
        own = self.net.default_cfg.get("input_size", (3, 0, 0)) if hasattr(self.net, "default_cfg") else (3, 0, 0)
        remedy = f"its own is {own[1]}×{own[2]}" if own[1] else "see its page in timm"
        return (
            f"`backbone`: {self.name} takes no pictures of {height}×{width} ({str(error).splitlines()[0][:150]}); {remedy}. "
            f"Give that size (--data.size), or lay the network out for this one: backbone_options {{img_size: [{height}, "
            f"{width}]}}."
        )


class Pyramid(nn.Module):
    """Make four maps from one: enlarged fourfold, enlarged twofold, unchanged, and halved.

    Args:
        channels: Number of channels of the map.

    Source: Li et al., "Exploring plain vision transformer backbones for object detection", ECCV 2022, section 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = max(1, channels // 2), max(1, channels // 4)
        self.channels = (quarter, half, channels, channels)
        self.finest = nn.Sequential(
            nn.ConvTranspose2d(channels, half, 2, stride=2), nn.GroupNorm(1, half), nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        )  # fmt: skip
        self.fine = nn.ConvTranspose2d(channels, half, 2, stride=2)

    def forward(self, x: Float[Tensor, "N _C _h _w"]) -> list[Float[Tensor, "N _D _y _x"]]:
        """Fine to coarse."""
        coarse = torch.nn.functional.max_pool2d(x, 2, ceil_mode=True)
        return [self.finest(x), self.fine(x), x, coarse]
