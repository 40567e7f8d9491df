"""SST: video object segmentation by attention in space and time along the axes."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50, resnet101

from sonomask.batches import Output
from sonomask.models.parts.backbone import Backbone
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.record import ModelRecord
from sonomask.structures import ModelConfig

BASE = 100.0  # of the sinusoids


class SST(Net):
    """Marks moving objects; it does not listen.

        frames → ResNet at stride 16 → 1×1 → + sinusoids of t, y, x → L × grid attention → [it, the frame's own map]
        → 3×3 → ×4 → + the frame's map at 1/4 → two 3×3 → logits

    In *grid attention* a position attends to its row, its column and its line through time; in *strided attention* to its
    neighbours in its own frame and to a grid of cells a stride apart in all frames. Three layers of the one, two of the
    other, join any two positions. Computed as dense attention under a mask: the same numbers without a custom op.

    Args:
        config: Travels with the model.
        backbone: "resnet18", "resnet50" or "resnet101"; the last stage of the first keeps the size without dilation. Any other
            name is one of timm's, whose map at 1/16 is taken as it is.
        width: Channels of the transformer.
        layers: L.
        heads: Number of heads of the attention.
        attention: "grid" or "strided".
        affinity: Whether to give the decoder the attention to the object of a reference frame too, `forward(reference=…)`.

    Source: Duke et al., "SSTVOS: sparse spatiotemporal transformers for video object segmentation", CVPR 2021. Neither
    model nor weights were published; layers, widths and decoder are ours.
    """

    parts = Parts(backbone="net", pretrained="net")

    def __init__(
        self, *, config: ModelConfig, backbone: str = "resnet50", width: int = 256, layers: int = 3, heads: int = 8,
        attention: Literal["grid", "strided"] = "grid", affinity: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        nets: dict[str, Any] = {"resnet18": resnet18, "resnet50": resnet50, "resnet101": resnet101}
        if attention not in MASKS:
            raise ValueError(f"`attention`: expected one of {', '.join(MASKS)}, got {attention!r}.")
        fine, coarse = (64, 512) if backbone == "resnet18" else (256, 2048)
        net: Any
        if backbone not in nets:
            net = Backbone(backbone)
            fine, coarse = net.channels[0], net.channels[2]
            self.parts, self.pretrained_names = Parts(backbone="net", pretrained="net.net"), "timm"  # type: ignore[misc]
        elif backbone == "resnet18":  # torchvision's plain blocks know no dilation
            net = resnet18(weights=None)
            net.layer4[0].conv1.stride = net.layer4[0].downsample[0].stride = (1, 1)
        else:
            net = nets[backbone](weights=None, replace_stride_with_dilation=[False, False, True])
        if backbone in nets:
            del net.fc, net.avgpool
        self.net: Any = net
        self.project = nn.Conv2d(coarse, width, 1)
        self.layers = nn.ModuleList(GridLayer(width, heads) for _ in range(layers))
        self.fine = nn.Conv2d(fine, 48, 1)
        self.coarse = nn.Sequential(_conv(2 * width + heads * affinity, width))
        self.decode = nn.Sequential(_conv(width + 48, width), _conv(width, width), nn.Conv2d(width, 1, 1))
        self.config, self.heads, self.affinity, self.sees = config, heads, affinity, MASKS[attention]

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None = None,
        valid: Bool[Tensor, "B T"] | None = None,
        reference: Bool[Tensor, "B T H W"] | None = None,
    ) -> Output:
        """Logits; `reference` marks the object in frames where it is known."""
        fine, x = self._maps(images.flatten(0, 1))
        own = self.project(x).unflatten(0, images.shape[:2])  # B T C h w
        tokens = own.permute(0, 1, 3, 4, 2)
        t, h, w = tokens.shape[1:4]
        mask = self.sees(t, h, w).to(images.device)
        y = (tokens + positions(t, h, w, tokens.shape[-1]).to(tokens)).flatten(1, 3)
        for layer in self.layers:
            y = layer(y, mask)
        context = y.unflatten(1, (t, h, w)).permute(0, 1, 4, 2, 3)
        parts = [context, own]
        if self.affinity:
            parts.append(self._affinity(y, mask, reference, (t, h, w)))
        z = self.coarse(torch.cat(parts, 2).flatten(0, 1))
        z = F.interpolate(z, fine.shape[-2:], mode="bilinear", align_corners=False)
        logits = self.decode(torch.cat([z, self.fine(fine)], 1))
        logits = F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
        logits = logits.unflatten(0, images.shape[:2])
        return Output(gate(logits, valid))

    def _maps(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        net = self.net
        if isinstance(net, Backbone):
            fine, _, coarse, _ = net(frames)
            return fine, coarse
        fine = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(frames)))))
        return fine, net.layer4(net.layer3(net.layer2(fine)))

    def _affinity(
        self, y: Tensor, mask: Tensor, reference: Tensor | None, size: tuple[int, int, int]
    ) -> Float[Tensor, "B T _M h w"]:
        """Per head the largest attention score to a pixel of the known object; 0 where none is known."""
        t, h, w = size
        if reference is None:
            return y.new_zeros(len(y), t, self.heads, h, w)
        layer: Any = self.layers[-1]
        scores = layer.scores(y).masked_fill(~mask, -torch.inf)  # B M N N
        known = F.adaptive_max_pool2d(reference.float(), (h, w)).flatten(1).bool()[:, None, None]
        best = scores.masked_fill(~known, -torch.inf).amax(-1)
        best = torch.where(best.isinf(), torch.zeros_like(best), best)
        return best.unflatten(2, (t, h, w)).transpose(1, 2)


class GridLayer(nn.Module):
    """Attention along the axes and a feed-forward part, each with its shortcut and layer norm after it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "B N C"], mask: Bool[Tensor, "N N"]) -> Float[Tensor, "B N C"]:
        """Same shape."""
        q, k, v = self._split(x)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.norm1(x + self.out(y.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.feed(x))

    def scores(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B M N N"]:
        """Scores before the softmax."""
        q, k, _ = self._split(x)
        return q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v


def grid_mask(t: int, h: int, w: int) -> Bool[Tensor, "N N"]:
    """Mask of cells that attend to one another: those that agree in two of time, row and column, and each to itself."""
    cells = torch.stack(torch.meshgrid(*map(torch.arange, (t, h, w)), indexing="ij"), -1).flatten(0, 2)
    return (cells[:, None] == cells[None]).sum(-1) >= 2


def strided_mask(t: int, h: int, w: int) -> Bool[Tensor, "N N"]:
    """Mask of cells that attend to one another: near ones of a frame, and those of any frames whole strides apart.

    The stride is the root of the larger side, so that both parts are alike in size.
    """
    cells = torch.stack(torch.meshgrid(*map(torch.arange, (t, h, w)), indexing="ij"), -1).flatten(0, 2)
    stride = math.ceil(math.sqrt(max(h, w)))
    apart = (cells[:, None] - cells[None]).abs()
    near = (apart[..., 0] == 0) & (apart[..., 1:] < stride).all(-1)
    return near | (apart[..., 1:] % stride == 0).all(-1)


MASKS: dict[str, Callable[[int, int, int], Tensor]] = {"grid": grid_mask, "strided": strided_mask}


def positions(t: int, h: int, w: int, width: int) -> Float[Tensor, "t h w C"]:
    """Sinusoids of time, row and column, a third of the channels each."""
    each = width // 6
    rates = BASE ** -(torch.arange(each) / max(1, each))
    parts = []
    for axis, length in enumerate((t, h, w)):
        angle = torch.arange(length)[:, None] * rates
        wave = torch.cat([angle.sin(), angle.cos()], 1)
        shape = [1, 1, 1, 2 * each]
        shape[axis] = length
        parts.append(wave.reshape(shape).expand(t, h, w, -1))
    return F.pad(torch.cat(parts, -1), (0, width - 6 * each))


def _conv(before: int, width: int) -> nn.Module:
    groups = math.gcd(32, width)
    return nn.Sequential(nn.Conv2d(before, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width), nn.ReLU())


RECORD = ModelRecord(
    build=SST,
    presets={"sst_resnet50": {"backbone": "resnet50"}, "sst_resnet101": {"backbone": "resnet101"}},
    purpose="marks moving objects; does not listen",
    paper="Duke et al., CVPR 2021",
    config={"listens": False},
    small={"width": 48, "layers": 2},
)
