"""Two encoders of pictures: one for the frame, one for its maskige (the frame coloured by region)."""

from typing import Any

import timm
from jaxtyping import Float
from torch import Tensor, nn

from sonomask.models.parts.backbone import Backbone


class Siamese(nn.Module):
    """Feature maps of a frame plus those of its maskige, weighted by gates computed from their means.

        f_i = frames_i(image) + g_i · maskige_i(maskige),   g_i = σ(MLP(mean of maskige_i over the picture))

    Args:
        frames: Pictures to four maps, fine to coarse, with `channels`.
        maskige: A second such network; None for a model that sees frames only.

    Source: Yang et al., "Cooperation Does Matter" (COMBO), CVPR 2024, section 3.2 (Siam-Encoder Module).
    """

    def __init__(self, frames: Any, maskige: Any) -> None:
        super().__init__()
        self.frames: Any = frames
        self.maskige: Any = maskige
        self.channels: tuple[int, ...] = frames.channels
        self.gates = nn.ModuleList() if maskige is None else nn.ModuleList(_Gate(c) for c in self.channels)

    def forward(
        self, images: Float[Tensor, "N 3 H W"], maskige: Float[Tensor, "N 3 H W"] | None
    ) -> list[Float[Tensor, "N _C _h _w"]]:
        """Four maps, fine to coarse.

        Raises:
            ValueError: The maskige is missing or of another shape.
        """
        maps: list[Tensor] = self.frames(images)
        if self.maskige is None:
            return maps
        if maskige is None or maskige.shape != images.shape:
            got = None if maskige is None else tuple(maskige.shape)
            raise ValueError(
                f"`maskige`: expected a maskige for each frame, {tuple(images.shape)}, got {got}. "
                "`sonomask.inference.maskige` makes them; a model built with maskige=False needs none."
            )
        seconds: list[Tensor] = self.maskige(maskige)
        return [x + gate(y) * y for x, y, gate in zip(maps, seconds, self.gates, strict=True)]

    @property
    def file_names(self) -> str:
        """Whose names a file of ImageNet weights for the networks has."""
        names: str = self.frames.file_names
        return names

    def places(self, room: str) -> tuple[str, ...]:
        """Paths of the networks in a net that holds this module as `room`."""
        return (f"{room}.frames.net", f"{room}.maskige.net")[: 1 if self.maskige is None else 2]

    @property
    def nets(self) -> list[Any]:
        """The networks of the frames and, if there are two, of the maskige."""
        return [part.net for part in (self.frames, self.maskige) if part is not None]

    def pair(self) -> None:
        """Copy the weights of the frames' network to that of the maskige."""
        for net in self.nets[1:]:
            net.load_state_dict(self.nets[0].state_dict())


class _Gate(nn.Module):
    """Gate of a map's channels, computed from the map's mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, channels // 16), nn.Linear(channels // 16, channels)

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C 1 1"]:
        gate: Tensor = self.fc2(self.fc1(x.mean((2, 3))).relu()).sigmoid()
        return gate[..., None, None]


class Swin(nn.Module):
    """Four maps of a Swin transformer, each taken before downsampling and normalised by its own layer norm.

    Every stage shifts its windows, also the last, whose map is one window: so the reference (and detectron2) does, and
    timm only when told (`always_partition`).

    Args:
        name: A timm Swin.
        size: Side of the pictures.
        drop_path: Share of blocks that training leaves out.
    """

    file_names = "swin"

    def __init__(self, name: str, size: int, drop_path: float = 0.0) -> None:
        super().__init__()
        net: Any = timm.create_model(
            name, pretrained=False, features_only=True, img_size=size, always_partition=True, drop_path_rate=drop_path
        )
        self.net: Any = net
        self.channels: tuple[int, ...] = tuple(net.feature_info.channels())
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in self.channels)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> list[Float[Tensor, "N _C _h _w"]]:
        """Maps at a quarter to a thirty-second of the picture."""
        return [norm(x).permute(0, 3, 1, 2) for norm, x in zip(self.norms, self.net(images), strict=True)]


def encoder(name: str, *, size: int, drop_path: float, maskige: bool) -> Siamese:
    """The pair of timm networks of that name, or one alone."""

    def one() -> Any:
        if name.startswith("swin_"):
            return Swin(name, size, drop_path)
        return Backbone(name, {"drop_path_rate": drop_path} if drop_path else None)

    return Siamese(one(), one() if maskige else None)
