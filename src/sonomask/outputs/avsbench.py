"""AVSBench's own layout, so that these masks can be viewed, scored and trained on like the data set's.

A video is split into clips of five seconds. For each second, the mask nearest to AVSBench's moment (15/16 through it) is
written with its picture, both stretched to 224×224.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sonomask.avsbench.palette import palette
from sonomask.errors import MediaError
from sonomask.media.reader import SAMPLE_RATE
from sonomask.media.skipping import LATE
from sonomask.media.writer import write_wav
from sonomask.outputs.formats import FORMATS
from sonomask.outputs.moment import Moment, OutputContext, Take, save_jpeg
from sonomask.schemas import schema

__all__ = ["write_avsbench"]

SECONDS = 5
SIDE = 224
SPLIT = "test"  # as of anybody's own videos; rename the folder and the table's column to train on them


@contextmanager
def write_avsbench(path: Path, context: OutputContext) -> Iterator[Take]:
    """A tree that `sonomask evaluate` and `AVSBench` read: MS3's for a binary model, AVSS's for one of 71 classes.

    Seconds that make no whole clip are left out, and the reader's warnings say so.

    Raises:
        MediaError: The video is shorter than a clip, or has no sound.
    """
    info = context.reader.info
    if not info.has_audio or (info.duration is not None and info.duration < SECONDS - 0.5):
        raise MediaError(
            f"{info.source}: AVSBench's clips are {SECONDS} s with sound, this video is not. Leave out the format avsbench."
        )
    with context.folder(path, FORMATS["avsbench"].marker) as fresh:
        tree = _Tree(fresh, context)
        yield tree.take
        tree.finish()
        (fresh / FORMATS["avsbench"].marker).write_text(
            json.dumps({"schema": schema("avsbench"), **context.facts}) + "\n", encoding="utf-8"
        )


@dataclass
class _Second:
    """Values kept of a second."""

    distance: float
    image: np.ndarray
    labels: np.ndarray


@dataclass
class _Tree:
    """Gathers five seconds, then writes them."""

    root: Path
    context: OutputContext
    seconds: dict[int, _Second] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=list)
    first: int = 0
    lost: int = 0

    def __post_init__(self) -> None:
        self.picture = self.context.pictures((SIDE, SIDE))
        self.sound = self.context.reader.waveform(float(SECONDS))
        (self.root / ("Multi-sources/ms3_data" if not self.context.classes else "AVSBench_semantic")).mkdir(
            parents=True
        )

    def take(self, moment: Moment) -> None:
        second = int(moment.time)
        while second >= self.first + SECONDS:
            self._flush()
        distance = abs(moment.time - second - LATE)
        kept = self.seconds.get(second)
        image = self.picture(moment.time)
        if kept is None or distance < kept.distance:
            small = Image.fromarray(moment.labels).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            self.seconds[second] = _Second(distance, image, np.asarray(small))

    def finish(self) -> None:
        self._flush()
        if self.lost:
            self.context.reader.warnings.append(
                f"{self.root.name}: {self.lost} s that make no whole clip are left out."
            )
        semantic = bool(self.context.classes)
        table = self.root / ("AVSBench_semantic/metadata.csv" if semantic else "Multi-sources/ms3_meta_data.csv")
        with table.open("w", newline="", encoding="utf-8") as file:
            head = ["vid", "uid", "a_obj", "split", "label"] if semantic else ["name", "split"]
            csv.writer(file).writerows([head, *self.rows])
        for name in ("v1s", "v1m", "v2") if semantic else ("visual_frames",):
            (table.parent / ("" if semantic else "ms3_data") / name).mkdir(exist_ok=True)

    def _flush(self) -> None:
        name = f"{self.context.name}_{self.first:05d}"
        sound = next(self.sound, np.zeros(0, np.float32))
        if len(self.seconds) == SECONDS:
            kept = [self.seconds[second] for second in sorted(self.seconds)]
            sound = np.pad(sound, (0, max(0, SECONDS * SAMPLE_RATE - len(sound))))
            (_write_avss if self.context.classes else _write_ms3)(self.root, name, kept, sound)
            self.rows.append(self._row(name, kept))
        else:
            self.lost += len(self.seconds)
        self.seconds.clear()
        self.first += SECONDS

    def _row(self, name: str, kept: list[_Second]) -> list[str]:
        if not self.context.classes:
            return [name, SPLIT]
        found = np.unique(np.stack([second.labels for second in kept]))
        heard = "_".join(self.context.category(int(label)) for label in found if label)
        return [name, name, heard, SPLIT, "v1m"]


def _write_ms3(root: Path, name: str, kept: list[_Second], sound: np.ndarray) -> None:
    base = root / "Multi-sources" / "ms3_data"
    frames, masks = base / "visual_frames" / name, base / "gt_masks" / SPLIT / name
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    for i, second in enumerate(kept, start=1):
        Image.fromarray(second.image).save(frames / f"{name}.mp4_{i}.png")
        Image.fromarray(second.labels * 255).save(masks / f"{name}_{i}.png")
    write_wav(base / "audio_wav" / SPLIT / f"{name}.wav", sound)


def _write_avss(root: Path, name: str, kept: list[_Second], sound: np.ndarray) -> None:
    folder: Any = root / "AVSBench_semantic" / "v1m" / name
    for part in ("frames", "labels_rgb"):
        (folder / part).mkdir(parents=True)
    colours = palette(256)
    for i, second in enumerate(kept):
        save_jpeg(folder / "frames" / f"{i}.jpg", second.image)
        Image.fromarray(colours[second.labels]).save(folder / "labels_rgb" / f"{i}.png")
    write_wav(folder / "audio.wav", sound)
