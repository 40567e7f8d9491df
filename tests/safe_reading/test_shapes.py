"""Run lengths and polygons: those of COCO's own code, and none that would harm it."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as rle

from sonomask.outputs.moment import counts
from sonomask.safe_reading.shapes import decode_shape

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools on numpy 2
masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))
few = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@few
@given(masks)
def test_run_lengths_are_those_of_coco(mask):
    packed = rle.encode(np.asfortranarray(mask, np.uint8))
    plain = counts(mask)
    assert rle.frPyObjects(plain, *mask.shape)["counts"] == packed["counts"]
    assert np.array_equal(decode_shape(plain, *mask.shape), mask)
    text = {"size": list(mask.shape), "counts": packed["counts"].decode()}
    assert np.array_equal(decode_shape(text, *mask.shape), mask)


@few
@given(st.text(max_size=30) | st.lists(st.integers(-3, 40), max_size=8))
def test_any_counts_are_a_mask_or_one_error(drawn):
    with contextlib.suppress(ValueError):
        assert decode_shape({"size": [4, 5], "counts": drawn}, 4, 5).shape == (4, 5)


@few
@given(st.lists(st.lists(st.floats() | st.integers(-(10**18), 10**18), min_size=5, max_size=9), max_size=3))
def test_any_polygons_are_a_mask_or_one_error(drawn):
    with contextlib.suppress(ValueError):
        assert decode_shape(drawn, 16, 24).shape == (16, 24)


def test_a_polygon_in_the_picture_is_as_coco_draws_it():
    corners = [[2.5, 1.0, 20.0, 3.0, 11.0, 14.5]]
    expected = rle.decode(rle.merge(rle.frPyObjects(corners, 16, 24)))
    assert np.array_equal(decode_shape(corners, 16, 24), expected > 0)
    assert expected.sum() > 50


@pytest.mark.parametrize("shape", [None, 7, "0", {}, [], [[]], [["a"] * 6], {"size": [4, 5], "counts": [10]}])
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"run lengths|polygon"):
        decode_shape(shape, 4, 5)


def test_many_polygons_are_joined_as_coco_joins_them():
    rng = np.random.default_rng(0)
    polygons = [list(map(float, rng.uniform(0, 40, 8))) for _ in range(70)]
    assert np.array_equal(
        decode_shape(polygons, 40, 50), rle.decode(rle.merge(rle.frPyObjects(polygons, 40, 50))).astype(bool)
    )


def test_a_short_text_with_endless_edges_is_refused():
    side = 8192
    zigzag = [value for row in range(300) for value in (side * (row % 2), row)]  # at full length some 40 KB took 3 GB
    with pytest.raises(ValueError, match="corners"):
        decode_shape([zigzag, zigzag], side, side)
