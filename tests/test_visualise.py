import numpy as np
import pytest

from sonomask.visualise import Timeline, class_colours, contact_sheet, envelope, overlay


@pytest.fixture
def image():
    return np.full((60, 80, 3), 120, np.uint8)


@pytest.fixture
def mask():
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:60] = True
    return mask


def test_the_fill_is_on_the_mask_and_all_else_alike(image, mask):
    result = overlay(image, mask)
    assert len(np.unique(result[25:35, 35:55].reshape(-1, 3), axis=0)) == 1
    outside = result.copy()[np.pad(~mask, 0)]
    assert (result[:15] == result[0, 0]).all()
    assert result[30, 45].astype(int).sum() > outside.reshape(-1, 3)[0].astype(int).sum()


def test_the_outline_is_light_inside_and_dark_outside(image, mask):
    result = overlay(image, mask).astype(int).sum(2)
    assert result[20, 45] > result[30, 45] > result[0, 0] > result[19, 45]


def test_a_picture_without_sound_is_only_darker(image):
    result = overlay(image, np.zeros((60, 80), bool))
    assert len(np.unique(result)) == 1
    assert result[0, 0, 0] < 120


def test_the_picture_itself_is_not_changed(image, mask):
    overlay(image, mask)
    assert (image == 120).all()


def test_a_mask_at_the_border_is_drawn(image):
    mask = np.zeros((60, 80), bool)
    mask[-1, -1] = True
    assert overlay(image, mask)[-1, -1].max() > 120


def test_classes_have_colours_of_their_own(image):
    labels = np.zeros((60, 80), np.uint8)
    labels[:, :20], labels[:, 40:60] = 1, 2
    result = overlay(image, labels)
    assert (result[30, 10] != result[30, 50]).any()


def test_the_name_of_a_class_is_written_on_it(image, mask):
    plain, named = overlay(image, mask), overlay(image, mask, ["background", "dog"])
    assert (plain[20:40, 30:60] != named[20:40, 30:60]).any()


def test_a_mask_of_another_size_is_refused(image):
    with pytest.raises(ValueError, match="labels"):
        overlay(image, np.zeros((3, 3), bool))


def test_seven_classes_differ_and_the_background_is_black():
    colours = class_colours(8)
    assert len(np.unique(colours, axis=0)) == 8
    assert not colours[0].any()
    assert class_colours(71).shape == (71, 3)


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


def test_a_contact_sheet_holds_every_picture(image):
    sheet = contact_sheet([image] * 7, list(range(7)), columns=3)
    assert sheet.shape[0] > 3 * 60
    assert sheet.shape[1] > 3 * 80
    assert (sheet == 120).all(2).sum() > 6 * 60 * 80


def test_a_contact_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="images"):
        contact_sheet([], [])
