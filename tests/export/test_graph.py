import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame

from sonomask.audio.logmel import PATCH_SAMPLES, examples
from sonomask.export.graph import Frontend, plain_padding


def test_the_front_end_gives_the_patches_of_the_package():
    waveform = torch.randn(2, 3, PATCH_SAMPLES, generator=torch.Generator().manual_seed(0)) / 4
    ours = torch.stack([examples(w) for w in waveform.flatten(0, 1)]).unflatten(0, (2, 3))[:, :, 0]
    torch.testing.assert_close(Frontend()(waveform), ours, atol=1e-5, rtol=0)


def test_silence_has_the_logarithm_of_the_offset():
    assert (Frontend()(torch.zeros(1, 1, PATCH_SAMPLES)) - torch.log(torch.tensor(0.01))).abs().max() < 1e-6


@pytest.mark.parametrize(("size", "step", "apart"), [(3, 2, 1), (5, 2, 1), (6, 4, 1), (2, 1, 1), (3, 2, 2), (1, 2, 1)])
def test_plain_padding_is_timms_where_the_stride_divides_the_size(size, step, apart):
    conv = Conv2dSame(3, 4, size, stride=step, dilation=apart)
    images = torch.randn(2, 3, 32, 64)
    truth = conv(images)
    with plain_padding(conv):
        torch.testing.assert_close(conv(images), truth)


def test_afterwards_the_padding_is_timms_again():
    conv = Conv2dSame(1, 1, 3, stride=2)
    images = torch.randn(1, 1, 5, 5)
    truth = conv(images)
    with plain_padding(conv):
        pass
    torch.testing.assert_close(conv(images), truth)
