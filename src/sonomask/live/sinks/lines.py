"""Lines of JSON, one for each picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from sonomask.errors import MediaError
from sonomask.inference.naming import SPECK
from sonomask.live.segmenter import LiveMasks
from sonomask.live.sinks.base import Sink
from sonomask.outputs.moment import counts
from sonomask.schemas import schema

__all__ = ["JsonLines"]


class JsonLines(Sink):
    """A line of JSON for each picture, written at once.

    Keys: `time` (s), `delay` (s), `size` [height, width], `presence` if the model has it, of a model that knows names
    `heard` (names and scores of the sounds) and `things` (names and shares of the picture), `areas`: of each class that
    sounds its `label`, `share` of the picture and `counts` (COCO's uncompressed run lengths).

    Args:
        path: Path of the file, or "-" for standard output.
        classes: Names of a semantic model's classes.
        overwrite: Replace an existing file.

    Raises:
        MediaError: The file exists.
    """

    def __init__(self, path: str, classes: tuple[str, ...] = (), *, overwrite: bool = False) -> None:
        self.classes = classes
        self.file: TextIO = sys.stdout
        self.own = path != "-"
        if self.own:
            if Path(path).exists() and not overwrite:
                raise MediaError(f"{path} exists. Use --overwrite to replace it, or give another --json.")
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - closed by __exit__

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.own:
            self.file.close()

    def write(self, result: LiveMasks) -> None:
        """Add a line."""
        labels = result.labels
        row: dict[str, Any] = {
            "schema": schema("live"), "time": round(result.time, 4), "delay": round(result.delay, 4), "size": list(labels.shape)
        }  # fmt: skip
        if result.masks.presence is not None:
            row["presence"] = round(result.masks.presence[0], 4)
        if result.masks.names is not None:
            names = result.masks.names[0]
            counts = np.bincount(names.seen[labels > 0], minlength=len(names.things)) / labels.size
            row["heard"] = dict(names.heard)
            row["things"] = {
                names.things[i]: round(float(counts[i]), 4) for i in np.flatnonzero(counts > SPECK).tolist()
            }
        row["areas"] = [self._area(label, labels == label) for label in np.unique(labels[labels > 0]).tolist()]
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def _area(self, label: int, mask: np.ndarray) -> dict[str, Any]:
        name = self.classes[label] if label < len(self.classes) else "sounding"
        return {"label": name, "share": round(float(mask.mean()), 6), "counts": counts(mask)["counts"]}
