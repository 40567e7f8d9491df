"""The presence score."""

import numpy as np
import pytest

from sonomask.inference.presence import calibrate, evidence, presence


def test_evidence_is_the_mean_of_the_highest_hundredth():
    logits = np.full((2, 20, 20), -3.0)
    logits[1, :2, :2] = [[5.0, 7.0], [1.0, 3.0]]
    assert evidence(logits).tolist() == [-3.0, 4.0]


def test_calibration_gives_back_the_curve_that_the_frames_were_drawn_from():
    draw = np.random.default_rng(0)
    strength = 4 * draw.standard_normal(20000)
    truth = draw.random(20000) < 1 / (1 + np.exp(1 - 0.8 * strength))
    scale, offset = calibrate(strength, truth)
    assert scale == pytest.approx(0.8, abs=0.05)
    assert offset == pytest.approx(-1, abs=0.1)
    assert presence(np.full((1, 4, 4), 2.0), (0.8, -1.0)).item() == pytest.approx(1 / (1 + np.exp(-0.6)))


def test_frames_that_are_all_alike_can_not_be_fitted():
    with pytest.raises(ValueError, match="with and without"):
        calibrate(np.arange(5.0), np.ones(5, bool))
