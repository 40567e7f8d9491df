"""What layout a depthwise convolution gets, told by tensors that have a device and no values."""

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sonomask.models.catalog import create_model
from sonomask.models.optimize import optimize
from sonomask.models.parts.depthwise import use_fast_depthwise


@pytest.mark.parametrize(
    ("device", "dtype", "apart"),
    [("cuda", torch.bfloat16, True), ("cuda", torch.float32, False), ("cpu", torch.bfloat16, False)],
)
def test_only_bfloat16_on_cuda_gets_its_channels_apart(device, dtype, apart):
    seen = []
    with FakeTensorMode():
        with torch.device(device):
            net = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, dtype=dtype), nn.Conv2d(8, 8, 1, dtype=dtype))
        use_fast_depthwise(net)
        net[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
        x = torch.empty(2, 8, 6, 6, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        net[0](x)
    assert seen == [apart]


def test_values_stay_and_a_model_is_changed_once():
    net = nn.Conv2d(8, 8, 3, groups=8)
    x = torch.randn(2, 8, 6, 6)
    wanted = net(x)
    for _ in range(2):
        use_fast_depthwise(net)
    assert len(net._forward_pre_hooks) == 1
    assert torch.equal(copy.deepcopy(net)(x), wanted)


def test_every_depthwise_convolution_of_pvt_is_reached():
    model = optimize(create_model("avs_pvt_v2_b5", backbone="pvt_v2_b0", audio=None, width=16), torch.bfloat16)
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d) and 1 < m.groups == m.in_channels]
    assert len(found) == 8
    assert all(m._forward_pre_hooks for m in found)
