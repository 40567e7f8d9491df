"""The recipe of the built-in model, with a few steps of everything."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import sonomask

RECIPE = Path(__file__).parents[1] / "recipes" / "real_world.py"


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["tpavi", "add", "none"])
def test_pictures_and_recordings_become_a_model_that_marks_a_video(fusion, small_tables, tmp_path):
    images, sounds = map(str, small_tables)
    command = [sys.executable, str(RECIPE), "--images", images, "--sounds", sounds, "--out", str(tmp_path)]
    small = ["--size", "64", "--frames", "160", "--steps", "2", "2", "2", "2"]
    subprocess.run([*command, "--fusion", fusion, *small], check=True, timeout=600)
    model = sonomask.load(str(tmp_path / f"model_{fusion}"))
    assert model.config.image_size == (64, 64)
    assert model.config.presence is not None
    assert model.config.listens == (fusion != "none")


@pytest.mark.parametrize(("stride", "padding", "k", "side"), [(1, 1, 3, 9), (1, 2, 5, 8), (2, 0, 3, 9), (2, 0, 5, 12)])
def test_the_fast_depthwise_gradients_are_autograds(stride, padding, k, side, monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE.parent))
    depthwise = pytest.importorskip("real_world_depthwise").Depthwise
    x = torch.randn(2, 3, side, side, dtype=torch.double, requires_grad=True)
    kernels = torch.randn(3, 1, k, k, dtype=torch.double, requires_grad=True)
    y = depthwise.apply(x, kernels, stride, padding)
    told = torch.randn_like(y)
    ours = torch.autograd.grad(y, (x, kernels), told)
    plain = torch.autograd.grad(F.conv2d(x, kernels, None, stride, padding, 1, 3), (x, kernels), told)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)  # the kernels' sums are of float32
