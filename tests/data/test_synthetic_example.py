import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLES / "make_example.py"))["three_things"]()


def test_the_example_clip_is_small():
    assert 50_000 < (EXAMPLES / "three_things.mp4").stat().st_size <= 400_000


def test_each_thing_of_the_example_sounds_then_none_then_two(example):
    heard = [np.flatnonzero(second).tolist() for second in example.sounding]
    assert heard == [[0], [0], [1], [1], [2], [2], [], [], [0, 1], [0, 1]]


def test_all_things_of_the_example_stay_in_sight(example):
    everything = replace(example, sounding=np.ones_like(example.sounding))
    for time in np.arange(0, 10, 0.5):
        seen, areas = np.unique(everything.frame(time)[2], return_counts=True)
        assert len(seen) == 4
        assert areas.min() > 1000
