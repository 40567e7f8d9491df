"""Which optimiser is made for which device, told without having one."""

from types import SimpleNamespace

import pytest
import torch

from sonomask.training.module import AVSModule


@pytest.mark.parametrize(
    ("device", "precision", "fused"),
    [
        ("cuda", "bf16-mixed", True),
        ("cuda", "32-true", True),
        ("cuda", "16-mixed", False),
        ("cpu", "32-true", True),
        ("mps", "32-true", False),
    ],
)
def test_adam_is_fused_but_under_a_scaler(device, precision, fused, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.optim, "Adam", lambda *_, **options: asked.append(options["fused"]))
    monkeypatch.setattr(AVSModule, "device", torch.device(device))
    monkeypatch.setattr(AVSModule, "trainer", SimpleNamespace(precision=precision))
    AVSModule("avs_mini", {"fusion": "none"}).configure_optimizers()
    assert asked == [fused]


def test_a_fused_step_is_the_plain_one():
    weights = [torch.randn(5, 3).requires_grad_() for _ in range(2)]
    weights[1].data.copy_(weights[0].data)
    for weight, fused in zip(weights, (False, True), strict=True):
        optimizer = torch.optim.Adam([weight], 0.1, fused=fused)
        for _ in range(3):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize(("asked", "mode"), [(True, [None]), ("reduce-overhead", ["reduce-overhead"]), (False, [])])
def test_a_model_is_compiled_as_asked(asked, mode, monkeypatch):
    found = []
    monkeypatch.setattr(torch, "compile", lambda model, mode: found.append(mode) or model)
    AVSModule("avs_mini", {"fusion": "none"}, compile=asked)
    assert found == mode
