"""Move the mask of one frame along with the picture to another frame nearby."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from sonomask.media.motion import carried, motion, unlike
from sonomask.media.picture import Picture, halved
from sonomask.outputs.moment import Moment

__all__ = ["Following"]

FAR = 0.5  # seconds from the mask's own frame, beyond which nothing is followed
SAME = 1.0  # levels of brightness by which the places of a mask differ where nothing moves
SHIFT, FEW = 0.5, 0.02  # pixels of the model's picture that no more than so many places of a mask move: it stays
UNLIKE = 25  # levels by which a place may differ from where it is said to come from
TRUSTED = 0.5  # of the places of a mask that must be like that; less is a cut


class Following:
    """A mask, and where it lies on other pictures of its video.

    Args:
        moment: Moment of the mask.
    """

    def __init__(self, moment: Moment) -> None:
        self.moment = moment

    def labels_at(self, picture: Picture) -> UInt8[np.ndarray, "H W"]:
        """The mask, or the class of each pixel, as it lies on a picture.

        It is the moment's own array where nothing moved, where the picture is another one (after a cut), or too far in time.
        """
        then, labels = self.moment.picture, self.moment.labels
        if then is None or self.box is None or abs(picture.time - self.moment.time) > FAR:
            return labels
        now = picture.grey(then.shape)
        if cv2.absdiff(now[self.box], then[self.box]).mean() < SAME:
            return labels
        moved = motion(now, then)
        right, down = (np.abs(moved[self.box][..., axis]) > SHIFT for axis in (0, 1))
        still = (right | down).mean() < FEW
        if still or (unlike(now, then, moved)[self.box] < UNLIKE).mean() < TRUSTED:
            return labels
        return self._moved(moved)

    @cached_property
    def box(self) -> tuple[slice, slice] | None:
        """The marked part of the model's picture with a margin of an eighth of its size; None for an empty mask."""
        x, y, across, down = cv2.boundingRect(self.moment.labels)
        if not across or self.moment.picture is None:
            return None
        slices = []
        sizes = zip((y, x), (y + down, x + across), self.moment.labels.shape, self.moment.picture.shape, strict=True)
        for first, last, full, length in sizes:
            slices.append(slice(max(0, first * length // full - length // 8), -(-last * length // full) + length // 8))
        return slices[0], slices[1]

    @cached_property
    def shares(self) -> dict[int, UInt8[np.ndarray, "_h _w"]]:
        """For each class, the degree to which each pixel of the model's picture is marked, 0 to 255."""
        assert self.moment.picture is not None  # noqa: S101
        labels, size = self.moment.labels, self.moment.picture.shape[::-1]
        found = [1] if labels.max() == 1 else np.unique(labels[labels > 0]).tolist()
        one = len(found) == 1
        whole = {label: (labels if one and label == 1 else (labels == label).view(np.uint8)) for label in found}
        return {
            label: cv2.resize(halved(mask * np.uint8(255), size[::-1]), size, interpolation=cv2.INTER_AREA)
            for label, mask in whole.items()
        }

    def _moved(self, moved: Float32[np.ndarray, "h w 2"]) -> UInt8[np.ndarray, "H W"]:
        size = self.moment.labels.shape[::-1]
        found: UInt8[np.ndarray, "H W"] | None = None
        for label, share in self.shares.items():  # classes can't be mixed; each is carried by itself
            whole = cv2.resize(carried(share, moved), size, interpolation=cv2.INTER_LINEAR)
            own = cv2.threshold(whole, 127, label, cv2.THRESH_BINARY)[1]
            found = own if found is None else cv2.copyTo(own, own, found)
        assert found is not None  # noqa: S101 - a box is around something
        return found
