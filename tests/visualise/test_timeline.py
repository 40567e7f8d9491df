import numpy as np
import pytest

from sonomask.visualise.style import class_colours
from sonomask.visualise.timeline import Timeline, envelope


@pytest.mark.parametrize("block", [1, 7, 100, 1000])
def test_the_envelope_does_not_depend_on_the_blocks(block):
    track = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    parts = np.split(track, range(block, 1000, block))
    peak, rms = envelope(parts, duration=10, columns=20, sample_rate=100)
    np.testing.assert_allclose(peak, np.abs(track).reshape(20, 50).max(1), rtol=1e-6)
    np.testing.assert_allclose(rms, np.sqrt(np.square(track).reshape(20, 50).mean(1)), rtol=1e-5)


def test_a_track_longer_than_the_picture_is_cut():
    peak, _ = envelope([np.ones(500, np.float32)], duration=1, columns=10, sample_rate=100)
    assert (peak == 1).all()


def test_only_the_playhead_and_the_curve_move():
    strip = Timeline((48, 400), 10, np.ones((2, 400)))
    early, late = strip.draw(2), strip.draw(8)
    assert early.shape == (48, 400, 3)
    changed = np.flatnonzero((early[12:] != late[12:]).any((0, 2)))
    assert 79 <= changed.min() <= changed.max() <= 321


def test_the_curve_rises_with_the_share():
    strip = Timeline((100, 400), 10)
    strip.mark(3, 0.1)
    strip.mark(6, 0.9)
    drawn = strip.draw(9)
    small, large = (int((drawn[30:, column] == class_colours(2)[1]).all(1).sum()) for column in (60, 200))
    assert 0 < small < large


def test_a_moment_beyond_the_end_stays_in_the_strip():
    assert Timeline((48, 100), 1).draw(5).shape == (48, 100, 3)


def test_the_presence_score_is_a_line_that_rises():
    strip = Timeline((100, 400), 10)
    strip.mark(3, 0.0, 0.1)
    strip.mark(6, 0.0, 0.9)
    blue = (strip.draw(9)[20:] == class_colours(3)[2]).all(2)
    assert np.flatnonzero(blue[:, 60]).min() > np.flatnonzero(blue[:, 200]).max()


def test_the_presence_score_is_told():
    strip, other = Timeline((48, 640), 10), Timeline((48, 640), 10)
    strip.mark(3, 0.2, 0.5)
    other.mark(3, 0.2, 0.6)
    assert (strip.draw(9)[:12] != other.draw(9)[:12]).any()


def test_moments_of_one_state_look_the_same_and_a_moved_playhead_is_another():
    strip = Timeline((48, 64), 640.0)
    strip.mark(100.0, 0.25, 0.5)
    near, far = 100.04, 140.0
    assert strip.columns(100.0) == strip.columns(near) != strip.columns(far)
    assert strip.texts(100.0) == strip.texts(near) != strip.texts(far)
    assert np.array_equal(strip.draw(100.0), strip.draw(near))
    assert not np.array_equal(strip.draw(100.0), strip.draw(far))
