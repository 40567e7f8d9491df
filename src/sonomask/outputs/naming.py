"""Stable names: each region gets the name that its whole track supports, not that of a single frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8

from sonomask.outputs.tracks import Region
from sonomask.structures import Names

__all__ = ["RegionNamer"]

HOLD = 3.0  # seconds after which what a frame said counts for 1/e
FORGET = 60.0  # seconds without a region after which a track's votes are dropped


class RegionNamer:
    """Names the regions of one video, frame by frame in order.

    A frame's vote for a thing is the share of the region's pixels that show it. Votes decay with `hold`, so that a name
    survives frames in which the model errs, but changes when the thing does.

    Args:
        hold: Seconds over which votes are gathered; 0 for each frame by itself.
    """

    def __init__(self, hold: float = HOLD) -> None:
        self.hold = hold
        self.votes: dict[int, tuple[float, Float[np.ndarray, " things"]]] = {}

    def __call__(
        self, time: float, regions: Sequence[Region], names: Names, seen: UInt8[np.ndarray, "H W"] | None = None
    ) -> tuple[Region, ...]:
        """The regions with the name of what they show, and of the sound that it makes now.

        Args:
            time: Time of the frame, in seconds.
            regions: Regions of the frame.
            names: Names of the frame.
            seen: `names.seen` at the size of the regions' picture, where that is another one.
        """
        seen = names.seen if seen is None else seen
        for number in [n for n, (last, _) in self.votes.items() if time - last > FORGET]:
            del self.votes[number]
        return tuple(self._named(time, region, names, seen) for region in regions)

    def _named(self, time: float, region: Region, names: Names, seen: np.ndarray) -> Region:
        counts = np.bincount(seen[region.view][region.mask], minlength=len(names.things))
        votes = counts / max(1, counts.sum())
        last, before = self.votes.get(region.id, (time, None))
        if before is not None and self.hold:
            votes = votes + math.exp((last - time) / self.hold) * before
        self.votes[region.id] = time, votes
        most = int(votes.argmax())
        return replace(region, name=names.things[most], sound=names.sounds[most])
