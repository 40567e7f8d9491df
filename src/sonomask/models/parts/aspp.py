"""The sum of dilated convolutions that the paper calls ASPP."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class DilatedSum(nn.Module):
    """Brings one feature level to the width of the decoder and widens its view.

        y = Σ_d conv3×3(x; dilation d, padding d)

    The branches are summed, not concatenated as in DeepLab's atrous spatial pyramid pooling, and nothing follows them.

    Args:
        channels: Number of channels of the level.
        width: Channels of the result.
        dilations: One branch each.
        bias: Whether the branches have one.

    Source: Zhou et al., "Audio-Visual Segmentation", ECCV 2022, §4 and its released code.
    """

    def __init__(
        self, channels: int, width: int, dilations: Sequence[int] = (3, 6, 12, 18), *, bias: bool = True
    ) -> None:
        super().__init__()
        convs = [nn.Conv2d(channels, width, 3, padding=d, dilation=d, bias=bias) for d in dilations]
        for conv in convs:
            nn.init.normal_(conv.weight, std=0.01)
        self.convs: Any = nn.ModuleList(convs)

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N width h w"]:
        """Same height and width.

        On a map smaller than the dilation the outer taps only ever meet the zero padding, so they are not computed; the
        branches of which nothing but the centre is left share one 1×1 convolution. The result is that of the sum.
        """
        height, width = x.shape[-2:]
        if not isinstance(height, int) or not isinstance(width, int):  # exported for any size: nothing can be left out
            return self._plain(x)
        biases = [conv.bias for conv in self.convs if conv.bias is not None]
        # not a sum over a stack: its gradients are views of one memory, in which gathered gradients would add up
        bias: Tensor | None = sum(biases[1:], biases[0]) if biases else None
        y: Tensor | None = None
        centres = []
        more = 8 if self.training and _miscounts(x) else 0
        x = F.pad(x, (0, 0, 0, 0, 0, more)) if more else x
        for conv in self.convs:
            d = conv.dilation[0]
            tall, wide = d < height, d < width
            if not (tall or wide):
                centres.append(conv.weight[:, :, 1:2, 1:2])
                continue
            kernel = conv.weight[:, :, slice(None) if tall else slice(1, 2), slice(None) if wide else slice(1, 2)]
            kernel = F.pad(kernel, (0, 0, 0, 0, 0, more)) if more else kernel
            part = F.conv2d(x, kernel, bias, padding=(d * tall, d * wide), dilation=d)
            bias = None
            y = part if y is None else y + part
        if centres:
            kernel = torch.stack(centres).sum(0)
            part = F.conv2d(x, F.pad(kernel, (0, 0, 0, 0, 0, more)) if more else kernel, bias)
            y = part if y is None else y + part
        assert y is not None  # noqa: S101 - at least one dilation was given
        return y

    def _plain(self, x: Tensor) -> Tensor:
        y: Tensor = self.convs[0](x)
        for conv in self.convs[1:]:
            y = y + conv(x)
        return y


def _miscounts(x: Tensor) -> bool:
    """Whether oneDNN reads past the channels: in bfloat16, where they are 8 more than a multiple of 16.

    The gradient of a dilated kernel that is channels-last is then NaN, depending on what lay in memory (torch 2.14.1); with
    8 empty channels more it is right.
    """
    half = x.dtype == torch.bfloat16 or (
        torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
    return x.device.type == "cpu" and half and x.shape[1] % 16 == 8
