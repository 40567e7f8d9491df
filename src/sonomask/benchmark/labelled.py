"""Real clips with labelled frames: read them, and score a model on them.

    labels.csv      clip, time, mask, sounding[, group, quality, what]
    videos/CLIP.mp4

A mask's path is relative to the folder; its white pixels sound. Times are seconds, best k + 15/16 s, at which
`Segmenter(rate="avsbench")` makes masks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from sonomask.errors import DatasetError
from sonomask.inference.segmenter import Segmenter
from sonomask.safe_reading.pictures import open_picture
from sonomask.safe_reading.tables import inside, read_table

__all__ = ["Label", "iou", "mark", "read_labels", "score_labelled"]

USED = ("good", "fair", "")
"""Qualities of labels that count."""


@dataclass(frozen=True)
class Label:
    """A labelled frame.

    Attributes:
        time: Seconds from the start of the clip.
        mask: Picture whose white pixels sound.
        sounding: Whether anything in sight sounds.
        group: Kind of clip, such as "instruments"; "" if the table has none.
        what: What sounds, in words; "" if the table has none.
    """

    time: float
    mask: Path
    sounding: bool
    group: str = ""
    what: str = ""

    def truth(self) -> Bool[np.ndarray, "H W"]:
        """The pixels that sound.

        Raises:
            DatasetError: The picture can't be read.
        """
        return np.asarray(open_picture(self.mask, "L")) > 127


def read_labels(folder: str | Path, *, sounding: bool = True) -> dict[str, tuple[Label, ...]]:
    """The labels of each clip, in order of time.

    Args:
        folder: Folder with `labels.csv`, masks and `videos`.
        sounding: Leave out frames in which nothing sounds.

    Raises:
        DatasetError: There is no such table, it lacks a column, holds no label, or a name leads out of the folder.
    """
    folder = Path(folder)
    clips: dict[str, list[Label]] = defaultdict(list)
    for row in read_table(folder / "labels.csv", ("clip", "time", "mask", "sounding")):
        label = _label(folder, row)
        if row.get("quality", "") in USED and (label.sounding or not sounding):
            clips[row["clip"]].append(label)
    if not clips:
        raise DatasetError(f"{folder / 'labels.csv'}: no labelled frame. Expected rows with `sounding` 1.")
    return {clip: tuple(sorted(labels, key=lambda label: label.time)) for clip, labels in clips.items()}


def _label(folder: Path, row: Mapping[str, str]) -> Label:
    try:
        time = float(row["time"])
    except ValueError:
        raise DatasetError(f"{folder / 'labels.csv'}: expected seconds as `time`, got {row['time']!r}.") from None
    return Label(time, inside(folder, row["mask"]), row["sounding"] == "1", row.get("group", ""), row.get("what", ""))


def mark(segmenter: Segmenter, video: Path, labels: Sequence[Label]) -> list[Bool[np.ndarray, "H W"]]:
    """The mask nearest in time to each label, at the size of its truth.

    Raises:
        MediaError: The video can't be read, or has no sound and the model listens.
    """
    sizes = [label.truth().shape for label in labels]
    found = [np.zeros(size, bool) for size in sizes]
    away = [np.inf] * len(labels)
    for masks in segmenter(video):
        for time, mask in zip(masks.times, masks.mask, strict=True):
            for i, label in enumerate(labels):
                if abs(time - label.time) < away[i]:
                    away[i] = abs(time - label.time)
                    found[i] = cv2.resize(mask.astype(np.uint8) * 255, sizes[i][::-1]) > 127
    return found


def iou(mask: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> float:
    """Intersection over union; 1 of two empty masks."""
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 1.0


def score_labelled(model: Any, folder: str | Path, device: str = "cpu") -> list[dict[str, Any]]:
    """Mean IoU of each clip, over its labelled frames in which something sounds.

    Args:
        model: Whatever `Segmenter` takes.
        folder: Folder, as for `read_labels`.
        device: Device of the model.

    Returns:
        A row for each clip, with the keys name, category (its group), miou and frames, as `training.clips` writes them.

    Raises:
        DatasetError: The labels can't be read.
        MediaError: A video can't be read.
    """
    segmenter = Segmenter(model, rate="avsbench", device=device, min_area=0.0)
    rows = []
    for clip, labels in read_labels(folder).items():
        masks = mark(segmenter, inside(Path(folder, "videos"), f"{clip}.mp4"), labels)
        values = [iou(mask, label.truth()) for mask, label in zip(masks, labels, strict=True)]
        rows.append({"name": clip, "category": labels[0].group, "miou": _mean(values), "frames": len(values)})
    return rows


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
