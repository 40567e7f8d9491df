import numpy as np
import pytest

from sonomask.visualise.overlay import overlay


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
