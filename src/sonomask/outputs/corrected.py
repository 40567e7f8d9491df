"""Masks as a person has corrected them (`safe_reading.corrections`).

A correction of a thing at one moment holds at all others: its trail says where it was, and a tracker's ids bridge gaps of the
trail. Where two things have merged into one region, the part within the thing's box counts as the thing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

import numpy as np
from jaxtyping import Bool

from sonomask.outputs.regions import Region
from sonomask.outputs.tracks import Tracker
from sonomask.safe_reading.corrections import MOST_BOXES, Box, Correction, Corrections
from sonomask.structures import Masks

__all__ = ["Corrector", "corrected", "traced", "trail_of"]

MEMORY = 60.0  # seconds in which what falls silent keeps its id
SAME = 0.35  # intersection over union of a region's box and that of a trail
WITHIN = 0.5  # share of a trail's box that a region's box covers where the thing has run into another
MARGIN = 0.02  # of the picture, around the thing's own part of such a region
NEAR = 0.6  # seconds from a box of a trail, for which it holds by itself
BETWEEN = 2.5  # … between two boxes, where the place between is told by both
STEP, STILL, FAR = 0.2, 0.02, 2.0  # seconds and share of the picture between two boxes of a trail; seconds without need
MISSED = 0.02  # of the diagonal: how far from a region a place may be that is meant to be in it
ASIDE = 1.0  # seconds from a mask, at which something may be pointed at


def corrected(masks: Iterable[Masks], corrections: Corrections, start: float = 0.0) -> Iterator[Masks]:
    """Masks of one video in order of time, corrected.

    Args:
        masks: The masks, such as a `Segmenter` gives them.
        corrections: Corrections; those of things need trails (`traced`).
        start: Second of the source at which the times of the masks begin.
    """
    return map(Corrector(corrections, start), masks)


class Corrector:
    """Corrects the masks of one video, which come in order of time.

    Args:
        corrections: Corrections; those of things need trails (`traced`).
        start: Second of the source at which the times of the masks begin.
    """

    def __init__(self, corrections: Corrections, start: float = 0.0) -> None:
        self.start = start
        self.spans = [item for item in corrections.items if not item.of_place]
        self.things = [_Thing(item) for item in corrections.items if item.kind in ("only", "never")]
        self.learnt = sum(item.kind in ("sounds", "silent") for item in corrections.items)
        self.tracker = Tracker(min_area=0.0, memory=MEMORY)

    def __call__(self, masks: Masks) -> Masks:
        """The next masks, corrected."""
        if not self.spans and not self.things:
            return masks
        kept = [self._kept(masks, i) for i in range(len(masks))]
        if all(keep is None for keep in kept):
            return masks
        probability = masks.probability.copy()
        labels = None if masks.labels is None else masks.labels.copy()
        presence = None if masks.presence is None else list(masks.presence)
        for i, keep in enumerate(kept):
            if keep is None:
                continue
            gone = ~keep if keep.any() else np.True_
            probability[i][gone] = 0
            if labels is not None:
                labels[i][gone] = 0
            if presence is not None and not keep.any():
                presence[i] = 0.0
        return replace(
            masks, probability=probability, labels=labels, presence=None if presence is None else tuple(presence)
        )

    def notes(self) -> list[str]:
        """Messages after the last mask: corrections that changed nothing."""
        found = [f"correction “{thing.item}”: no such thing is marked." for thing in self.things if not thing.found]
        if self.learnt:
            found.append(
                f"{self.learnt} corrections are of places (sounds, silent); masks don't show them until a model has learnt "
                "them (`sonomask train --corrections`)."
            )
        return found

    def _kept(self, masks: Masks, i: int) -> Bool[np.ndarray, "H W"] | None:
        """The pixels that are kept; None for all."""
        time, mask = masks.times[i] + self.start, masks.mask[i]
        labels = mask if masks.labels is None else masks.labels[i]
        colours = None if masks.colours is None else masks.colours[i]
        ids = None if masks.ids is None else masks.ids[i]
        regions = self.tracker.update(time, labels, masks.probability[i], colours, ids) if self.things else ()
        parts = [(thing, thing.part(time, regions, mask.shape)) for thing in self.things]  # each sees every frame
        if any(item.holds(time) for item in self.spans):
            return np.zeros(mask.shape, bool)
        now = [(thing.item.kind, part) for thing, part in parts if thing.item.holds(time) and thing.found is not None]
        only = [part for kind, part in now if kind == "only"]
        gone = [part for kind, part in now if kind == "never" and part.any()]
        if not only and not gone:
            return None
        keep = ~mask
        keep |= np.any(only, axis=0) if only else mask
        for part in gone:
            keep &= ~part
        return keep if keep.any() else np.zeros(mask.shape, bool)


class _Thing:
    """The known trail of a thing that a correction refers to.

    Args:
        item: The correction.
    """

    def __init__(self, item: Correction) -> None:
        self.item = item
        rows = [(time, [box[1:] for box in boxes]) for time, boxes in groupby(item.trail, key=itemgetter(0))]
        self.times, self.boxes = [time for time, _ in rows], [np.array(boxes) for _, boxes in rows]
        self.ids: set[int] = set()
        self.found: bool | None = False if item.trail else None  # None: nothing is known of it, so nothing is changed

    def at(self, time: float) -> np.ndarray | None:
        """The thing's boxes at a time; None if the trail has none."""
        if not self.times:
            return None
        place = bisect_left(self.times, time)
        before, after = max(place - 1, 0), min(place, len(self.times) - 1)
        gap = self.times[after] - self.times[before]
        if 0 < gap <= BETWEEN and len(self.boxes[before]) == len(self.boxes[after]) == 1:
            share = min(max((time - self.times[before]) / gap, 0.0), 1.0)
            return (1 - share) * self.boxes[before] + share * self.boxes[after]
        near = before if abs(self.times[before] - time) <= abs(self.times[after] - time) else after
        return self.boxes[near] if abs(self.times[near] - time) <= NEAR else None

    def part(self, time: float, regions: Sequence[Region], size: tuple[int, ...]) -> Bool[np.ndarray, "H W"]:
        """The marked places that belong to it."""
        own, boxes = np.zeros(size, bool), self.at(time)
        for region in regions:
            if boxes is None:
                if region.id in self.ids:
                    own[region.view] |= region.mask
                continue
            same, within = max(_overlap(region, box, size) for box in boxes)
            if same >= SAME or (region.id in self.ids and same > 0 and within < WITHIN):
                self.ids.add(region.id)
                own[region.view] |= region.mask
            elif within >= WITHIN:
                for box in boxes:
                    inside = _pixels(box, size, MARGIN)
                    own[inside] |= region.whole(size)[inside]  # type: ignore[arg-type]
        if own.any():
            self.found = True
        return own


def traced(corrections: Corrections, masks: Iterable[Masks], start: float = 0.0) -> Corrections:
    """The same corrections with the trails of the things that are pointed at.

    Args:
        corrections: Corrections; existing trails are kept.
        masks: Masks of the whole video, in order of time.
        start: Second of the source at which their times begin.
    """
    clicks = [i for i, item in enumerate(corrections.items) if item.kind in ("only", "never") and not item.trail]
    best: dict[int, tuple[float, int]] = dict.fromkeys(clicks, (ASIDE, 0))
    tracker, boxes = Tracker(memory=MEMORY), dict[int, list[Box]]()
    for one in (frame for piece in masks for frame in piece):
        time = one.times[0] + start
        labels = one.mask[0] if one.labels is None else one.labels[0]
        colours = None if one.colours is None else one.colours[0]
        ids = None if one.ids is None else one.ids[0]
        regions = tracker.update(time, labels, one.probability[0], colours, ids)
        height, width = labels.shape
        for region in regions:
            top, left, bottom, right = region.box
            trail = boxes.setdefault(region.id, [])
            trail.append((time, left / width, top / height, right / width, bottom / height))
        for i in clicks:
            item = corrections.items[i]
            away = abs((item.time or 0.0) - time)
            if away < best[i][0]:
                best[i] = away, _pointed_at(regions, item, labels.shape)
    items = list(corrections.items)
    for i, (_, number) in best.items():
        if number:
            items[i] = replace(items[i], trail=trail_of(boxes[number]))
    return corrections.with_items(items)


def trail_of(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """A short trail of many boxes in order of time, which may have several of the same time.

    A box is left out where those around it tell the same. Coordinates are rounded to a thousandth of the picture.
    """
    groups = [list(group) for _, group in groupby(boxes, key=itemgetter(0))]
    if not groups:
        return ()
    length = groups[-1][0][0] - groups[0][0][0]
    most = MOST_BOXES // max(map(len, groups))
    step = max(STEP, length / max(1, most - 2))
    kept = [groups[0]]
    for last, group, following in zip(groups, groups[1:], [*groups[2:], None], strict=False):
        ends = following is None or following[0][0] - group[0][0] > NEAR or group[0][0] - last[0][0] > NEAR
        since = group[0][0] - kept[-1][0][0]
        needed = following is None or since > FAR or not _tells(kept[-1], group, following)
        if ends or (since >= step - 1e-6 and needed):
            kept.append(group)
    flat = [(round(time, 3), *(round(min(max(v, 0.0), 1.0), 3) for v in box)) for group in kept for time, *box in group]
    whole = [box for box in flat if box[1] < box[3] and box[2] < box[4]]
    return tuple(whole[:: math.ceil(len(whole) / MOST_BOXES)]) if whole else ()  # type: ignore[arg-type]


def _tells(before: list[Box], group: list[Box], after: list[Box]) -> bool:
    """Whether a box lies on the straight path between the boxes before and after it."""
    if not len(before) == len(group) == len(after) == 1 or after[0][0] - before[0][0] > FAR:
        return False
    share = (group[0][0] - before[0][0]) / max(after[0][0] - before[0][0], 1e-9)
    way = (1 - share) * np.array(before[0][1:]) + share * np.array(after[0][1:])
    return bool(np.abs(way - group[0][1:]).max() <= STILL / 2)


def _pointed_at(regions: Sequence[Region], item: Correction, size: tuple[int, ...]) -> int:
    """The id of the region at a correction's place, or hardly beside it; 0 if there is none."""
    height, width = size
    row, column = min(int((item.y or 0) * height), height - 1), min(int((item.x or 0) * width), width - 1)
    best, number = MISSED * math.hypot(height, width), 0
    for region in regions:
        rows, columns = np.nonzero(region.mask)
        away = math.sqrt(float(((rows + region.box[0] - row) ** 2 + (columns + region.box[1] - column) ** 2).min()))
        if away < best:
            best, number = away, region.id
    return number


def _overlap(region: Region, box: np.ndarray, size: tuple[int, ...]) -> tuple[float, float]:
    """Intersection over union of a region's box and another, and the share of the other that it covers."""
    height, width = size
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    across = min(right, region.box[3]) - max(left, region.box[1])
    down = min(bottom, region.box[2]) - max(top, region.box[0])
    if across <= 0 or down <= 0:
        return 0.0, 0.0
    area, own = (right - left) * (bottom - top), (region.box[2] - region.box[0]) * (region.box[3] - region.box[1])
    return across * down / (area + own - across * down), across * down / max(area, 1e-9)


def _pixels(box: np.ndarray, size: tuple[int, ...], margin: float) -> tuple[slice, slice]:
    height, width = size
    left, right = (box[0] - margin) * width, (box[2] + margin) * width
    top, bottom = (box[1] - margin) * height, (box[3] + margin) * height
    return slice(max(0, math.floor(top)), math.ceil(bottom)), slice(max(0, math.floor(left)), math.ceil(right))
