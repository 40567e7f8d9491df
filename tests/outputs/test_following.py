"""A mask between two masks lies where what it marks has moved to."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from sonomask.media.motion import grey
from sonomask.media.picture import Picture
from sonomask.outputs.following import Following
from sonomask.outputs.moment import Moment

SIZE, SMALL = (192, 256), (96, 128)


def scene(left, shade=0):
    """A patterned square on a patterned ground, and where it is."""
    rng = np.random.default_rng(3)
    ground, square = (cv2.resize(rng.integers(40, 200, (n, n, 3), np.uint8), (w, h), interpolation=cv2.INTER_CUBIC)
                      for n, w, h in ((8, 256, 192), (4, 80, 80)))  # fmt: skip
    image, mask = np.clip(ground.astype(int) + shade, 0, 255).astype(np.uint8), np.zeros(SIZE, np.uint8)
    image[60:140, left : left + 80] = square
    mask[60:140, left : left + 80] = 1
    return image, mask


def small(image):
    return grey(cv2.resize(image, SMALL[::-1], interpolation=cv2.INTER_AREA))


def picture(image, time=0.1):
    return Picture(time, image, lambda frame, size: frame if size is None else cv2.resize(frame, size[::-1]))


def moment(image, labels):
    return Moment(0, 0.0, labels, labels.astype(np.float32), picture=small(image))


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("label", [1, 7])
def test_a_mask_moves_with_the_thing(label):
    (before, mask), (now, truth) = scene(60), scene(70)
    found = Following(moment(before, mask * np.uint8(label))).labels_at(picture(now))
    assert set(np.unique(found)) == {0, label}
    assert iou(mask > 0, truth > 0) < 0.79
    assert iou(found > 0, truth > 0) > 0.87


def test_classes_move_each_by_itself():
    (before, mask), (now, truth) = scene(60), scene(70)
    mask[100:] *= 3
    truth[100:] *= 3
    found = Following(moment(before, mask)).labels_at(picture(now))
    assert all(iou(found == label, truth == label) > 0.83 for label in (1, 3))


@pytest.mark.parametrize("case", ["still", "cut", "far", "unknown", "empty"])
def test_where_nothing_can_be_followed_the_mask_is_the_one_it_was(case):
    (before, mask), (now, _) = scene(60), scene(60 if case == "still" else 70)
    if case == "cut":
        now = np.full_like(before, 250)
    now_at = picture(now, 3.0 if case == "far" else 0.1)
    labels = np.zeros_like(mask) if case == "empty" else mask
    given = moment(before, labels)
    given = replace(given, picture=None) if case == "unknown" else given
    assert Following(given).labels_at(now_at) is given.labels
