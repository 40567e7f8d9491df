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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_are_clipped_in_bfloat16_too(algorithm, tmp_path, monkeypatch):
    """Lightning refuses to clip beside a fused optimiser wherever autocast is on."""
    from sonomask.cli.main import main

    sizes = []
    plain = torch.optim.Adam.step

    def step(self, closure=None):
        found = plain(self, closure)  # the closure makes and clips the gradients
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"] if p.grad is not None]
        sizes.append(float(torch.cat(gradients).norm() if algorithm == "norm" else torch.cat(gradients).abs().max()))
        return found

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    words = ["--model.model", "avs_mini", "--model.options", "{fusion: none}", "--data", "synthetic", "--data.train=2",
             "--data.val=2", "--data.size=32", "--data.batch_size=2", "--data.workers=0", "--trainer.accelerator=cpu",
             "--trainer.max_epochs=1", "--trainer.precision=bf16-mixed", "--trainer.gradient_clip_val=0.001",
             f"--trainer.gradient_clip_algorithm={algorithm}", "--out", str(tmp_path / "run")]  # fmt: skip
    assert main(["train", *words]) == 0
    assert sizes
    assert max(sizes) <= 0.001 * 1.01
