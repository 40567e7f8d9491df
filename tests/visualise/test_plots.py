import numpy as np
import pytest

from sonomask.visualise.plots import score_plot


def test_a_higher_score_is_drawn_higher():
    picture = score_plot([1, 3], {"presence": [0.1, 0.9]}, 4)
    orange = (picture[40:] == (230, 159, 0)).all(2)
    low, high = (np.flatnonzero(orange[:, column]).mean() for column in (300, 1000))
    assert low > high + 100


def test_a_series_of_another_length_is_refused():
    with pytest.raises(ValueError, match="series"):
        score_plot([1, 2], {"presence": [0.1]}, 4)


def test_a_plot_of_nothing_has_axes_all_the_same():
    assert score_plot([], {"presence": []}, 0, np.ones((2, 10))).std() > 0
