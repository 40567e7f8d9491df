"""The input of all formats: the moments of a video, and the context that they share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from pycocotools import mask as run_lengths

from sonomask.avsbench.palette import palette
from sonomask.errors import MediaError
from sonomask.media.reader import Frame, VideoReader
from sonomask.media.waiting import PictureQueue
from sonomask.outputs.tracks import Region
from sonomask.workspace import atomic_path

__all__ = ["Moment", "OutputContext", "Take", "indexed", "save_jpeg"]

SOUNDING = "sounding"  # the one category of a binary model


@dataclass(frozen=True)
class Moment:
    """A frame's mask on its way into files.

    Attributes:
        index: Number of the mask in the video, from 0.
        time: Seconds on the reader's clock.
        labels: 0 and 1, or class indices.
        probability: 0 to 1.
        presence: Calibrated score; None where the model has none.
        regions: Connected regions with their ids; empty where no format asked for them.
        heard: The names of what is heard with their scores, best first; None of a model that knows no names.
        start: Seconds of the source at which the reader's clock begins.
        picture: Brightness of the frame at the model's size; None where it was not at hand.
    """

    index: int
    time: float
    labels: UInt8[np.ndarray, "H W"]
    probability: Float32[np.ndarray, "H W"]
    presence: float | None = None
    regions: tuple[Region, ...] = ()
    heard: tuple[tuple[str, float], ...] | None = None
    start: float = 0.0
    picture: UInt8[np.ndarray, "_height _width"] | None = None

    @property
    def source_time(self) -> float:
        """Time in seconds from the beginning of the source, as in result files."""
        return self.start + self.time

    @cached_property
    def area(self) -> float:
        """Share of the picture that is masked, 0 to 1."""
        return cv2.countNonZero(self.labels) / max(1, self.labels.size)

    @cached_property
    def runs(self) -> tuple[dict[str, Any], ...]:
        """COCO's compressed run lengths of each region: `size` (height, width) and `counts` as text."""
        return tuple(encode(region.whole(self.labels.shape)) for region in self.regions)

    def scores(self) -> dict[str, Any]:
        """Facts for manifests."""
        row: dict[str, Any] = {
            "time": round(self.source_time, 6),
            "area": self.area,
            "max_probability": float(self.probability.max()),
        }
        if self.heard is not None:
            row["heard"] = dict(self.heard)
        return row if self.presence is None else {**row, "presence": self.presence}


Take: TypeAlias = Callable[[Moment], None]


@dataclass(frozen=True)
class OutputContext:
    """The context that the formats of one video share.

    Attributes:
        reader: Reader of the video; whoever needs its pictures reads it once more.
        name: Name of the video, without suffix.
        facts: Origin of the masks.
        classes: Names of a semantic model's classes, background first.
        things: Names that a model with one mask knows.
        overwrite: Replace what exists.
        labels: Whether pictures show the names of regions.
        waiting: Pictures that were decoded for the model and wait to be drawn, for the one format that draws all of them; None
            for a decoder of its own.
        feather: Pixels over which the edge of videos is soft; by the size of the picture if None.
    """

    reader: VideoReader
    name: str
    facts: Mapping[str, Any]
    classes: Sequence[str] = ()
    things: Sequence[str] = ()
    overwrite: bool = False
    labels: bool = False
    waiting: PictureQueue | None = None
    feather: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.reader.info.height, self.reader.info.width

    def of(self, region: Region) -> tuple[int, str]:
        """Number and name of a region's category: its class, or what it was found to be."""
        if region.name in self.things:
            return self.things.index(region.name) + 1, region.name
        return region.label, self.category(region.label)

    def category(self, label: int) -> str:
        """The name of a class."""
        return self.classes[label] if label < len(self.classes) else str(label) if self.classes else SOUNDING

    def categories(self) -> list[dict[str, Any]]:
        """COCO's list of them."""
        names = list(self.classes[1:]) or list(self.things) or [SOUNDING]
        return [{"id": i, "name": name, "supercategory": SOUNDING} for i, name in enumerate(names, start=1)]

    @contextmanager
    def folder(self, path: Path, marker: str) -> Iterator[Path]:
        """A folder that takes its place when it is whole.

        Raises:
            MediaError: There is one that has no such `marker`, or `overwrite` is not set.
        """
        if self.overwrite and path.exists() and not (path / marker).is_file():
            raise MediaError(f"{path} exists and has no {marker}, so it is not replaced. Give another --out.")
        with atomic_path(path, overwrite=self.overwrite) as fresh:
            fresh.mkdir()
            yield fresh

    def pictures(self, size: tuple[int, int] | None = None) -> Callable[[float], UInt8[np.ndarray, "H W 3"]]:
        """A function from times, in order, to what is on screen."""
        times: deque[float] = deque()
        frames = self.reader.at(iter(times.popleft, None), size=size or self.size)
        last = Frame(0.0, 0, np.zeros((*(size or self.size), 3), np.uint8))

        def picture(time: float) -> UInt8[np.ndarray, "H W 3"]:
            nonlocal last
            times.append(time)
            last = next(frames, last)
            return last.image

        return picture


def encode(mask: np.ndarray) -> dict[str, Any]:
    """A mask's run lengths as COCO compresses them, fit for JSON."""
    runs = run_lengths.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def counts(mask: np.ndarray) -> dict[str, Any]:
    """A mask's run lengths as plain numbers, column by column from a run of zeros: the form of YouTube-VIS's truth."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def indexed(labels: UInt8[np.ndarray, "H W"]) -> Image.Image:
    """A picture that holds numbers, shown in the colours of PASCAL VOC and DAVIS."""
    picture = Image.fromarray(labels)
    picture.putpalette(palette(256).tobytes())
    return picture


def save_jpeg(path: Path, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Nearly lossless."""
    Image.fromarray(image).save(path, quality=95, subsampling=0)
