"""Connected regions of masks, with ids that stay over time.

A mask says where something sounds, not how many things do. What is connected (over sides and corners) counts as one
thing, and keeps its id from frame to frame by overlap alone:

    1. Each region is paired with the tracks of its class whose last mask it overlaps, best intersection over union first,
       each region and each track once.
    2. A track without a pair waits where it was last seen for `memory` seconds, then it ends; its id is never used again.
       If a region covers most of that place, the two have merged, and the track waits as long as that region is seen.
    3. A region without a pair that overlaps such a merged one is what has parted from it, and takes the waiting id. Any
       other starts a track. Of what splits, the part that overlaps most keeps the id.

So a thing that another one passes in front of gets its id back, since its own last mask fits it better than the merged one
does. What this can't do: tell for sure which of two moving things is which after they met and parted, or follow one that
moves by more than its size between two masks. Ask for more masks per second then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

__all__ = ["Region", "Tracker"]

MIN_AREA = 0.0005  # of the picture: 25 pixels at 224×224; what is smaller is a speck
MIN_OVERLAP = 0.05  # intersection over union


@dataclass(frozen=True)
class Region:
    """A connected part of a mask.

    Attributes:
        id: From 1, the same in every frame in which the thing is seen.
        label: Class index; 1 for a binary mask.
        box: (top, left, bottom, right) in pixels, the last two exclusive.
        mask: The pixels within the box.
        score: Mean probability of the pixels.
        name: Of the thing, or "" where the model knows no names.
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


@dataclass(frozen=True)
class _Track:
    """Where a thing was last seen, and the track it has merged into."""

    label: int
    area: int
    view: tuple[slice, slice]
    time: float
    into: int = 0


class Tracker:
    """Gives the regions of each frame their ids; frames come in order of time.

    Memory: two maps of ids at the picture's size, and a few numbers for each track that lives.

    Args:
        min_area: Regions with a smaller share of the picture are left out.
        min_overlap: Least intersection over union of a region and its track.
        memory: Seconds that a track waits for its thing to come back.
    """

    def __init__(self, *, min_area: float = MIN_AREA, min_overlap: float = MIN_OVERLAP, memory: float = 1.0) -> None:
        self.min_area, self.min_overlap, self.memory = min_area, min_overlap, memory
        self.seen: dict[int, _Track] = {}
        self.lost: dict[int, _Track] = {}
        self.count = 0
        self._seen_map = self._lost_map = np.zeros((0, 0), np.int32)

    def update(
        self,
        time: float,
        labels: UInt8[np.ndarray, "H W"] | Bool[np.ndarray, "H W"],
        probability: Float[np.ndarray, "H W"] | None = None,
    ) -> tuple[Region, ...]:
        """The regions of the next frame, by id.

        Args:
            time: Seconds.
            labels: A mask, or the class of each pixel, 0 where nothing sounds.
            probability: For the regions' score, which is 1 without.

        Raises:
            ValueError: The size is not that of the frame before.
        """
        labels = labels.astype(np.uint8, copy=False)
        if not self._seen_map.size:
            self._seen_map = np.zeros(labels.shape, np.int32)
            self._lost_map = self._seen_map.copy()
        if labels.shape != self._seen_map.shape:
            raise ValueError(f"`labels`: expected {self._seen_map.shape} as before, got {labels.shape}.")
        for number in [n for n, track in self.lost.items() if track.into not in self.seen]:
            if time - self.lost[number].time > self.memory:
                self._forget(number)
        found = [r for r in _regions(labels, probability) if r.area >= self.min_area * labels.size]
        ids = self._pair(found)
        regions = [Region(i, r.label, r.box, r.mask, r.score) for i, r in zip(ids, found, strict=True)]
        self._remember(time, regions)
        return tuple(sorted(regions, key=lambda region: region.id))

    def _pair(self, found: list[Region]) -> list[int]:
        pairs = sorted(
            (-overlap, place, track) for place, region in enumerate(found) for track, overlap in self._overlaps(region)
        )
        ids = [0] * len(found)
        taken: set[int] = set()
        for _, place, track in pairs:
            if not ids[place] and track not in taken:
                ids[place] = track
                taken.add(track)
        for place, region in enumerate(found):
            if not ids[place]:
                ids[place] = self._parted(region, taken) or self._new()
                taken.add(ids[place])
        return ids

    def _new(self) -> int:
        self.count += 1
        return self.count

    def _parted(self, region: Region, taken: set[int]) -> int:
        """The latest track that has merged into one that the region overlaps; 0 if there is none."""
        over = set(np.unique(self._seen_map[region.view][region.mask]).tolist())
        waiting = [n for n, t in self.lost.items() if t.into in over and t.label == region.label and n not in taken]
        return waiting[-1] if waiting else 0

    def _overlaps(self, region: Region) -> list[tuple[int, float]]:
        """(track, intersection over union) of each track that it may be."""
        result = []
        for tracks, pixels in ((self.seen, self._seen_map), (self.lost, self._lost_map)):
            numbers, counts = np.unique(pixels[region.view][region.mask], return_counts=True)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                track = tracks.get(number)
                if track is not None and track.label == region.label:
                    overlap = count / (region.area + track.area - count)
                    if overlap >= self.min_overlap:
                        result.append((number, overlap))
        return result

    def _remember(self, time: float, regions: list[Region]) -> None:
        now = {r.id: _Track(r.label, r.area, r.view, time) for r in regions}
        for number in now.keys() & self.lost.keys():
            self._forget(number)
        before = self._seen_map.copy()
        self._seen_map[:] = 0
        for region in regions:
            self._seen_map[region.view][region.mask] = region.id
        for number, track in self.seen.items():
            if number not in now:
                self._lose(number, track, before[track.view] == number)
        self.seen = now

    def _lose(self, number: int, track: _Track, pixels: Bool[np.ndarray, "h w"]) -> None:
        """Let a track wait, merged into what now covers at least half of its place."""
        covering = np.bincount(self._seen_map[track.view][pixels])
        most = int(covering[1:].argmax()) + 1 if len(covering) > 1 else 0
        into = most if most and 2 * covering[most] >= track.area else 0
        self._lost_map[track.view][pixels] = number
        self.lost[number] = replace(track, into=into)
        for other, waiting in self.lost.items():
            if waiting.into == number:
                self.lost[other] = replace(waiting, into=into)

    def _forget(self, number: int) -> None:
        view = self._lost_map[self.lost.pop(number).view]
        view[view == number] = 0


def _regions(labels: np.ndarray, probability: np.ndarray | None) -> list[Region]:
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
