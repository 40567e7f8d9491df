"""A mask of one frame on another one near in time: it lies where what it marks has moved to."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from sonomask.media.motion import carried, motion, unlike
from sonomask.media.picture import Picture
from sonomask.outputs.moment import Moment

__all__ = ["labels_at"]

FAR = 0.5  # seconds from the mask's own frame, beyond which nothing is followed
SAME = 1.0  # levels of brightness by which the places of a mask differ where nothing moves
SHIFT = 0.25  # pixels of the model's picture below which a mask stays where it is
UNLIKE = 25  # levels by which a place may differ from where it is said to come from
TRUSTED = 0.5  # of the places of a mask that must be like that; less is a cut
FINER = 2  # than the model's picture is the map on which the edge of a mask is carried


def labels_at(moment: Moment, picture: Picture) -> UInt8[np.ndarray, "H W"]:
    """The mask of a moment, or the class of each pixel, as it lies on a picture of the same video.

    It is the moment's own array where nothing moved, where the picture is another one (after a cut), or too far in time.
    """
    then, labels = moment.picture, moment.labels
    if then is None or abs(picture.time - moment.time) > FAR:
        return labels
    x, y, across, down = cv2.boundingRect(labels)
    if not across:
        return labels
    now = picture.grey(then.shape)
    box = _box((y, x, y + down, x + across), labels.shape, now.shape)
    if cv2.absdiff(now[box], then[box]).mean() < SAME:
        return labels
    moved = motion(now, then)
    if np.abs(moved[box]).max() < SHIFT or (unlike(now, then, moved)[box] < UNLIKE).mean() < TRUSTED:
        return labels
    return _moved(labels, moved)


def _box(box: tuple[int, int, int, int], size: tuple[int, ...], small: tuple[int, ...]) -> tuple[slice, slice]:
    """A box (top, left, bottom, right) of a picture on a smaller one, with a margin of an eighth of that."""
    slices = []
    for first, last, full, length in zip(box[:2], box[2:], size, small, strict=True):
        margin = length // 8
        slices.append(slice(max(0, first * length // full - margin), -(-last * length // full) + margin))
    return slices[0], slices[1]


def _moved(labels: UInt8[np.ndarray, "H W"], moved: Float32[np.ndarray, "h w 2"]) -> UInt8[np.ndarray, "H W"]:
    size = labels.shape[::-1]
    width, height = (min(full, FINER * side) for full, side in zip(size, moved.shape[1::-1], strict=True))
    fine = cv2.resize(moved, (width, height))
    fine *= np.array([width / moved.shape[1], height / moved.shape[0]], np.float32)
    if labels.max() > 1:  # classes can't be mixed; each is carried by itself
        found = np.zeros_like(labels)
        for label in np.unique(labels[labels > 0]).tolist():
            cv2.copyTo(np.full_like(labels, label), _moved((labels == label).view(np.uint8), moved), found)
        return found
    edge = cv2.resize(labels * np.uint8(255), (width, height), interpolation=cv2.INTER_AREA)
    whole = cv2.resize(carried(edge, fine), size, interpolation=cv2.INTER_LINEAR)
    return cv2.threshold(whole, 127, 1, cv2.THRESH_BINARY)[1]
