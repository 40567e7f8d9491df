import torch

from sonomask.audio.logmel import PATCH_SAMPLES, examples
from sonomask.export.graph import Frontend


def test_the_front_end_gives_the_patches_of_the_package():
    waveform = torch.randn(2, 3, PATCH_SAMPLES, generator=torch.Generator().manual_seed(0)) / 4
    ours = torch.stack([examples(w) for w in waveform.flatten(0, 1)]).unflatten(0, (2, 3))[:, :, 0]
    torch.testing.assert_close(Frontend()(waveform), ours, atol=1e-5, rtol=0)


def test_silence_has_the_logarithm_of_the_offset():
    assert (Frontend()(torch.zeros(1, 1, PATCH_SAMPLES)) - torch.log(torch.tensor(0.01))).abs().max() < 1e-6
