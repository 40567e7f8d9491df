import numpy as np
import pytest

from sonomask.visualise.sheets import contact_sheet, grid, heated, same_second


@pytest.fixture
def image():
    return np.full((60, 80, 3), 120, np.uint8)


def test_a_contact_sheet_holds_every_picture(image):
    sheet = contact_sheet([image] * 7, list(range(7)), columns=3)
    assert sheet.shape[0] > 3 * 60
    assert sheet.shape[1] > 3 * 80
    assert (sheet == 120).all(2).sum() > 6 * 60 * 80


def test_a_contact_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="images"):
        contact_sheet([], [])


def test_each_picture_has_its_own_sound_below():
    sound = np.zeros((2, 100))
    sound[:, 50:] = 1
    images = [np.zeros((60, 80, 3), np.uint8)] * 2
    sheet = contact_sheet(images, [0, 1], sound=sound).astype(int).sum(2)
    left, right = sheet[64:72, 10:70], sheet[64:72, 95:150]
    assert right.mean() > 2 * left.mean()


def test_a_grid_has_a_row_for_each_name(image):
    drawn = grid([("a", [image] * 3), ("b", [image] * 3)], heads=["1", "2", "3"])
    assert drawn.shape == (22 + 2 * 64, 150 + 3 * 84, 3)
    assert (drawn == 120).all(2).sum() >= 6 * 60 * 80


def test_a_grid_of_rows_that_differ_is_refused(image):
    with pytest.raises(ValueError, match="rows"):
        grid([("a", [image]), ("b", [image] * 2)])


def test_heat_is_dark_where_there_is_little_and_light_where_much(image):
    made = heated(image, np.array([[0.0, 1.0]]))
    assert made[:, :10].mean() < 60 < 200 < made[:, -10:].mean()


def test_attention_is_that_to_the_sound_of_the_same_second():
    maps = np.random.default_rng(0).normal(size=(3, 2, 2, 3))
    own = same_second(maps)
    assert own.min() == 0
    assert own.max() == 1
    assert np.argmax(own[1]) == np.argmax(maps[1, :, :, 1])
