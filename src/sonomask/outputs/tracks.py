"""Connected regions of masks, with ids that stay over time.

A mask says where something sounds, not how many things do. What is connected (over sides and corners) counts as one
thing, and keeps its id from frame to frame:

    1. Each region is paired with the tracks of its class whose last mask it overlaps, there or where that has moved to by
       now, best intersection over union first, each region and each track once.
    2. A track without a pair waits for `memory` seconds, then it ends; its id is never used again. If a region covers most of
       that place, the two have merged, and the track waits as long as that region is seen (`MERGED` seconds at most).
    3. Where what has merged parts, the ids go to the parts together, by looks, motion and size of before they met.
    4. A region that overlaps nothing may be what was last seen elsewhere, if it looks like it, is as large, and is no farther
       away than a thing can move.
    5. Any other region starts a track. Of what splits, the part that overlaps most keeps the id.

Where the model follows things itself, each of its things is a region, in however many parts, and goes on with the track that it
had; rules 1 to 5 hold for what it has newly found.

After a cut all tracks end. Looks are known only where small colour pictures come along: three histograms of lightness and
colour, whose distance is Hellinger's. What this can't do: tell two that look and move alike from one another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from sonomask.outputs.looks import distance, is_cut, looks_of, may_be
from sonomask.outputs.regions import Region, centre, connected_regions, covering, followed_regions, meet, shared

__all__ = ["Region", "Tracker"]

MIN_AREA = 0.0005  # of the picture: 25 pixels at 224×224; what is smaller is a speck
MIN_OVERLAP = 0.05  # intersection over union
MEMORY = 10.0  # seconds
MERGED = 30.0  # seconds that what has merged into another region waits
MOST_WAITING = 200  # tracks; the oldest end
BRIEF = 1.0  # seconds in which nothing needs to look like itself to be taken for itself at its place
SAME = 0.3  # … of another place
FARTHEST = (0.1, 0.3)  # of the picture's diagonal: how far a thing may be from where it was, and more each second
PARTS = 5  # things that part at once, of which every order is tried


@dataclass(frozen=True)
class _Track:
    """The state of a tracked thing.

    Attributes:
        region: Region as last seen.
        time: When.
        born: Time at which it was first seen.
        looks: Histograms, from when it was last seen by itself; None where no pictures came.
        own: Centre (y, x) and area when it was last seen by itself.
        own_time: Time of that.
        speed: Speed of the centre then, in pixels a second.
        into: The track that it has merged into, or 0.
    """

    region: Region
    time: float
    born: float
    looks: Float32[np.ndarray, " bins"] | None
    own: tuple[float, float, int]
    own_time: float
    speed: tuple[float, float] = (0.0, 0.0)
    into: int = 0

    def shift(self, time: float) -> tuple[int, int]:
        """Predicted motion of the mask since it was last seen, for one second at most."""
        after = min(time - self.time, 1.0)
        return round(self.speed[0] * after), round(self.speed[1] * after)

    def place(self, time: float) -> tuple[float, float]:
        """Predicted position of the centre since the thing was last seen separately, for two seconds at most."""
        after = min(time - self.own_time, 2.0)
        return self.own[0] + self.speed[0] * after, self.own[1] + self.speed[1] * after


class Tracker:
    """Gives the regions of each frame their ids; frames come in order of time.

    Memory: the masks of the tracks that live or wait, `MOST_WAITING` of these at most.

    Args:
        min_area: Regions with a smaller share of the picture are left out.
        min_overlap: Least intersection over union of a region and its track.
        memory: Seconds that a track waits for its thing to come back.
    """

    def __init__(self, *, min_area: float = MIN_AREA, min_overlap: float = MIN_OVERLAP, memory: float = MEMORY) -> None:
        self.min_area, self.min_overlap, self.memory = min_area, min_overlap, memory
        self.seen: dict[int, _Track] = {}
        self.lost: dict[int, _Track] = {}
        self.count = 0
        self.followed: dict[int, int] = {}  # track of each thing that the model follows
        self._size: tuple[int, ...] = ()
        self._before: UInt8[np.ndarray, "h w 3"] | None = None

    def update(
        self,
        time: float,
        labels: UInt8[np.ndarray, "H W"] | Bool[np.ndarray, "H W"],
        probability: Float[np.ndarray, "H W"] | None = None,
        colours: UInt8[np.ndarray, "h w 3"] | None = None,
        things: Int32[np.ndarray, "H W"] | None = None,
    ) -> tuple[Region, ...]:
        """The regions of the next frame, by id.

        Args:
            time: Seconds.
            labels: A mask, or the class of each pixel, 0 where nothing sounds.
            probability: Probability for the regions' score, which is 1 without.
            colours: A small RGB picture of the frame, by which things are known again and cuts are found.
            things: Numbers of the things that the model follows (`Masks.ids`); None if it follows none.

        Raises:
            ValueError: The size is not that of the frame before.
        """
        labels = labels.astype(np.uint8, copy=False)
        if labels.shape != (self._size or labels.shape):
            raise ValueError(f"`labels`: expected {self._size} as before, got {labels.shape}.")
        self._size = labels.shape
        if colours is not None:
            if self._before is not None and is_cut(self._before, colours):
                self.seen, self.lost, self.followed = {}, {}, {}
            self._before = colours
        self._forget(time)
        if things is None:
            numbered = [(0, region) for region in connected_regions(labels, probability)]
        else:
            numbered = followed_regions(labels > 0, things, probability)
        numbered = [(n, region) for n, region in numbered if region.area >= self.min_area * labels.size]
        numbers, found = [n for n, _ in numbered], [region for _, region in numbered]
        looks = [looks_of(region, labels.shape, colours) for region in found]
        ids = self._pair(time, found, looks, [self.followed.get(n, 0) for n in numbers])
        known = {n: number for n, number in self.followed.items() if number not in ids}
        self.followed = known | {n: number for n, number in zip(numbers, ids, strict=True) if n}
        regions = [replace(region, id=number) for number, region in zip(ids, found, strict=True)]
        self._remember(time, regions, looks)
        return tuple(sorted(regions, key=lambda region: region.id))

    def _forget(self, time: float) -> None:
        for number, track in list(self.lost.items()):
            longest = max(self.memory, MERGED) if track.into in self.seen else self.memory
            if time - track.time > longest:
                del self.lost[number]
        for number in sorted(self.lost, key=lambda n: self.lost[n].time)[: max(0, len(self.lost) - MOST_WAITING)]:
            del self.lost[number]
        self.followed = {n: number for n, number in self.followed.items() if number in self.seen or number in self.lost}

    def _pair(
        self, time: float, found: list[Region], looks: list[Float32[np.ndarray, " bins"] | None], ids: list[int]
    ) -> list[int]:
        """The track of each region; those that are known already are given, 0 for others."""
        overlaps = self._overlaps(time, found, looks)
        self._part(time, found, looks, overlaps, ids)
        taken = {number for number in ids if number}
        for _, place, number in sorted((-overlap, place, number) for (place, number), overlap in overlaps.items()):
            if not ids[place] and number not in taken and not self._elsewhere(number, taken):
                ids[place] = number
                taken.add(number)
        self._know_again(time, found, looks, ids, taken)
        for place in range(len(found)):
            if not ids[place]:
                self.count += 1
                ids[place] = self.count
        return ids

    def _elsewhere(self, number: int, taken: Iterable[int]) -> bool:
        """Whether a track is merged into another one that has a region, so that its position is unknown."""
        track = self.lost.get(number)
        return track is not None and track.into in taken and track.time - track.born < BRIEF

    def _part(
        self,
        time: float,
        found: list[Region],
        looks: list[Float32[np.ndarray, " bins"] | None],
        overlaps: dict[tuple[int, int], float],
        ids: list[int],
    ) -> None:
        """Give the ids of merged things to the regions into which they separate."""
        for whole in self.seen:
            waiting = [n for n, track in self.lost.items() if track.into == whole]
            if not waiting:
                continue
            parts = [
                place
                for place, region in enumerate(found)
                if not ids[place]
                and region.label == self.seen[whole].region.label
                and self._is_part(place, region, whole, waiting, overlaps)
            ]
            if len(parts) < 2:
                continue
            numbers = [whole, *sorted(waiting, key=lambda n: -self.lost[n].own[2])[: PARTS - 1]]
            parts = sorted(parts, key=lambda place: -found[place].area)[:PARTS]
            cost = [[self._unlike(n, time, found[place], looks[place]) for place in parts] for n in numbers]
            for row, column in _assigned(cost):
                ids[parts[column]] = numbers[row]

    def _is_part(
        self, place: int, region: Region, whole: int, waiting: list[int], overlaps: dict[tuple[int, int], float]
    ) -> bool:
        own = shared(region, self.seen[whole].region, (0, 0)) / region.area
        others = [o for (p, n), o in overlaps.items() if p == place and n in self.seen and n != whole]
        return own >= 0.25 and overlaps.get((place, whole), own) >= max(others, default=0.0) and bool(waiting)

    def _unlike(self, number: int, time: float, region: Region, looks: Float32[np.ndarray, " bins"] | None) -> float:
        """Cost of assigning a region to a track: appearance, predicted position, and the size before merging."""
        track = self.seen.get(number) or self.lost[number]
        (y, x), (top, left) = track.place(time), centre(region)
        away = math.hypot(y - top, x - left) / math.sqrt(max(track.own[2], 1))
        size = abs(math.log(region.area / max(track.own[2], 1)))
        looks_apart = 0.0 if looks is None or track.looks is None else distance(looks, track.looks)
        return 3 * looks_apart + min(away, 3.0) + 0.3 * size

    def _know_again(
        self,
        time: float,
        found: list[Region],
        looks: list[Float32[np.ndarray, " bins"] | None],
        ids: list[int],
        taken: set[int],
    ) -> None:
        """Match the remaining regions to tracks elsewhere by appearance, size and possible distance."""
        diagonal = math.hypot(*self._size)
        candidates = []
        for place, (region, own) in enumerate(zip(found, looks, strict=True)):
            for number, track in (self.seen | self.lost).items():
                if ids[place] or number in taken or own is None or track.looks is None or track.into in taken:
                    continue
                (y, x), (top, left) = track.place(time), centre(region)
                reach = (FARTHEST[0] + FARTHEST[1] * min(time - track.time, 3.0)) * diagonal
                apart = distance(own, track.looks)
                ratio = region.area / max(track.own[2], 1)
                if track.region.label == region.label and apart < SAME and 0.4 < ratio < 2.5:
                    away = math.hypot(y - top, x - left) / reach
                    if away < 1:
                        candidates.append((apart + 0.2 * away, place, number))
        for _, place, number in sorted(candidates):
            if not ids[place] and number not in taken:
                ids[place] = number
                taken.add(number)

    def _overlaps(
        self, time: float, found: list[Region], looks: list[Float32[np.ndarray, " bins"] | None]
    ) -> dict[tuple[int, int], float]:
        """Intersection over union of each region and each track that it may be, by place and number."""
        tracks = self.seen | self.lost
        result: dict[tuple[int, int], float] = {}
        if not found or not tracks:
            return result
        boxes, numbers = np.array([region.box for region in found]), list(tracks)
        shifts = [tracks[n].shift(time) for n in numbers]
        own = np.array([tracks[n].region.box for n in numbers])
        moved = own + np.array([(dy, dx, dy, dx) for dy, dx in shifts])
        near = meet(boxes, own) | meet(boxes, moved)
        for place, column in np.argwhere(near).tolist():
            number, region = numbers[column], found[place]
            track = tracks[number]
            if track.region.label != region.label:
                continue
            if time - track.time > BRIEF and not may_be(looks[place], track.looks):
                continue
            both = max(shared(region, track.region, shift) for shift in {(0, 0), shifts[column]})
            overlap = both / (region.area + track.region.area - both)
            if overlap >= self.min_overlap:
                result[place, number] = overlap
        return result

    def _remember(self, time: float, regions: list[Region], looks: list[Float32[np.ndarray, " bins"] | None]) -> None:
        now, before = {region.id: region for region in regions}, self.seen
        for number in before.keys() - now.keys():
            track = before[number]
            into = covering(track.region, regions)
            self.lost[number] = replace(track, into=into)
            for other, waiting in self.lost.items():
                if waiting.into == number:
                    self.lost[other] = replace(waiting, into=into)
        whole = {track.into for n, track in self.lost.items() if n not in now}
        self.seen = {}
        for region, own in zip(regions, looks, strict=True):
            known = before.get(region.id) or self.lost.get(region.id)
            self.seen[region.id] = _gone_on(known, time, region, own, alone=region.id not in whole)
            self.lost.pop(region.id, None)


def _gone_on(
    track: _Track | None, time: float, region: Region, looks: Float32[np.ndarray, " bins"] | None, *, alone: bool
) -> _Track:
    """A track with its newest region; what is its own changes while no other is in that region only."""
    middle = centre(region)
    if track is None:
        return _Track(region, time, time, looks, (*middle, region.area), time)
    if not alone:
        return replace(track, region=region, time=time, into=0)
    after = time - track.own_time
    speed = track.speed
    if 0 < after <= BRIEF:
        now = ((middle[0] - track.own[0]) / after, (middle[1] - track.own[1]) / after)
        speed = ((speed[0] + now[0]) / 2, (speed[1] + now[1]) / 2)
    elif after > BRIEF:
        speed = (0.0, 0.0)
    if looks is not None and track.looks is not None:
        looks = 0.8 * track.looks + np.float32(0.2) * looks
    return _Track(region, time, track.born, looks, (*middle, region.area), time, speed)


def _assigned(cost: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Rows and columns of the least sum, each once; every order is tried, so there may be few only."""
    rows, columns = range(len(cost)), range(len(cost[0]))
    if len(rows) > len(columns):
        flipped = _assigned([[cost[r][c] for r in rows] for c in columns])
        return [(row, column) for column, row in flipped]
    best = min(permutations(columns, len(rows)), key=lambda order: sum(cost[r][c] for r, c in enumerate(order)))
    return list(enumerate(best))
