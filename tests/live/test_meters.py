"""How late masks are."""

import numpy as np
import pytest

from sonomask.live.meters import Histogram, OnsetMeter

LOUD, QUIET = 0.3, 0.001


def noise(level, seconds):
    return (level * np.random.default_rng(0).standard_normal(round(seconds * 16_000))).astype(np.float32)


def test_quantiles_are_those_of_the_values_to_a_hundredth_of_a_second():
    histogram = Histogram()
    for i in range(1, 101):
        histogram.add(i / 20)
    assert histogram.quantile(0.5) == pytest.approx(2.5, abs=0.01)
    assert histogram.quantile(0.95) == pytest.approx(4.75, abs=0.01)
    assert np.isnan(Histogram().quantile(0.5))


def test_an_onset_is_timed_from_its_capture_to_the_first_mask():
    meter = OnsetMeter()
    meter.hear(noise(QUIET, 2.0), start=100.0)
    meter.see(0.0, ready=102.0)
    meter.hear(noise(LOUD, 0.5), start=102.0)
    meter.see(0.0, ready=102.3)
    meter.see(0.2, ready=102.7)
    assert len(meter.delays) == 1
    assert meter.delays.quantile(0.5) == pytest.approx(0.7, abs=0.06)


def test_pieces_of_any_length_give_the_same_onset():
    track = np.concatenate([noise(QUIET, 2.0), noise(LOUD, 0.5)])
    meter = OnsetMeter()
    for start in range(0, len(track), 333):
        meter.hear(track[start : start + 333], start / 16_000)
    assert meter.pending == pytest.approx(2.0, abs=0.06)


def test_a_sound_that_goes_on_is_one_onset_and_one_while_something_is_marked_none():
    meter = OnsetMeter()
    meter.see(0.2, ready=0.0)
    meter.hear(np.concatenate([noise(QUIET, 2.0), noise(LOUD, 3.0)]), start=0.0)
    assert meter.pending is None


def test_an_onset_that_nothing_answers_counts_as_missed():
    meter = OnsetMeter()
    meter.hear(np.concatenate([noise(QUIET, 2.0), noise(LOUD, 3.0)]), start=0.0)
    meter.see(0.0, ready=8.0)
    assert (meter.missed, meter.pending, len(meter.delays)) == (1, None, 0)
