"""ResNet-18 at stride 16, the tower of both sound source localisers, and what turns their heat maps into logits."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet18

from sonomask.models.parts.backbone import Backbone
from sonomask.models.parts.encoders import FIXED, audio_encoder
from sonomask.models.parts.net import Net, Parts


class Tower(nn.Module):
    """torchvision's ResNet-18 whose last stage keeps the size of its map (stride 1, no dilation), without its head.

    Args:
        channels: Number of channels of the input: 3 for RGB, 1 for a spectrogram.

    Source: Chen et al., "Localizing visual sounds the hard way", CVPR 2021.
    """

    channels = 512

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        net: Any = resnet18(weights=None)
        net.layer4[0].conv1.stride = (1, 1)
        net.layer4[0].downsample[0].stride = (1, 1)
        if channels != 3:
            net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        del net.fc, net.avgpool
        self.net = net

    def forward(self, x: Float[Tensor, "N _C H W"]) -> Float[Tensor, "N 512 _h _w"]:
        """A map at a sixteenth of the size, not negative."""
        x = self.net.maxpool(self.net.relu(self.net.bn1(self.net.conv1(x))))
        for stage in (self.net.layer1, self.net.layer2, self.net.layer3, self.net.layer4):
            x = stage(x)
        return x


class Borrowed(nn.Module):
    """A tower on a network that was trained for something else: its map at 1/16, or an audio embedding as a map of one place.

    Args:
        net: Backbone of four levels, or audio encoder.
        channels: Channels of what it gives.
    """

    def __init__(self, net: nn.Module, channels: int) -> None:
        super().__init__()
        self.net, self.project = net, nn.Conv2d(channels, Tower.channels, 1)

    def forward(self, x: Float[Tensor, "N _C H W"]) -> Float[Tensor, "N 512 _h _w"]:
        """A map, not negative."""
        found = self.net(x)
        return F.relu(self.project(found[:, :, None, None] if isinstance(found, Tensor) else found[2]))


def lend(net: Net, backbone: str | None, audio: str | None) -> tuple[nn.Module, nn.Module]:
    """The towers for pictures and for sounds; the net's parts are named after what they stand on.

    Args:
        net: The localiser.
        backbone: timm name of the network whose map to use; None for a tower of its own.
        audio: Name of an audio encoder (`encoders.audio_encoder`) whose embedding to use; None for a tower of its own.
    """
    image, sound = net.parts.backbone, net.parts.audio
    seen, heard = Tower(3), Tower(1)
    pictures = None if backbone is None else Backbone(backbone)
    ear: Any = audio_encoder(audio, FIXED[audio].channels if audio in FIXED else 128)
    net.parts = Parts(  # type: ignore[misc]
        backbone=image if pictures is None else f"{image}.net",
        audio=sound if ear is None else f"{sound}.net",
        pretrained=f"{image}.net" if pictures is None else f"{image}.net.net",
    )
    if pictures is not None:
        net.pretrained_names = "timm"
    net.keeps_audio = ear is not None  # type: ignore[misc]
    return (
        seen if pictures is None else Borrowed(pictures, pictures.channels[2]),
        heard if ear is None else Borrowed(ear, ear.channels),
    )


def heat_logits(heat: Float[Tensor, "N 1 _h _w"], size: tuple[int, int], *, lowest: bool = True) -> Tensor:
    """A heat map as logits: bilinear to `size`, each frame to 0..1 by its own range, then the logit.

    The sigmoid gives the heat back, to 10⁻⁴, and ½ of a frame's range is the cut. So every frame has something marked. Nearer
    to 0 and 1 a logit would tell nothing but float32's rounding, which differs from runtime to runtime.

    Args:
        heat: Any range.
        size: Height and width.
        lowest: Bring the least value to 0; otherwise only divide by the greatest.
    """
    heat = F.interpolate(heat.float(), size, mode="bilinear", align_corners=False)
    if lowest:
        heat = heat - heat.amin((2, 3), keepdim=True)
    heat = heat / heat.amax((2, 3), keepdim=True).clamp(min=1e-8)
    return torch.logit(heat, eps=1e-4)


def one_frame_each(valid: Tensor) -> Tensor:
    """For each clip the index of one of its valid frames, drawn at random: frames of one video are no negatives."""
    return torch.multinomial(valid.float() + 1e-9, 1)[:, 0]
