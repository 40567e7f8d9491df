"""Depthwise convolutions in bfloat16 on CUDA: kept away from cuDNN's slow kernel.

With the channels of a pixel together and bfloat16, cuDNN takes `conv2d_grouped_direct_kernel` for a depthwise 3×3; two of these
were 53 of the 76 ms of PVT-v2-B5 on four clips (H200, torch 2.11). With channels apart torch takes its own depthwise kernel.
"""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["use_fast_depthwise"]


def use_fast_depthwise(model: nn.Module) -> None:
    """Give the model's depthwise convolutions pictures in the layout that is fast; values stay what they are."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels and not hasattr(module, "_apart"):
            module._apart = module.register_forward_pre_hook(_apart)  # type: ignore[assignment]


def _apart(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    x: Tensor = inputs[0]
    if x.device.type != "cuda":
        return inputs
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    return (x.contiguous(), *inputs[1:]) if dtype == torch.bfloat16 else inputs
