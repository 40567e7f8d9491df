"""Keep only some sources of the masks, as the player of an earlier job on the same video shows them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from sonomask.inference.segmenter import Segmenter
from sonomask.structures import Masks

__all__ = ["SelectingSegmenter", "Strips", "selecting", "source_name"]

REACH = 12  # pixels of a map that a marked pixel may lie from a region of the player, which leaves specks out


def source_name(view: Path, number: int) -> str | None:
    """The player's name of a source; None if there is no source with that number."""
    about = json.loads((view / "view.json").read_text(encoding="utf-8"))
    return next((str(source["name"]) for source in about["sources"] if source["id"] == number), None)


def selecting(view: Path, numbers: tuple[int, ...]) -> Callable[[Masks], Masks]:
    """A function that unmarks everything except the given sources.

    Each marked pixel belongs to the source of the nearest region on the player's map of that moment.

    Args:
        view: Folder that `write_view` made of the same part of the same video, with the same options.
        numbers: Numbers of the sources.
    """
    about: dict[str, Any] = json.loads((view / "view.json").read_text(encoding="utf-8"))
    times, size = np.asarray(about["times"]), (about["map"]["height"], about["map"]["width"])
    wanted = np.zeros(256, bool)
    for source in about["sources"]:
        if source["id"] in numbers:
            wanted[source["tracks"]] = True
    strip = Strips(view, about["map"]["rows"], size[0])

    def select(masks: Masks) -> Masks:
        probability = masks.probability.copy()
        labels = None if masks.labels is None else masks.labels.copy()
        for i, time in enumerate(masks.times):
            index = int(np.abs(times - time).argmin()) if len(times) else None
            keep = None if index is None else _belonging(strip.tracks(index), wanted, probability.shape[1:])
            if keep is None:
                keep = np.zeros(probability.shape[1:], bool)
            probability[i] *= keep
            if labels is not None:
                labels[i] *= keep
        return replace(masks, probability=probability, labels=labels)

    return select


class Strips:
    """The maps of tracks that the player of a job shows; the strip that was read last stays.

    Args:
        view: Folder that `write_view` made.
        rows: Maps in a strip.
        height: Pixels of a map.
    """

    def __init__(self, view: Path, rows: int, height: int) -> None:
        self.view, self.rows, self.height = view, rows, height
        self.number, self.strip = -1, np.zeros((0, 0), np.uint8)

    def tracks(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """The number of the track at each place, 0 for none."""
        number, row = divmod(index, self.rows)
        if number != self.number:
            with Image.open(self.view / f"maps{number}.png") as picture:
                self.number, self.strip = number, np.asarray(picture)[..., 0]
        return self.strip[row * self.height : (row + 1) * self.height]


def _belonging(
    tracks: UInt8[np.ndarray, "h w"], wanted: Bool[np.ndarray, " 256"], size: tuple[int, ...]
) -> Bool[np.ndarray, "H W"] | None:
    """The places whose nearest region is of a wanted track; None where there is no region."""
    if not tracks.any():
        return None
    distance, places = cv2.distanceTransformWithLabels(
        (tracks == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_place = np.zeros(int(places.max()) + 1, np.uint8)
    of_place[places[tracks > 0]] = tracks[tracks > 0]
    keep = (wanted[of_place[places]] & (distance <= REACH)).astype(np.uint8)
    return cv2.resize(keep, size[::-1], interpolation=cv2.INTER_NEAREST) > 0


class SelectingSegmenter(Segmenter):
    """A `Segmenter` whose masks go through a function.

    Args:
        select: The function.
        model: Model as for `Segmenter`.
        request: Request as for `Segmenter`.
    """

    def __init__(self, select: Callable[[Masks], Masks], model: Any, request: Any) -> None:
        super().__init__(model, request)
        self.chosen = select

    def select(self, masks: Masks) -> Masks:
        """The masks that the function gives."""
        return self.chosen(masks)
