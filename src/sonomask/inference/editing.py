"""Masks as an editor wants them: without specks, held through short pauses, grown or shrunk."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import UInt8

from sonomask.request import Request
from sonomask.structures import Masks

__all__ = ["MaskEditor"]

PART = 0.05  # of the largest region of a class, below which others are crumbs of it
MANY = 200  # outlines, above which all pixels are numbered at once


class MaskEditor:
    """Edits the masks of one video, given in order of time, as a request says.

    First, regions smaller than `min_area`, and those of less than a twentieth of the frame's largest, are removed. If
    nothing is left, the last mask is repeated for up to `hold` seconds. Then masks grow or shrink by `expand` pixels. Only
    probabilities and classes are changed; names and scores are kept.

    Args:
        request: Request for the masks.
    """

    def __init__(self, request: Request) -> None:
        self.min_area, self.hold, self.expand = request.min_area, request.hold, request.expand
        self._last: Masks | None = None  # the last frame in which something was marked

    def __call__(self, masks: Masks) -> Masks:
        """The next masks, changed."""
        if self.min_area:
            masks = _without_specks(masks, self.min_area)
        if self.hold:
            masks = self._held(masks)
        return _grown(masks, self.expand) if self.expand else masks

    def _held(self, masks: Masks) -> Masks:
        probability, labels, names = list(masks.probability), masks.labels, masks.names
        kept = None if labels is None else list(labels)
        own = None if names is None else list(names)
        ids = None if masks.ids is None else list(masks.ids)
        for i, mask in enumerate(masks.mask):
            marked = bool(mask.any())
            last = self._last
            if marked:
                self._last = masks[i]
            elif last is not None and masks.times[i] - last.times[0] <= self.hold:
                probability[i] = last.probability[0]
                if kept is not None and last.labels is not None:
                    kept[i] = last.labels[0]
                if own is not None and last.names is not None:
                    own[i] = replace(own[i], seen=last.names[0].seen)
                if ids is not None and last.ids is not None:
                    ids[i] = last.ids[0]
        return replace(
            masks,
            probability=np.stack(probability),
            labels=None if kept is None else np.stack(kept),
            names=None if own is None else tuple(own),
            ids=None if ids is None else np.stack(ids),
        )


def _without_specks(masks: Masks, least: float) -> Masks:
    """Without the connected regions (of each class) whose share of the picture is smaller."""
    probability, labels = masks.probability, masks.labels
    changed = False
    for i, mask in enumerate(masks.mask):
        specks = _specks(mask.view(np.uint8) if labels is None else labels[i], least * mask.size)
        if specks is None:
            continue
        if not changed:
            probability, labels = probability.copy(), None if labels is None else labels.copy()
            changed = True
        if labels is None:
            probability[i][specks] = np.minimum(probability[i][specks], masks.threshold)
        else:
            labels[i][specks] = 0
    return replace(masks, probability=probability, labels=labels) if changed else masks


def _specks(labels: UInt8[np.ndarray, "H W"], least: float) -> np.ndarray | None:
    """The pixels of regions that are smaller; None if there is none."""
    found = None
    one = labels.max() <= 1
    for label in [1] if one else (np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1).tolist():
        own = _small_parts(labels if one else (labels == label).view(np.uint8), least)
        if own is not None:
            found = own if found is None else found | own
    return found


def _small_parts(mask: UInt8[np.ndarray, "H W"], least: float) -> np.ndarray | None:
    """The pixels of connected parts with fewer than `least` pixels, or less than `PART` of the largest; None if there is none.

    For nearly all parts, the outline shows that they are large, in a tenth of the time that it takes to label all pixels.
    Pixels are counted only for the others.
    """
    outlines, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return None
    if len(outlines) > MANY:
        return _small_of_all(mask, least)
    # what lies within an outline through the middle of pixels, without that of the holes, is less than the pixels are
    areas = [cv2.contourArea(outline) for outline in outlines]
    least, found = max(least, PART * max(areas)), None
    for outline, area, (*_, child, parent) in zip(outlines, areas, tree[0].tolist(), strict=True):
        if parent >= 0:
            continue
        while child >= 0:
            area, child = area - areas[child], tree[0][child][0]
        if area >= least:
            continue
        x, y, across, down = cv2.boundingRect(outline)
        numbered = cv2.connectedComponents(mask[y : y + down, x : x + across], connectivity=8)[1]
        own = numbered == numbered[outline[0][0][1] - y, outline[0][0][0] - x]
        if np.count_nonzero(own) < least:
            found = np.zeros(mask.shape, bool) if found is None else found
            found[y : y + down, x : x + across] |= own
    return found


def _small_of_all(mask: UInt8[np.ndarray, "H W"], least: float) -> np.ndarray | None:
    _, numbered, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    small = areas < max(least, PART * areas[1:].max())
    small[0] = False
    return small[numbered] if small.any() else None


def _grown(masks: Masks, pixels: int) -> Masks:
    """The outline moved out by so many pixels, or in where the number is negative."""
    side = 2 * abs(pixels) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    change = cv2.dilate if pixels > 0 else cv2.erode
    return replace(masks, probability=np.stack([change(p, disc) for p in masks.probability]))
