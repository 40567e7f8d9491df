"""Connected regions of a mask, and how two of them lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8

__all__ = ["Region", "centre", "connected_regions", "covering", "followed_regions", "meet", "shared"]


@dataclass(frozen=True)
class Region:
    """A connected part of a mask.

    Attributes:
        id: Id from 1, the same in every frame in which the thing is seen.
        label: Class index; 1 for a binary mask.
        box: (top, left, bottom, right) in pixels, the last two exclusive.
        mask: The pixels within the box.
        score: Mean probability of the pixels.
        name: Name of the thing, or "" where the model knows no names.
        sound: AudioSet's name of what it is heard to do, or "".
    """

    id: int
    label: int
    box: tuple[int, int, int, int]
    mask: Bool[np.ndarray, "h w"]
    score: float
    name: str = ""
    sound: str = ""

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.sum())

    @property
    def view(self) -> tuple[slice, slice]:
        """Indexes the box out of a picture."""
        top, left, bottom, right = self.box
        return slice(top, bottom), slice(left, right)

    def whole(self, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        """The mask on a picture of that height and width."""
        full = np.zeros(size, bool)
        full[self.view] = self.mask
        return full


def connected_regions(
    labels: UInt8[np.ndarray, "H W"], probability: Float[np.ndarray, "H W"] | None = None
) -> list[Region]:
    """Connected regions of each class, without ids."""
    regions = []
    for label in np.flatnonzero(np.bincount(labels.ravel()))[int(not labels.all()) :].tolist():
        count, numbered, stats, _ = cv2.connectedComponentsWithStats((labels == label).view(np.uint8), connectivity=8)
        found = []
        for number in range(1, count):
            left, top, width, height, _ = stats[number].tolist()
            mask = numbered[top : top + height, left : left + width] == number
            score = (
                1.0 if probability is None else float(probability[top : top + height, left : left + width][mask].mean())
            )
            region = Region(0, label, (top, left, top + height, left + width), mask, score)
            found.append((top, left + int(mask[0].argmax()), region))
        regions += [region for *_, region in sorted(found, key=lambda item: item[:2])]  # by the first pixel of each
    return regions


def followed_regions(
    mask: Bool[np.ndarray, "H W"], things: Int32[np.ndarray, "H W"], probability: Float[np.ndarray, "H W"] | None = None
) -> list[tuple[int, Region]]:
    """One region for each thing that is marked, in however many parts, with the number of the thing.

    Args:
        mask: A mask.
        things: Number of the thing at each pixel; connected regions where it is 0.
        probability: Probability for the regions' score, which is 1 without.
    """
    found = [(0, region) for region in connected_regions((mask & (things == 0)).view(np.uint8), probability)]
    for number in np.unique(things[mask & (things > 0)]).tolist():
        own = mask & (things == number)
        left, top, width, height = cv2.boundingRect(own.view(np.uint8))
        view = slice(top, top + height), slice(left, left + width)
        score = 1.0 if probability is None else float(probability[view][own[view]].mean())
        found.append((number, Region(0, 1, (top, left, top + height, left + width), own[view], score)))
    return found


def centre(region: Region) -> tuple[float, float]:
    """Centroid of the region: row and column."""
    moments = cv2.moments(region.mask.view(np.uint8), binaryImage=True)
    return region.box[0] + moments["m01"] / moments["m00"], region.box[1] + moments["m10"] / moments["m00"]


def meet(a: np.ndarray, b: np.ndarray) -> Bool[np.ndarray, "A B"]:
    """Pairs of boxes that overlap."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    met: Bool[np.ndarray, "A B"] = (low < high).all(2)
    return met


def shared(a: Region, b: Region, shift: tuple[int, int]) -> int:
    """Pixels of a region that are also pixels of another one, moved down and right by `shift`."""
    own = [b.box[0] + shift[0], b.box[1] + shift[1], b.box[2] + shift[0], b.box[3] + shift[1]]
    top, left = max(a.box[0], own[0]), max(a.box[1], own[1])
    bottom, right = min(a.box[2], own[2]), min(a.box[3], own[3])
    if top >= bottom or left >= right:
        return 0
    first = a.mask[top - a.box[0] : bottom - a.box[0], left - a.box[1] : right - a.box[1]]
    second = b.mask[top - own[0] : bottom - own[0], left - own[1] : right - own[1]]
    return int(np.count_nonzero(first & second))


def covering(region: Region, others: Iterable[Region]) -> int:
    """The id of what covers at least half of a region; 0 if nothing does."""
    most, number = max(((shared(region, other, (0, 0)), other.id) for other in others), default=(0, 0))
    return number if 2 * most >= region.area else 0
