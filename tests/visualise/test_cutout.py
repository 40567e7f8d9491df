import numpy as np
import pytest

from sonomask.visualise.cutout import blur, cutout, dim, grey_matte, transparent


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(50, 200, (60, 80, 3), np.uint8)


@pytest.fixture
def mask():
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:60] = True
    return mask


@pytest.mark.parametrize("how", [cutout, dim, blur])
def test_what_sounds_stays_as_it_was(image, mask, how):
    np.testing.assert_array_equal(how(image, mask)[25:35, 35:55], image[25:35, 35:55])


def test_the_rest_is_black_dark_or_smooth(image, mask):
    rest = np.s_[:15]
    assert not cutout(image, mask)[rest].any()
    assert dim(image, mask)[rest].max() < 0.3 * image[rest].max()
    assert blur(image, mask)[rest].std() < 0.5 * image[rest].std()


def test_alpha_is_full_inside_none_outside_and_soft_between(image, mask):
    made = transparent(image, mask)
    assert made[30, 45, 3] == 255
    assert not made[:15].any()
    assert set(np.unique(made[30, 28:33, 3])) - {0, 255}


def test_colours_below_alpha_are_not_multiplied(image, mask):
    made = transparent(image, mask)
    np.testing.assert_array_equal(made[made[..., 3] > 0][:, :3], image[made[..., 3] > 0])


def test_a_frame_without_sound_has_an_empty_matte():
    assert not grey_matte(None, np.zeros((60, 80), np.uint8), 4.0).any()
