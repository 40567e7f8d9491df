"""The player's data: a copy of the video for browsers, small maps for each mask, and curves over time.

The maps are PNG strips, `ROWS` frames below one another, whose channels are

    red    the track's number, 0 where nothing sounds, 255 for all beyond 254
    green  the probability
    blue   the attention map, where the model has one

so that the browser can switch views and hide sources without further requests. `view.json` says which tracks form one source
(`sonomask.server.sources`).
"""

from __future__ import annotations

import io
import json
import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sonomask.media.reader import Frame, VideoReader
from sonomask.media.writer import VideoWriter
from sonomask.outputs.naming import RegionNamer
from sonomask.outputs.tracks import Tracker
from sonomask.schemas import schema
from sonomask.server.sources import Sources
from sonomask.structures import Masks
from sonomask.visualise.style import COLOURS

__all__ = ["write_view"]

MAP = 320  # pixels of the longer side of a map
PICTURE = 720  # of the shorter side of the copy
ROWS = 25  # maps in a strip
RATE = 12.0  # maps a second at most; the eye wants no more, and a phone must load them
BLOCK = 0.02  # seconds of a column of the waveform
COLUMNS = 1200
MANY = 255  # the number that all later tracks share
MEMORY = 60.0  # seconds: what falls silent and sounds again at its place keeps its colour
LEVELS = 8  # step of the probability's grey values: fewer compress better
HEARD = 3  # names of what is heard at a moment
GLANCE = 0.7  # seconds between two previews


@contextmanager
def write_view(
    folder: Path,
    reader: VideoReader,
    *,
    classes: tuple[str, ...] = (),
    threshold: float = 0.5,
    check: Callable[[], None] = lambda: None,
    glance: Callable[[bytes], None] | None = None,
) -> Iterator[Callable[[Masks], None]]:
    """Takes `Masks` in order; at a clean exit `folder` has `view.json`, `preview.mp4` and the strips.

    Args:
        folder: Folder to make.
        reader: Reader of the video.
        classes: Classes of a semantic model.
        threshold: Threshold of the masks, for the legend of the heat map.
        check: Function called often; may raise to end.
        glance: Function called now and then with a JPEG of the newest picture with its masks.
    """
    folder.mkdir()
    info = reader.info
    height, width = _fit(info.height, info.width, MAP, max)
    view = _View(folder, (height, width), classes)
    size = _fit(info.height, info.width, PICTURE, min)
    with VideoWriter(
        folder / "preview.mp4", size=size, rate=info.fps, audio_from=reader, colours=info.colours
    ) as video:
        frames = reader.frames("native", size=size, again=True)
        pending = next(frames, None)

        def copy_until(time: float) -> Frame | None:
            nonlocal pending
            while pending is not None and pending.time < time:
                check()
                video.write(pending.image, pending.time)
                view.end = max(view.end, pending.gone)
                pending = next(frames, None)
            return pending

        shown = clock.monotonic()

        def write(masks: Masks) -> None:
            nonlocal shown
            view.add(masks)
            frame = copy_until(masks.times[-1])
            if glance is not None and frame is not None and clock.monotonic() >= shown + GLANCE:
                shown = clock.monotonic()
                glance(view.glance(frame.image))

        yield write
        copy_until(float("inf"))
    facts = {
        "width": size[1],
        "height": size[0],
        "fps": round(float(info.fps), 4),
        "threshold": threshold,
        "start": info.start,
        "sound": _curve(reader, check),
    }
    view.finish(facts)


class _View:
    """Gathers maps into strips and regions into sources."""

    def __init__(self, folder: Path, size: tuple[int, int], classes: tuple[str, ...]) -> None:
        self.folder, self.size, self.classes = folder, size, classes
        self.tracker, self.sources, self.namer = Tracker(memory=MEMORY), Sources(size), RegionNamer()
        self.rows: list[UInt8[np.ndarray, "h w 3"]] = []
        self.latest: UInt8[np.ndarray, "h w 3"] | None = None
        self.strips, self.end = 0, 0.0
        self.times: list[float] = []
        self.presence: list[float] = []
        self.heard: list[list[str]] = []
        self.attention = False

    def add(self, masks: Masks) -> None:
        for i, time in enumerate(masks.times):
            if self.times and time < self.times[-1] + 1 / RATE - 1e-3:
                continue
            self.times.append(round(time, 4))
            if masks.presence is not None:
                self.presence.append(round(masks.presence[i], 4))
            if masks.names is not None:
                self.heard.append([name for name, _ in masks.names[i].heard[:HEARD]])
            self.latest = self._map(masks, i, time)
            self.rows.append(self.latest)
            if len(self.rows) == ROWS:
                self._flush()

    def _map(self, masks: Masks, i: int, time: float) -> np.ndarray:
        probability = _scale(masks.probability[i], self.size)
        labels = _labels(masks, i, probability, self.size)
        picture = np.zeros((*self.size, 3), np.uint8)
        small = None if masks.colours is None else masks.colours[i]
        ids = None if masks.ids is None else cv2.resize(masks.ids[i], self.size[::-1], interpolation=cv2.INTER_NEAREST)
        regions = self.tracker.update(time, labels, probability, small, ids)
        if masks.names is not None:
            seen = cv2.resize(masks.names[i].seen, self.size[::-1], interpolation=cv2.INTER_NEAREST)
            regions = self.namer(time, regions, masks.names[i], seen)
        for region in regions:
            number = min(region.id, MANY)
            picture[region.view][region.mask, 0] = number
            share = region.area / labels.size
            self.sources.add(
                len(self.times) - 1, number, region.label, region.mask, region.box[:2], share, region.name, region.sound
            )
        picture[..., 1] = np.minimum(255, np.round(probability * 255 / LEVELS) * LEVELS)
        if masks.attention is not None:
            self.attention = True
            picture[..., 2] = np.round(_scale(masks.attention[i], self.size) * 255 / LEVELS).clip(max=31) * LEVELS
        return picture

    def glance(self, image: UInt8[np.ndarray, "H W 3"]) -> bytes:
        """A JPEG of a picture with the newest masks on it."""
        small = np.asarray(Image.fromarray(image).resize(self.size[::-1], Image.Resampling.BILINEAR), np.float32)
        numbers = np.zeros(self.size, np.uint8) if self.latest is None else self.latest[..., 0]
        colour = COLOURS[(numbers.astype(int) - 1) % len(COLOURS)]
        blended = np.where(numbers[..., None] > 0, 0.55 * small + 0.45 * colour, 0.6 * small)
        store = io.BytesIO()
        Image.fromarray(blended.astype(np.uint8)).save(store, "JPEG", quality=80)
        return store.getvalue()

    def _flush(self) -> None:
        if self.rows:
            Image.fromarray(np.concatenate(self.rows)).save(self.folder / f"maps{self.strips}.png")
            self.strips, self.rows = self.strips + 1, []

    def finish(self, facts: dict[str, Any]) -> None:
        self._flush()
        end = round(max(self.end, *self.times, 0.0), 3) if self.times else self.end
        about = {
            "schema": schema("view"),
            **facts,
            "duration": end,
            "map": {"width": self.size[1], "height": self.size[0], "rows": ROWS, "strips": self.strips},
            "times": self.times,
            "presence": self.presence or None,
            "heard": self.heard or None,
            "attention": self.attention,
            "sources": self.sources.describe(self.times, end, self.classes),
        }
        (self.folder / "view.json").write_text(json.dumps(about, separators=(",", ":")), encoding="utf-8")


def _fit(height: int, width: int, side: int, which: Callable[[int, int], int]) -> tuple[int, int]:
    """A size of the same shape with even sides, whose longer or shorter side is `side` at most."""
    scale = min(1.0, side / which(height, width))
    return tuple(max(2, round(n * scale / 2) * 2) for n in (height, width))  # type: ignore[return-value]


def _scale(values: Any, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(np.asarray(values, np.float32))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def _labels(masks: Masks, i: int, probability: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if masks.labels is None:
        return probability > masks.threshold
    picture = Image.fromarray(np.asarray(masks.labels[i], np.uint8))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.NEAREST))


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
