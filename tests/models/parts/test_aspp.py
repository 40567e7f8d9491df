"""The sum of dilated convolutions: gradients in bfloat16, where oneDNN reads past some numbers of channels."""

import pytest
import torch

from sonomask.models.parts.aspp import DilatedSum


def _dirty():
    """Leave NaN in the memory that the next tensors get."""
    held = [torch.full((n,), float("nan")) for n in range(1000, 60000, 997)]
    del held


@pytest.mark.parametrize("channels", [16, 24, 40, 120])
def test_gradients_in_bfloat16_are_those_of_float32(channels):
    torch.manual_seed(0)
    part = DilatedSum(channels, 32, (1, 3, 40)).train()  # the last with nothing but its centre
    for weight in part.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    x = torch.randn(4, channels, 32, 32, requires_grad=True)
    inputs = [x, *part.parameters()]
    y = part(x)
    pull = torch.randn_like(y)
    wanted = torch.autograd.grad(y, inputs, pull)
    _dirty()
    with torch.autocast("cpu", torch.bfloat16):
        y = part(x)
    _dirty()
    for found, true in zip(torch.autograd.grad(y, inputs, pull.to(y.dtype)), wanted, strict=True):
        assert (found - true).abs().max() < 0.02 * true.abs().max()
