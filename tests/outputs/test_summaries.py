import numpy as np
from PIL import Image


def test_a_sheet_has_a_picture_for_each_second_in_rows_of_five(written, masks):
    with Image.open(written(["sheet"], masks(*np.arange(0.1, 6, 0.2)))["sheet"]) as picture:
        width, height = picture.size
    assert 5 * 240 < width < 5 * 260
    assert 2 * 180 < height < 2 * 240


def test_the_plot_shows_a_score_that_jumps(written, masks):
    paths = written(["scores"], masks(0.5, 1.5, 2.5, presence=0.1), masks(3.5, 4.5, 5.5, presence=0.9))
    picture = np.asarray(Image.open(paths["scores"]))
    orange = (picture[40:300] == (230, 159, 0)).all(2)
    rows = [np.flatnonzero(orange[:, column]).mean() for column in (300, 900)]
    assert rows[0] > rows[1] + 100
