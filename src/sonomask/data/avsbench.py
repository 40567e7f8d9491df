"""Read AVSBench from disk: S4 (one source), MS3 (several) and AVSS (semantic), anywhere below a root folder.

    S4    <csv: name, start, category, split>   P = split/category
          visual_frames/P/name/name_{1..5}.png   gt_masks/P/name/name_{1..5}.png (train: 1)   audio_*/P/name.{wav,pkl}
    MS3   <csv: name, split>
          visual_frames/name/name.mp4_{1..5}.png gt_masks/split/name/name_{1..5}.png          audio_*/split/name.{wav,pkl}
    AVSS  <csv: … uid, split, label>             label: v1s, v1m (5 frames), v2 (10 frames)
          label/uid/{frames/{0..}.jpg, labels_rgb/{0..}.png, audio.wav}

Source: the data loaders of AVSBench, and what its users report.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from sonomask.audio.logmel import MEL_BANDS, PATCH_FRAMES, fit
from sonomask.avsbench.palette import palette
from sonomask.batches import Clip
from sonomask.data.sound import patches_of
from sonomask.errors import DatasetError
from sonomask.safe_reading.pictures import open_picture
from sonomask.safe_reading.tables import inside, read_rows

__all__ = ["SUBSETS", "AVSBench", "Item", "Sound", "Split", "Subset", "binary_mask", "find", "items", "semantic_mask"]

Split = Literal["train", "val", "test"]
Sound = Literal["auto", "wav", "pkl", "video"]

DEPTH = 5  # levels below the root that are searched for the csv
DATA_FOLDERS = {"visual_frames", "gt_masks", "raw_videos", "audio_wav", "audio_log_mel", "v1s", "v1m", "v2"}


@dataclass(frozen=True)
class Subset:
    """The differences between the settings of AVSBench.

    Attributes:
        name: "s4", "ms3" or "avss".
        table: Name of the csv.
        columns: Columns that are read by position if the csv does not name them.
        seconds: T.
        classes: 1 for a binary mask.
        counts: Counts of the official download, by split.
        marker: A folder that stands beside the data.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    seconds: int
    classes: int
    counts: Mapping[str, int]
    marker: str


SUBSETS: dict[str, Subset] = {
    "s4": Subset(
        "s4", "s4_meta_data.csv", ("name", "start", "category", "split"), 5, 1,
        {"train": 3452, "val": 740, "test": 740}, "visual_frames",
    ),
    "ms3": Subset(
        "ms3", "ms3_meta_data.csv", ("name", "split"), 5, 1, {"train": 296, "val": 64, "test": 64}, "visual_frames",
    ),
    "avss": Subset(
        "avss", "metadata.csv", ("vid", "uid", "a_obj", "split", "label"), 10, 71,
        {"train": 8498, "val": 1304, "test": 1554}, "v2",
    ),
}  # fmt: skip
"""Counts: Source: Zhou et al., "Audio-Visual Segmentation" (ECCV 2022) and "… with Semantics" (2023)."""


@dataclass(frozen=True)
class Item:
    """A row of the csv and where its files lie.

    Attributes:
        base: Folder of the data.
        subset: Subset that the row belongs to.
        name: Name of the clip.
        split: train, val or test.
        category: Category of S4.
        label: Label of AVSS: v1s, v1m or v2.
    """

    base: Path
    subset: Subset = field(repr=False)
    name: str
    split: str
    category: str = ""
    label: str = ""

    @property
    def seconds(self) -> int:
        """Frames that it should have."""
        return 10 if self.label == "v2" else 5

    @property
    def labelled(self) -> int:
        """Number of frames, from the first, that have a mask."""
        single = self.subset.name == "s4" or self.label == "v1s"
        return 1 if single and self.split == "train" else self.seconds

    @property
    def _place(self) -> Path:
        return Path(self.split, self.category) if self.subset.name == "s4" else Path(self.split)

    def frame(self, index: int) -> Path:
        """The picture of a second, from 0."""
        if self.subset.name == "avss":
            return self.base / self.label / self.name / "frames" / f"{index}.jpg"
        if self.subset.name == "ms3":
            return self.base / "visual_frames" / self.name / f"{self.name}.mp4_{index + 1}.png"
        return self.base / "visual_frames" / self._place / self.name / f"{self.name}_{index + 1}.png"

    def mask(self, index: int) -> Path:
        """The mask of a second, from 0."""
        if self.subset.name == "avss":
            return self.base / self.label / self.name / "labels_rgb" / f"{index}.png"
        return self.base / "gt_masks" / self._place / self.name / f"{self.name}_{index + 1}.png"

    def sounds(self) -> dict[str, Path]:
        """Paths at which the sound may be, by kind."""
        if self.subset.name == "avss":
            folder = self.base / self.label / self.name
            return {"wav": folder / "audio.wav", "pkl": folder / "audio.pkl", "video": folder / "video.mp4"}
        place = self._place
        video = Path() if self.subset.name == "ms3" else place
        return {
            "wav": self.base / "audio_wav" / place / f"{self.name}.wav",
            "pkl": self.base / "audio_log_mel" / place / f"{self.name}.pkl",
            "video": self.base / "raw_videos" / video / f"{self.name}.mp4",
        }

    def sound(self, kind: Sound = "auto") -> Path | None:
        """The file of its sound, of that kind or of the first that exists."""
        places = self.sounds()
        return next((path for name, path in places.items() if kind in ("auto", name) and path.is_file()), None)

    def within(self, path: Path) -> Path:
        """A file of the clip, if no link leads it out of its data folder (which may be a link itself).

        Raises:
            DatasetError: One does.
        """
        place = path.relative_to(self.base)
        return inside(self.base / place.parts[0], Path(*place.parts[1:]))

    def missing(self, sound: Sound = "auto") -> list[Path]:
        """Files that it should have and has not."""
        wanted = [self.frame(i) for i in range(self.seconds)] + [self.mask(i) for i in range(self.labelled)]
        gone = [path for path in wanted if not path.is_file()]
        if self.sound(sound) is None:
            gone.append(self.sounds()["wav" if sound == "auto" else sound])
        return gone


def find(root: str | Path, subset: str) -> tuple[Path, Path]:
    """The csv and the data folder of a subset, somewhere under a root.

    Raises:
        DatasetError: There is none, or more than one.
        ValueError: The subset is no such.
    """
    if subset not in SUBSETS:
        raise ValueError(f"`subset`: expected one of {', '.join(SUBSETS)}, got {subset!r}.")
    root, what = Path(root), SUBSETS[subset]
    if not root.is_dir():
        raise DatasetError(f"{root}: expected the folder of AVSBench, there is none. Give the one you unpacked.")
    tables = [folder / what.table for folder in _folders(root) if (folder / what.table).is_file()]
    if len(tables) != 1:
        several = ", ".join(str(t) for t in tables)
        raise DatasetError(
            f"{root}: expected one {what.table} down to {DEPTH} levels below, found {several or 'none'}. "
            "Give the folder that holds the one you mean."
        )
    near = [tables[0].parent, *sorted(p for p in tables[0].parent.iterdir() if p.is_dir())]
    bases = [p for p in near if (p / what.marker).is_dir() or (subset == "avss" and (p / "v1s").is_dir())]
    if not bases:
        raise DatasetError(
            f"{tables[0]}: expected a folder {what.marker} beside it or one level below. Unpack the data there."
        )
    return tables[0], bases[0]


def _folders(root: Path) -> Iterator[Path]:
    for folder, inner, _ in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        inner[:] = sorted(n for n in inner if n not in DATA_FOLDERS and not n.startswith(".")) if depth < DEPTH else []
        yield Path(folder)


def items(root: str | Path, subset: str) -> list[Item]:
    """Every row of a subset's csv.

    Columns are taken by name where the csv has those, by AVSBench's positions where not.

    Raises:
        DatasetError: The tree or its csv is not as it must be.
    """
    table, base = find(root, subset)
    what = SUBSETS[subset]
    rows = read_rows(table)
    head = [cell.strip() for cell in rows[0]] if rows else []
    places = {name: head.index(name) if name in head else i for i, name in enumerate(what.columns)}
    found = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        if len(row) <= max(places.values()):
            raise DatasetError(f"{table}, line {number}: expected columns {', '.join(what.columns)}, got {row}.")
        cells = {name: row[place].strip() for name, place in places.items()}
        name = cells["uid"] if subset == "avss" else cells["name"]
        used = (name, cells["split"], cells.get("category", ""), cells.get("label", ""))
        if any(part in (".", "..") or "/" in part or "\\" in part or "\0" in part for part in used) or not name:
            raise DatasetError(f"{table}, line {number}: {row} holds a name that could leave the folder. Correct it.")
        found.append(Item(base, what, *used))
    return found


class AVSBench(Dataset[Clip]):
    """Clips of a subset and split.

    S4 and MS3 frames are brought to `size` without regard to their aspect, as the reference stores them. Those of AVSS
    are too, but in training the shorter side is brought to `size` and the centre is cut out.

    Args:
        root: A folder somewhere above the subset's csv.
        subset: "s4", "ms3" or "avss".
        split: train, val or test.
        size: Height and width.
        truth_size: Size of the masks; `size` if None.
        sound: Source of the sound; "auto" takes wav, then the official `.pkl`, then the raw video.
        skip_missing: Leave out clips that lack files instead of refusing the data set.
        mean: Per RGB channel, subtracted from images in 0..1.
        std: Per RGB channel, divides the difference.

    Raises:
        DatasetError: The tree is not as it must be.
    """

    def __init__(
        self,
        root: str | Path,
        subset: Literal["s4", "ms3", "avss"],
        split: Split = "train",
        *,
        size: tuple[int, int] = (224, 224),
        truth_size: tuple[int, int] | None = None,
        sound: Sound = "auto",
        skip_missing: bool = False,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
    ) -> None:
        rows = [item for item in items(root, subset) if item.split == split]
        whole = [item for item in rows if not item.missing(sound)]
        if len(whole) < len(rows) and not skip_missing:
            gone = [path for item in rows for path in item.missing(sound)]
            raise DatasetError(
                f"{root}: {len(rows) - len(whole)} of {len(rows)} clips of {subset}/{split} lack files, the first is "
                f"{gone[0]}. List all with `sonomask doctor {root}`, or set skip_missing."
            )
        if not whole:
            raise DatasetError(f"{root}: {subset}/{split} has no clip. Check it with `sonomask doctor {root}`.")
        self.items, self.subset, self.split, self.size, self.sound = whole, SUBSETS[subset], split, size, sound
        self.truth_size = truth_size or size
        self.skipped = len(rows) - len(whole)
        self._mean, self._std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def __len__(self) -> int:
        return len(self.items)

    def stamp(self) -> str:
        """Digits that change when a clip, or the size or time of one of its files, does."""
        told = hashlib.sha256(repr((self.subset.name, self.split, self.size, self.truth_size, self.sound)).encode())
        for item in self.items:
            sound = item.sound(self.sound)
            files = [item.frame(i) for i in range(item.seconds)] + [item.mask(i) for i in range(item.labelled)]
            told.update(repr((item.name, item.category)).encode())
            for path in (*files, *([] if sound is None else [sound])):
                about = path.stat()
                told.update(f"{path} {about.st_size} {about.st_mtime_ns}".encode())
        return told.hexdigest()[:16]

    def nbytes(self) -> int:
        """Size of its cache (`cache.write_cache`)."""
        height, width = self.size
        frame = 3 * height * width + self.truth_size[0] * self.truth_size[1] + 4 * PATCH_FRAMES * MEL_BANDS
        return len(self) * self.subset.seconds * frame

    def __getitem__(self, index: int) -> Clip:
        item, total = self.items[index], self.subset.seconds
        crop = self.subset.name == "avss" and self.split == "train"
        images = torch.zeros(total, 3, *self.size)
        masks = torch.zeros(total, *self.truth_size, dtype=torch.long)
        labelled, valid = torch.zeros(total, dtype=torch.bool), torch.zeros(total, dtype=torch.bool)
        for i in range(item.seconds):
            picture = _resize(
                open_picture(item.within(item.frame(i)), "RGB"), self.size, Image.Resampling.BILINEAR, crop=crop
            )
            images[i] = (torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) / 255 - self._mean) / self._std
            valid[i] = True
        for i in range(item.labelled):
            drawn = open_picture(item.within(item.mask(i)))
            labels = semantic_mask(drawn) if self.subset.classes > 1 else binary_mask(drawn)
            picture = _resize(Image.fromarray(labels), self.truth_size, Image.Resampling.NEAREST, crop=crop)
            masks[i] = torch.from_numpy(np.asarray(picture).astype(np.int64))
            labelled[i] = True
        return Clip(images, self._logmel(item), masks, labelled, valid, item.name, item.category)

    def _logmel(self, item: Item) -> Float32[Tensor, "T 1 96 64"]:
        path = item.sound(self.sound)
        if path is None:
            raise DatasetError(f"{item.name}: its sound is gone since the data set was opened. Restore it.")
        return fit(
            patches_of(item.within(path)), self.subset.seconds, "zeros" if self.subset.name == "avss" else "repeat"
        )


def _resize(picture: Image.Image, size: tuple[int, int], how: Image.Resampling, *, crop: bool) -> Image.Image:
    """To (height, width): squashed, or by the shorter side and then cut at the centre."""
    height, width = size
    if not crop:
        return picture if picture.size == (width, height) else picture.resize((width, height), how)
    scale = max(width / picture.width, height / picture.height)
    wide, high = max(width, int(picture.width * scale)), max(height, int(picture.height * scale))
    left, top = round((wide - width) / 2), round((high - height) / 2)
    return picture.resize((wide, high), how).crop((left, top, left + width, top + height))


def binary_mask(picture: Image.Image) -> np.ndarray:
    """A mask file of any mode as uint8 (H, W): 1 where the mask is set.

    The reference reads S4's masks in mode "1" and MS3's in mode "P", which agree for black-and-white pictures only; here
    white counts in every mode: bright greys, palette indices above 0, and 1 where nothing is greater.
    """
    if picture.mode == "P":
        return (np.asarray(picture) > 0).astype(np.uint8)
    values = np.asarray(picture.convert("L") if picture.mode != "1" else picture)
    return (values > (0 if values.max() <= 1 else 127)).astype(np.uint8)


@cache
def _codes() -> tuple[np.ndarray, np.ndarray]:
    colours = palette(71).astype(np.int64)
    codes = colours[:, 0] << 16 | colours[:, 1] << 8 | colours[:, 2]
    order = np.argsort(codes)
    return codes[order], order


def semantic_mask(picture: Image.Image) -> np.ndarray:
    """(H, W) uint8 class indices of a picture in AVSBench's 71 colours; an unknown colour is background."""
    colours = np.asarray(picture.convert("RGB")).astype(np.int64)
    wanted = colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]
    codes, order = _codes()
    place: Int64[np.ndarray, "H W"] = np.searchsorted(codes, wanted).clip(max=len(codes) - 1)
    return np.where(codes[place] == wanted, order[place], 0).astype(np.uint8)
