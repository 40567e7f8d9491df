"""Pictures with masks and recordings with categories: what composed scenes are made of.

Two tables, whose paths are relative to them:

    images.csv   image, mask, category, group[, set]      a mask marks the object(s) of its category; empty: a background
    sounds.csv   sound, category, group[, source]

A *group* is whatever must not be torn apart by the splits: a sequence, a breed, one car, the cuts of one recording.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from sonomask.audio.logmel import SAMPLE_RATE
from sonomask.data.sound import read_wav
from sonomask.errors import DatasetError
from sonomask.safe_reading.pictures import open_picture
from sonomask.safe_reading.tables import read_table

__all__ = ["MATCHES", "Library", "LibraryPicture", "Recording", "inside", "read_picture", "read_recording"]

Split = Literal["train", "val", "test"]

MATCHES: dict[str, tuple[str, ...]] = {
    "person": ("speech", "laughing", "coughing", "sneezing", "clapping", "crying_baby", "footsteps", "snoring"),
    "dog": ("dog",),
    "cat": ("cat",),
    "bird": ("bird", "chirping_birds", "crow", "hen", "rooster"),
    "cow": ("cow",),
    "car": ("car", "engine", "car_horn"),
    "bus": ("engine",),
    "motorcycle": ("engine",),
    "train": ("train", "tram"),
}
"""Visible category to the categories of sound that it makes. One that is not here makes the sound of its own name."""

SIDE = 320  # pixels; larger pictures are reduced when read, scenes are small
LONGEST_SILENCE = 0.25  # seconds of a pause that stay in a recording
QUIET = 0.03  # of the loudest tenth of a second: below it counts as a pause


@dataclass(frozen=True)
class LibraryPicture:
    """A picture; `mask` is None for a background."""

    image: Path
    mask: Path | None
    category: str
    group: str


@dataclass(frozen=True)
class Recording:
    """A sound of one category."""

    sound: Path
    category: str
    group: str


Item = TypeVar("Item", LibraryPicture, Recording)


@dataclass(frozen=True)
class Library:
    """The pictures and sounds that scenes are composed of.

    Attributes:
        pictures: Pictures with a mask, in the order of the table.
        backgrounds: Without.
        recordings: Recordings of every category.
        matches: Visible category to its sounds.
    """

    pictures: tuple[LibraryPicture, ...]
    backgrounds: tuple[LibraryPicture, ...]
    recordings: tuple[Recording, ...]
    matches: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(
        cls, images: str | Path, sounds: str | Path, matches: Mapping[str, Sequence[str]] | None = None
    ) -> Library:
        """Read the two tables.

        Args:
            images: `images.csv`.
            sounds: `sounds.csv`.
            matches: Replaces or adds to `MATCHES`.

        Raises:
            DatasetError: A table lacks a column, names a file that is not there or lies outside of its folder, or holds
                nothing to compose.
        """
        every = [
            LibraryPicture(inside(images, row["image"]), inside(images, row["mask"]) if row["mask"] else None, row["category"],
                    f"{row.get('set') or ''}/{row['group']}")
            for row in read_table(images, ("image", "mask", "category", "group"))
        ]  # fmt: skip
        heard = [
            Recording(inside(sounds, row["sound"]), row["category"], f"{row.get('source') or ''}/{row['group']}")
            for row in read_table(sounds, ("sound", "category", "group"))
        ]
        known = {r.category for r in heard}
        wanted = {**MATCHES, **{k: tuple(v) for k, v in (matches or {}).items()}}
        pictures = tuple(p for p in every if p.mask is not None)
        found = {c: tuple(s for s in wanted.get(c, (c,)) if s in known) for c in sorted({p.category for p in pictures})}
        if not any(found.values()):
            raise DatasetError(
                f"{images} and {sounds}: no category of a picture has a sound. Name them alike, or give `matches`."
            )
        return cls(pictures, tuple(p for p in every if p.mask is None), tuple(heard), found)

    @property
    def categories(self) -> tuple[str, ...]:
        """Visible categories in alphabetical order; class k is the one before k, 0 the background."""
        return tuple(sorted(self.matches))

    def split(self, name: Split) -> Library:
        """The part of a split: of each set of groups about 65 % for training, 15 % for validation, 20 % for the test.

        Groups of a set stand in an order drawn from their names, so that it depends on nothing else.
        """
        return Library(
            _part(self.pictures, name), _part(self.backgrounds, name), _part(self.recordings, name), self.matches
        )


def _part(items: Sequence[Item], split: Split) -> tuple[Item, ...]:
    sets: dict[str, set[str]] = {}
    for item in items:
        sets.setdefault(item.group.split("/")[0], set()).add(item.group)
    place: dict[str, Split] = {}
    for groups in sets.values():
        order = sorted(groups, key=lambda g: (zlib.crc32(g.encode()), g))
        for rank, group in enumerate(order):
            share = (rank + 0.5) / len(order)
            place[group] = "train" if share <= 0.65 else "val" if share <= 0.8 else "test"
    return tuple(item for item in items if place[item.group] == split)


def inside(table: str | Path, name: str) -> Path:
    """The file that a table names, which must lie in the table's folder or below.

    Raises:
        DatasetError: It does not, or is not there.
    """
    root = Path(table).resolve().parent
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise DatasetError(f"{table}: {name} lies outside of the table's folder. Keep files below it.")
    if not path.is_file():
        raise DatasetError(f"{table}: {name}: no such file.")
    return path


@lru_cache(maxsize=4096)
def read_picture(picture: LibraryPicture) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
    """RGB, and the mask, 255 on the object (0 everywhere for a background); sides of 320 pixels at most.

    Raises:
        DatasetError: A file is no picture, or the two have different shapes (their aspects differ by over 2 %).
    """
    image = open_picture(picture.image, "RGB")
    mask = Image.new("L", image.size)
    if picture.mask is not None:
        mask = open_picture(picture.mask, "L").point(lambda v: 255 * (v > 0))
    if abs(mask.width * image.height / (mask.height * image.width) - 1) > 0.02:
        raise DatasetError(f"{picture.mask}: a mask of {mask.size} for a picture of {image.size}.")
    factor = min(1.0, SIDE / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    small, cover = image.resize(size, Image.Resampling.BOX), mask.resize(size, Image.Resampling.NEAREST)
    return np.asarray(small), np.asarray(cover)


@lru_cache(maxsize=4096)
def read_recording(recording: Recording) -> Float32[np.ndarray, " S"]:
    """16 kHz without its longer pauses, so that it can be heard at any moment; root mean square 1.

    Raises:
        DatasetError: It can't be read or is silent.
    """
    track = read_wav(recording.sound)
    step = SAMPLE_RATE // 20
    count = len(track) // step
    loud = np.sqrt(np.square(track[: count * step].reshape(count, step)).mean(1)) if count else np.zeros(0)
    if not count or loud.max() < 1e-4:
        raise DatasetError(f"{recording.sound}: is silent. Take it out of the table.")
    active = loud > QUIET * loud.max()
    since = np.zeros(count, dtype=int)  # steps since it was last heard
    for i in range(count):
        since[i] = 0 if active[i] else (since[i - 1] + 1 if i else count)
    kept = track[: count * step].reshape(count, step)[since <= LONGEST_SILENCE * 20].ravel()
    return np.asarray(kept / np.sqrt(np.square(kept).mean()), dtype=np.float32)
