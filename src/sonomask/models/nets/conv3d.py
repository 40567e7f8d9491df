"""3DC: video object segmentation by three-dimensional convolutions alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.batches import Output
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.record import ModelRecord
from sonomask.structures import ModelConfig

DEPTHS = {18: (1, 1, 1, 1), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
MEAN = (114.7748 / 255, 107.7354 / 255, 99.4750 / 255)  # what the reference subtracts; it divides by nothing


class Conv3D(Net):
    """Marks moving objects in a clip of any length; it does not listen.

        clip → channel-separated 3-D ResNet → four maps; 1/2, 1/4, 1/8 of the length in the coarser ones
        coarsest → large kernels 1×7×7 in two halves → three refinements by the finer maps → ×4 → logits

    Args:
        config: Travels with the model; images come normalised by its mean and std and are brought to the reference's.
        depth: 50, 101 or 152; 18 is a small one for tests and laptops.
        depthwise: Channel-separated 3×3×3 as in the reference; False has full kernels, which ImageNet weights fill
            exactly (`Encoder3D.inflated`).
        width: Channels of the decoder.
        channels: Number of channels of the logits: 1, or 2 as the reference, where the second minus the first is ours.

    Source: Mahadevan et al., "Making a case for 3D convolutions for object segmentation in videos", BMVC 2020.
    """

    parts = Parts(backbone="encoder", pretrained="encoder")
    pretrained_names = "inflated"

    def __init__(
        self, *, config: ModelConfig, depth: int = 50, depthwise: bool = True, width: int = 256, channels: int = 1
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"`depth`: expected one of {sorted(DEPTHS)}, got {depth}.")
        self.encoder = Encoder3D(DEPTHS[depth], depthwise=depthwise)
        self.context = Context(2048, width)
        self.refine = nn.ModuleList(Refine3D(c, width) for c in (1024, 512, 256))
        self.head = nn.Conv3d(width, channels, 3, padding=1)
        self.config, self.channels = config, channels

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None = None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """Logits of a clip."""
        mean, std, theirs = (images.new_tensor(v)[:, None, None] for v in (self.config.mean, self.config.std, MEAN))
        scores = self.scores(((images * std + mean) - theirs).transpose(1, 2))
        logits = scores[:, 1:] - scores[:, :1] if self.channels == 2 else scores
        logits = logits.transpose(1, 2)
        return Output(gate(logits, valid))

    def scores(self, clip: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B _C T H W"]:
        """The reference network's output for a clip normalised in its way."""
        *fine, coarsest = self.encoder(clip)
        path = self.context(coarsest)
        for refine, skip in zip(self.refine, reversed(fine), strict=True):
            path = refine(skip, path)
        return F.interpolate(self.head(path.relu()), clip.shape[-3:], mode="trilinear", align_corners=False)


class Bottleneck3D(nn.Module):
    """1×1×1, 3×3×3 (depthwise or full) and 1×1×1 convolutions, and a shortcut."""

    def __init__(self, before: int, planes: int, stride: int, *, depthwise: bool) -> None:
        super().__init__()
        groups = planes if depthwise else 1
        self.conv1 = nn.Conv3d(before, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, stride=stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = nn.Conv3d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(4 * planes)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv3d(before, 4 * planes, 1, stride=stride, bias=False), nn.BatchNorm3d(4 * planes)
            )

    def forward(self, x: Float[Tensor, "B C t h w"]) -> Float[Tensor, "B _C _t _h _w"]:
        """Four times the planes."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Encoder3D(nn.Module):
    """A 3-D ResNet without its head; time is halved where space is, but not in the stem."""

    def __init__(self, blocks: Sequence[int], *, depthwise: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        before, stages = 64, []
        for index, (planes, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True)):
            stage = []
            for block in range(count):
                stride = 2 if index and not block else 1
                stage.append(Bottleneck3D(before, planes, stride, depthwise=depthwise))
                before = 4 * planes
            stages.append(nn.Sequential(*stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

    def forward(self, clip: Float[Tensor, "B 3 T H W"]) -> list[Float[Tensor, "B _C _t _h _w"]]:
        """Maps of 256, 512, 1024 and 2048 channels at 1/4 … 1/32."""
        x = self.bn1(self.conv1(clip)).relu()
        x = F.max_pool3d(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps

    def inflated(self, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a picture network, torchvision's ResNet of the same depth, for this one.

        A kernel is repeated along time and divided by its length, so that a still clip gives what the picture gives (but
        at the ends, where the padding is zero). A channel-separated kernel takes the mean over its input channels, which
        is only an initialisation.
        """
        own: dict[str, Tensor] = self.state_dict()
        for key, value in own.items():
            source = flat.get(key)
            if source is None:
                continue
            if value.ndim == 5:
                if value.shape[1] != source.shape[1]:
                    source = source.mean(1, keepdim=True)
                length = value.shape[2]
                source = source[:, :, None].expand(-1, -1, length, -1, -1) / length
            own[key] = source
        return own


class Context(nn.Module):
    """A large view in two halves, 7×1 then 1×7 and the other way round, and a residual."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        tall, wide = (1, 7, 1), (1, 1, 7)

        def half(first: tuple[int, int, int], second: tuple[int, int, int]) -> nn.Module:
            pads: Any = [tuple(k // 2 for k in kernel) for kernel in (first, second)]
            return nn.Sequential(
                nn.Conv3d(channels, width, first, padding=pads[0]), nn.Conv3d(width, width, second, padding=pads[1])
            )

        self.left, self.right = half(tall, wide), half(wide, tall)
        self.conv1, self.conv2 = (nn.Conv3d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Float[Tensor, "B C t h w"]) -> Float[Tensor, "B _W t h w"]:
        """Same size."""
        x = self.left(x) + self.right(x)
        return x + self.conv2(self.conv1(x.relu()).relu())


class Refine3D(nn.Module):
    """Joins the path with a finer map."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.skip = nn.Conv3d(channels, width, 3, padding=1)
        self.skip1, self.skip2, self.merge1, self.merge2 = (nn.Conv3d(width, width, 3, padding=1) for _ in range(4))

    def forward(self, skip: Float[Tensor, "B C t h w"], path: Tensor) -> Float[Tensor, "B _W t h w"]:
        """At the size of the finer map."""
        s = self.skip(skip)
        s = s + self.skip2(self.skip1(s.relu()).relu())
        m = s + F.interpolate(path, s.shape[-3:], mode="trilinear", align_corners=False)
        return m + self.merge2(self.merge1(m.relu()).relu())


RECORD = ModelRecord(
    build=Conv3D,
    presets={"3dc_resnet50": {"depth": 50}, "3dc_resnet152": {"depth": 152}},
    purpose="marks moving objects; does not listen",
    paper="Mahadevan et al., BMVC 2020",
    config={"listens": False},
    small={"depth": 18, "width": 16},
)
