"""The overlay on planes, against the overlay in RGB."""

import cv2
import numpy as np
import pytest

from sonomask.visualise.overlay import overlay
from sonomask.visualise.planes import Marks, PlaneColours, overlay_planes

SIZE = (90, 120)


def planes(image, colours):
    """Y, U and V of a picture whose colours are the same over each 2×2 pixels."""
    yuv = np.array([[colours.of(pixel) for pixel in row] for row in image]).round().clip(0, 255).astype(np.uint8)
    return tuple(np.ascontiguousarray(plane) for plane in (yuv[..., 0], yuv[::2, ::2, 1], yuv[::2, ::2, 2]))


def smooth():
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] // 2 * 2
    return np.stack([rows * 2, columns * 2, 200 - rows - columns // 2], -1).astype(np.uint8)


def labels():
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (40, 50), 20, 1, -1)
    mask[60:, 90:] = 2
    return mask


@pytest.mark.parametrize("colours", [PlaneColours("bt601"), PlaneColours("bt709"), PlaneColours("bt709", full=True)])
def test_it_is_the_overlay_of_rgb(colours):
    image = smooth()
    truth = planes(overlay(image, labels()), colours)[0].astype(int)
    before = planes(image, colours)
    after = tuple(np.zeros_like(plane) for plane in before)
    overlay_planes(before, after, Marks(labels(), colours), colours)
    away = np.abs(after[0].astype(int) - truth)
    assert away.max() <= 3  # rounding to whole numbers in RGB and in Y
    kernel = np.ones((7, 7), np.uint8)
    plain = (cv2.dilate(labels(), kernel) == cv2.erode(labels(), kernel))[
        ::2, ::2
    ]  # a sample at an edge belongs to both
    for plane in (1, 2):
        away = np.abs(after[plane].astype(int) - planes(overlay(image, labels()), colours)[plane])
        assert away[plain].max() <= 3


def test_nothing_but_darkening_happens_without_a_mask():
    colours = PlaneColours()
    before = planes(smooth(), colours)
    after = tuple(np.zeros_like(plane) for plane in before)
    overlay_planes(before, after, Marks(np.zeros(SIZE, np.uint8), colours), colours)
    np.testing.assert_allclose(after[0], 16 + (before[0].astype(float) - 16) * 0.65, atol=0.51)
    np.testing.assert_allclose(after[1], 128 + (before[1].astype(float) - 128) * 0.65, atol=0.51)


def test_the_frame_itself_stays_as_it_is():
    colours = PlaneColours()
    before = planes(smooth(), colours)
    kept = tuple(plane.copy() for plane in before)
    overlay_planes(before, tuple(np.zeros_like(p) for p in before), Marks(labels(), colours), colours)
    assert all(np.array_equal(a, b) for a, b in zip(before, kept, strict=True))


def test_planes_that_are_rows_of_a_larger_buffer_are_written_too():
    colours = PlaneColours()
    before = planes(smooth(), colours)
    whole = tuple(np.zeros_like(plane) for plane in before)
    padded = tuple(np.zeros((p.shape[0], p.shape[1] + 8), np.uint8) for p in before)
    views = tuple(wide[:, : p.shape[1]] for wide, p in zip(padded, before, strict=True))
    overlay_planes(before, whole, Marks(labels(), colours), colours)
    overlay_planes(before, views, Marks(labels(), colours), colours)
    assert all(np.array_equal(a, b) for a, b in zip(whole, views, strict=True))


def test_a_mask_of_another_size_is_refused():
    colours = PlaneColours()
    before = planes(smooth(), colours)
    with pytest.raises(ValueError, match="`marks`"):
        overlay_planes(before, before, Marks(np.zeros((10, 10), np.uint8), colours), colours)
