"""A model of this project on a data set of instances: masks, ids and names become tracks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from pycocotools import mask as run_lengths

from sonomask.inference.segmenter import Segmenter
from sonomask.media.arrays import from_arrays
from sonomask.metrics.instances import InstanceTrack
from sonomask.outputs.regions import Region
from sonomask.outputs.tracks import Tracker
from sonomask.outputs.write import moments
from sonomask.safe_reading.pictures import open_picture

__all__ = ["Video", "mark"]


@runtime_checkable
class Video(Protocol):
    """A video as pictures, one a second, and a sound."""

    @property
    def number(self) -> int:
        """Its number."""
        ...

    @property
    def frames(self) -> tuple[Path, ...]:
        """Its pictures."""
        ...

    @property
    def sound(self) -> Path:
        """Its sound."""
        ...


def mark(
    segmenter: Segmenter,
    videos: Iterable[Video],
    *,
    listen: Callable[[Path], np.ndarray],
    category: Callable[[str, str], int | None],
) -> list[InstanceTrack]:
    """Tracks of what sounds in videos.

    A track's category is what most of its masks are; one that has none is left out. Its score is the mean of its masks'.

    Args:
        segmenter: Segmenter of one mask a second, with a model that knows names.
        videos: One after the other.
        listen: Function from a wav file to its samples, 16 kHz mono.
        category: Function from a thing and its sound, as the model names them, to a number; None for none.
    """
    found = []
    for video in videos:
        pictures = [np.asarray(open_picture(file, "RGB")) for file in video.frames]
        seen: dict[int, dict[int, Region]] = {}
        split = moments(Tracker())
        with from_arrays(pictures, 1.0, listen(video.sound)) as reader:
            for masks in segmenter(reader):
                for moment in split(masks):
                    for region in moment.regions:
                        seen.setdefault(region.id, {})[int(moment.time)] = region
        size = pictures[0].shape[:2]
        found += [t for regions in seen.values() if (t := _track(video.number, regions, len(pictures), size, category))]
    return found


def _track(
    video: int, regions: dict[int, Region], length: int, size: Any, category: Callable[[str, str], int | None]
) -> InstanceTrack | None:
    numbers = Counter(category(region.name, region.sound) for region in regions.values())
    del numbers[None]
    if not numbers:
        return None
    masks: list[dict[str, Any] | None] = [None] * length
    for second, region in regions.items():
        masks[min(second, length - 1)] = run_lengths.encode(np.asfortranarray(region.whole(size), np.uint8))
    score = float(np.mean([region.score for region in regions.values()]))
    return InstanceTrack(video, int(numbers.most_common(1)[0][0] or 0), tuple(masks), score)
