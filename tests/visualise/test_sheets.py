import numpy as np
import pytest

from sonomask.visualise.sheets import contact_sheet


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
