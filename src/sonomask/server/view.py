"""What the player needs of a video: a copy that any browser plays, small maps for each mask, curves over time.

The maps are PNG strips, `ROWS` frames below one another, whose channels are

    red    the source's number, 0 where nothing sounds, 255 for all beyond 254
    green  the probability
    blue   the attention map, where the model has one

so that the browser can switch views and hide sources by itself, without asking again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from sonomask.media.reader import Frame, VideoReader
from sonomask.media.writer import VideoWriter
from sonomask.outputs.tracks import Tracker
from sonomask.structures import Masks
from sonomask.visualise.style import class_colours

__all__ = ["write_view"]

MAP = 320  # pixels of the longer side of a map
PICTURE = 720  # of the shorter side of the copy
ROWS = 25  # maps in a strip
RATE = 12.0  # maps a second at most; the eye wants no more, and a phone must load them
BLOCK = 0.02  # seconds of a column of the waveform
COLUMNS = 1200
MANY = 255  # the number that all later sources share
MEMORY = 60.0  # seconds: what falls silent and sounds again at its place keeps its colour
LEVELS = 8  # step of the probability's grey values: fewer compress better


@contextmanager
def write_view(
    folder: Path,
    reader: VideoReader,
    *,
    classes: tuple[str, ...] = (),
    threshold: float = 0.5,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Callable[[Masks], None]]:
    """Takes `Masks` in order; at a clean exit `folder` has `view.json`, `preview.mp4` and the strips.

    Args:
        folder: To make.
        reader: Of the video.
        classes: Of a semantic model.
        threshold: That the masks were made with, for the legend of the heat map.
        check: Called often; may raise to end.
    """
    folder.mkdir()
    info = reader.info
    height, width = _fit(info.height, info.width, MAP, max)
    view = _View(folder, (height, width), classes)
    size = _fit(info.height, info.width, PICTURE, min)
    with VideoWriter(folder / "preview.mp4", size=size, rate=info.fps, audio_from=reader) as video:
        frames = reader.frames("native", size=size)
        pending = next(frames, None)

        def copy_until(time: float) -> Frame | None:
            nonlocal pending
            while pending is not None and pending.time < time:
                check()
                video.write(pending.image, pending.time)
                view.end = pending.time + float(1 / info.fps)
                pending = next(frames, None)
            return pending

        def write(masks: Masks) -> None:
            view.add(masks)
            copy_until(masks.times[-1])

        yield write
        copy_until(float("inf"))
    facts = {"width": size[1], "height": size[0], "threshold": threshold, "sound": _curve(reader, check)}
    view.finish(facts)


class _View:
    """Gathers maps into strips and areas into curves."""

    def __init__(self, folder: Path, size: tuple[int, int], classes: tuple[str, ...]) -> None:
        self.folder, self.size, self.classes = folder, size, classes
        self.tracker = Tracker(memory=MEMORY)
        self.rows: list[UInt8[np.ndarray, "h w 3"]] = []
        self.strips, self.end = 0, 0.0
        self.times: list[float] = []
        self.presence: list[float] = []
        self.areas: list[dict[int, float]] = []
        self.names: dict[int, str] = {}
        self.attention = False

    def add(self, masks: Masks) -> None:
        for i, time in enumerate(masks.times):
            if self.times and time < self.times[-1] + 1 / RATE - 1e-3:
                continue
            self.times.append(round(time, 4))
            if masks.presence is not None:
                self.presence.append(round(masks.presence[i], 4))
            self.rows.append(self._map(masks, i, time))
            if len(self.rows) == ROWS:
                self._flush()

    def _map(self, masks: Masks, i: int, time: float) -> np.ndarray:
        probability = _scale(masks.probability[i], self.size)
        labels = _labels(masks, i, probability, self.size)
        picture = np.zeros((*self.size, 3), np.uint8)
        areas: dict[int, float] = {}
        for region in self.tracker.update(time, labels, probability):
            number = min(region.id, MANY)
            picture[region.view][region.mask, 0] = number
            areas[number] = areas.get(number, 0.0) + region.area / labels.size
            self.names.setdefault(number, self._name(number, region.label))
        picture[..., 1] = np.minimum(255, np.round(probability * 255 / LEVELS) * LEVELS)
        if masks.attention is not None:
            self.attention = True
            picture[..., 2] = np.round(_scale(masks.attention[i], self.size) * 255 / LEVELS).clip(max=31) * LEVELS
        self.areas.append(areas)
        return picture

    def _name(self, number: int, label: int) -> str:
        if number == MANY:
            return "others"
        return f"{self.classes[label]} {number}" if label < len(self.classes) else f"source {number}"

    def _flush(self) -> None:
        if self.rows:
            Image.fromarray(np.concatenate(self.rows)).save(self.folder / f"maps{self.strips}.png")
            self.strips, self.rows = self.strips + 1, []

    def finish(self, facts: dict[str, Any]) -> None:
        self._flush()
        colours = class_colours(MANY + 1).tolist()
        sources = [
            {
                "id": number,
                "name": self.names[number],
                "colour": colours[number],
                "area": [round(areas.get(number, 0.0), 5) for areas in self.areas],
            }
            for number in sorted(self.names)
        ]
        about = {
            **facts,
            "duration": round(max(self.end, *self.times, 0.0), 3) if self.times else self.end,
            "map": {"width": self.size[1], "height": self.size[0], "rows": ROWS, "strips": self.strips},
            "times": self.times,
            "presence": self.presence or None,
            "attention": self.attention,
            "sources": sources,
        }
        (self.folder / "view.json").write_text(json.dumps(about, separators=(",", ":")), encoding="utf-8")


def _fit(height: int, width: int, side: int, which: Callable[[int, int], int]) -> tuple[int, int]:
    """A size of the same shape with even sides, whose longer or shorter side is `side` at most."""
    scale = min(1.0, side / which(height, width))
    return tuple(max(2, round(n * scale / 2) * 2) for n in (height, width))  # type: ignore[return-value]


def _scale(values: Tensor, size: tuple[int, int]) -> np.ndarray:
    return F.interpolate(values[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0].numpy()


def _labels(masks: Masks, i: int, probability: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if masks.labels is None:
        return probability > masks.threshold
    return F.interpolate(masks.labels[i][None, None], size, mode="nearest")[0, 0].numpy()


def _curve(reader: VideoReader, check: Callable[[], None]) -> dict[str, Any] | None:
    """Peak and root mean square of the sound over time, and the seconds that they span."""
    if not reader.info.has_audio:
        return None
    peak, power = [0.0], [0.0]
    for block in reader.waveform(BLOCK):
        check()
        peak.append(float(np.abs(block).max()))
        power.append(float(np.square(block).mean()))
    columns = min(COLUMNS, len(peak))
    place = np.arange(len(peak)) * columns // len(peak)
    starts = np.searchsorted(place, np.arange(columns))
    peaks = np.maximum.reduceat(peak, starts)
    means = np.sqrt(np.add.reduceat(power, starts) / np.bincount(place, minlength=columns))
    seconds = round((len(peak) - 1) * BLOCK, 3)
    return {"seconds": seconds, "peak": peaks.round(4).tolist(), "rms": means.round(4).tolist()}
