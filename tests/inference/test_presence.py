"""The presence score."""

import pytest
import torch

from sonomask.inference.presence import calibrate, evidence, presence


def test_evidence_is_the_mean_of_the_highest_hundredth():
    logits = torch.full((2, 20, 20), -3.0)
    logits[1, :2, :2] = torch.tensor([[5.0, 7.0], [1.0, 3.0]])
    assert evidence(logits).tolist() == [-3.0, 4.0]


def test_calibration_gives_back_the_curve_that_the_frames_were_drawn_from():
    generator = torch.Generator().manual_seed(0)
    strength = 4 * torch.randn(20000, generator=generator)
    truth = torch.rand(20000, generator=generator) < (0.8 * strength - 1).sigmoid()
    scale, offset = calibrate(strength, truth)
    assert scale == pytest.approx(0.8, abs=0.05)
    assert offset == pytest.approx(-1, abs=0.1)
    flat = torch.full((1, 4, 4), 2.0)
    assert presence(flat, (0.8, -1.0)).item() == pytest.approx(torch.tensor(0.6).sigmoid().item())


def test_frames_that_are_all_alike_can_not_be_fitted():
    with pytest.raises(ValueError, match="with and without"):
        calibrate(torch.randn(5), torch.ones(5, dtype=torch.bool))
