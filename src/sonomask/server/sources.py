"""Merge many tracks into few sources, each of which a person would call one thing.

A tracker follows regions from mask to mask and starts a new track when a region falls silent, moves far, or breaks into
parts, so one anvil makes a dozen tracks. Two tracks of a class count as one source if they cover the same place, and either

    are hardly ever there together (the same thing at other times), or
    one is a small part beside the other (a splinter of it).

Of the sources the largest few are shown by themselves, the rest together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from sonomask.visualise.style import COLOURS

__all__ = ["Footprint", "Sources"]

CELL = 8  # pixels of a map that one cell of a footprint stands for
SHOWN = 6  # sources with a row of their own
LEAST = 0.01  # share of all that is masked below which a source joins the rest
TOGETHER = 0.25  # share of the shorter one's masks up to which two are taken to be one thing at different times
SAME_PLACE = 0.5  # share of the smaller one's place that the other must cover
SPLINTER = 0.3  # of the larger one's area
GREY = (150, 160, 172)


@dataclass(eq=False)
class Footprint:
    """Places and times at which a source was seen; a source is one or more tracks.

    Attributes:
        label: Class index; 1 for a binary mask.
        cells: Cells that it ever covered.
        areas: Share of the picture, by number of the mask.
        tracks: Numbers of the tracks.
        names: Area summed over the masks in which it went by each name.
        sounds: Area summed over the masks in which it made each sound.
    """

    label: int
    cells: Bool[np.ndarray, "h w"]
    areas: dict[int, float] = field(default_factory=dict)
    tracks: list[int] = field(default_factory=list)
    names: dict[str, float] = field(default_factory=dict)
    sounds: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its most frequent name, "" if the model knows no names."""
        return _most(self.names)

    @property
    def weight(self) -> float:
        """Area summed over its masks."""
        return sum(self.areas.values())

    def add(self, other: Footprint) -> None:
        """Take in another."""
        self.cells = self.cells | other.cells
        self.tracks += other.tracks
        for own, its in ((self.names, other.names), (self.sounds, other.sounds)):
            for word, area in its.items():
                own[word] = own.get(word, 0.0) + area
        for index, area in other.areas.items():
            self.areas[index] = self.areas.get(index, 0.0) + area

    def likeness(self, other: Footprint) -> float:
        """Similarity to another source, 0 for none."""
        if (self.label, self.name) != (other.label, other.name):
            return 0.0
        near, beside = (cv2.dilate(one.cells.view(np.uint8), np.ones((3, 3), np.uint8)) > 0 for one in (self, other))
        place = float((near & beside).sum() / max(1, min(near.sum(), beside.sum())))
        if place < SAME_PLACE:
            return 0.0
        both = self.areas.keys() & other.areas.keys()
        if len(both) <= TOGETHER * min(len(self.areas), len(other.areas)):
            return place
        mine, its = (sum(one.areas[i] for i in both) for one in (self, other))
        return place if its <= SPLINTER * mine else 0.0


class Sources:
    """Collect the regions of each mask, and decide in the end which tracks form one source.

    Args:
        size: Height and width of a map.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.grid = tuple(-(-n // CELL) for n in size)
        self.tracks: dict[int, Footprint] = {}

    def add(
        self,
        index: int,
        number: int,
        label: int,
        mask: Bool[np.ndarray, "h w"],
        at: tuple[int, int],
        area: float,
        name: str = "",
        sound: str = "",
    ) -> None:
        """A region of a mask.

        Args:
            index: Number of the mask.
            number: Number of the track.
            label: Class index.
            mask: The region's pixels within its box.
            at: Top and left of the box.
            area: Share of the picture.
            name: Name of what it shows, where the model knows names.
            sound: Sound that the source makes.
        """
        track = self.tracks.get(number)
        if track is None:
            track = self.tracks[number] = Footprint(label, np.zeros(self.grid, bool), tracks=[number])
        rows, columns = np.nonzero(mask)
        track.cells[(rows + at[0]) // CELL, (columns + at[1]) // CELL] = True
        track.areas[index] = track.areas.get(index, 0.0) + area
        for words, word in ((track.names, name), (track.sounds, sound)):
            if word:
                words[word] = words.get(word, 0.0) + area

    def merged(self) -> list[Footprint]:
        """The sources, the largest first."""
        found: list[Footprint] = []
        for track in sorted(self.tracks.values(), key=lambda one: -one.weight):
            likeness = [source.likeness(track) for source in found]
            best = int(np.argmax(likeness)) if likeness else 0
            if likeness and likeness[best] > 0:
                found[best].add(track)
            else:
                own = Footprint(track.label, track.cells.copy(), dict(track.areas), list(track.tracks))
                own.names, own.sounds = dict(track.names), dict(track.sounds)
                found.append(own)
        return sorted(found, key=lambda one: -one.weight)

    def describe(self, times: list[float], end: float, classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """The player's data for each source: `tracks`, `name`, `sound`, `colour`, `area` by mask, `spans` in seconds.

        Args:
            times: Times of the masks.
            end: End of the video.
            classes: Names of a semantic model's classes.
        """
        found = self.merged()
        total = sum(source.weight for source in found)
        few = [source for source in found[:SHOWN] if source.weight >= LEAST * total]
        rest = found[len(few) :]
        few.sort(key=lambda source: min(source.areas))
        rows = [
            (self._name(source, few, classes), COLOURS[i % len(COLOURS)].tolist(), source)
            for i, source in enumerate(few)
        ]
        if rest:
            everything = Footprint(0, np.zeros(self.grid, bool))
            for source in rest:
                everything.add(source)
            rows.append((f"{len(rest)} small ones" if len(rest) > 1 else "A small one", list(GREY), everything))
        return [
            {
                "id": i, "name": name, "colour": colour, "tracks": sorted(source.tracks),
                "sound": _most(source.sounds),
                "area": [round(source.areas.get(index, 0.0), 5) for index in range(len(times))],
                "spans": spans(times, end, source.areas),
            }
            for i, (name, colour, source) in enumerate(rows, start=1)
        ]  # fmt: skip

    @staticmethod
    def _name(source: Footprint, all_of_them: list[Footprint], classes: tuple[str, ...]) -> str:
        named = bool(source.name) or source.label < len(classes)
        alike = [one for one in all_of_them if (one.label, one.name) == (source.label, source.name)]
        word = source.name.replace("_", " ") or (classes[source.label] if named else "Source")
        name = word[:1].upper() + word[1:]
        return name if named and len(alike) == 1 else f"{name} {alike.index(source) + 1}"


def _most(words: Mapping[str, float]) -> str:
    """The word with the largest sum, the first of equal ones; "" of none."""
    return max(words, key=lambda word: words[word], default="")


def spans(times: list[float], end: float, areas: dict[int, float]) -> list[tuple[float, float]]:
    """Intervals in which something is seen; a mask covers the time up to halfway to its neighbours."""
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(times)), end]
    found: list[tuple[float, float]] = []
    for index in sorted(areas):
        begin, stop = round(edges[index], 3), round(edges[index + 1], 3)
        if found and found[-1][1] >= begin - 1e-3:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((begin, stop))
    return found
