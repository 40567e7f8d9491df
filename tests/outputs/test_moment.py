"""Run lengths as plain numbers."""

import numpy as np
import pytest
from pycocotools import mask as run_lengths

from sonomask.outputs.moment import counts


@pytest.mark.parametrize("seed", range(4))
def test_plain_run_lengths_are_those_of_pycocotools(seed):
    mask = np.random.default_rng(seed).random((7, 5)) > 0.5
    theirs = run_lengths.encode(np.asfortranarray(mask, np.uint8))
    assert run_lengths.frPyObjects(counts(mask), 7, 5)["counts"] == theirs["counts"]


@pytest.mark.parametrize("value", [0, 1])
def test_a_uniform_mask_has_run_lengths_too(value):
    assert counts(np.full((2, 3), value))["counts"] == ([6] if value == 0 else [0, 6])
