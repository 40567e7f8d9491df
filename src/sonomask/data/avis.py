"""AVISeg: videos in which each sounding thing has a mask, a category and an identity.

Source: Guo et al., "Audio-visual instance segmentation", CVPR 2025; the layout as the reader of ACVIS (MIT) takes it. Below the
root lie `train.json`, `val.json` and `test.json` in the form of YouTube-VIS, and for each split
`SPLIT/JPEGImages/VIDEO/*.jpg`, one a second, and `SPLIT/WAVAudios/VIDEO.wav`. A mask is there only while its thing sounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pycocotools import mask as run_lengths

from sonomask.media.writer import write_wav
from sonomask.metrics.instances import InstanceTrack
from sonomask.safe_reading.shapes import decode_shape
from sonomask.safe_reading.tables import inside

__all__ = ["AVIS_CATEGORIES", "AVISVideo", "AVISeg", "avis_category", "read_results", "write_avis", "write_results"]

Split = Literal["train", "val", "test"]

AVIS_CATEGORIES = (
    "person", "violin", "guitar", "cello", "flute", "piano", "ukulele", "accordion", "guzheng", "clarinet", "cat", "car",
    "saxophone", "dog", "lawn_mover", "tuba", "banjo", "pipa", "bassoon", "airplane", "tree_harvester", "trumpet", "lion",
    "bass", "erhu", "horse",
)  # fmt: skip
"""The data set's 26 names, spelt as there; their numbers begin with 1."""

BY_SOUND = {
    "ukulele": "ukulele", "cello": "cello", "double bass": "bass", "lawn mower": "lawn_mover", "chainsaw": "tree_harvester",
}  # fmt: skip
BY_THING = {"big_cat": "lion", "bus": "car", "motorcycle": "car"}
LARGEST = 2**30  # bytes of a file of annotations
MOST_PIXELS = 2**25  # of a picture
MOST_FRAMES = 100_000


@dataclass(frozen=True)
class AVISVideo:
    """A video of the data set.

    Attributes:
        number: Its `id` in the file of annotations.
        name: Name of its folder.
        size: Height and width.
        frames: Its pictures, one a second.
        sound: Its wav file.
    """

    number: int
    name: str
    size: tuple[int, int]
    frames: tuple[Path, ...]
    sound: Path


class AVISeg(Sequence[AVISVideo]):
    """The videos of a split, in the order of its file.

    Args:
        root: Folder with `SPLIT.json` in it.
        split: "train", "val" or "test".

    Attributes:
        categories: Name of each category by its number.
        tracks: Sounding instances in all of the videos.

    Raises:
        ValueError: The file is not in that form; the message says where.
        OSError: It can't be read.
    """

    def __init__(self, root: str | Path, split: Split) -> None:
        self.root, self.split = Path(root), split
        file = self.root / f"{split}.json"
        table = _read(file)
        if not isinstance(table, dict):
            raise ValueError(f"{file}: expected a table with videos, categories and annotations.")  # noqa: TRY004 - of a file
        self.categories = {_number(row, "id", file): str(row.get("name")) for row in _rows(table, "categories", file)}
        self.videos = tuple(self._video(row, file) for row in _rows(table, "videos", file))
        sizes = {video.number: (video.size, len(video.frames)) for video in self.videos}
        self.tracks = tuple(_track(row, sizes, file, 1.0) for row in _rows(table, "annotations", file))

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> AVISVideo:  # type: ignore[override]
        return self.videos[index]

    def _video(self, row: Mapping[str, Any], file: Path) -> AVISVideo:
        names = row.get("file_names")
        size = _number(row, "height", file), _number(row, "width", file)
        if not isinstance(names, list) or not 0 < len(names) <= MOST_FRAMES or not 0 < size[0] * size[1] <= MOST_PIXELS:
            raise ValueError(f"{file}: video {row.get('id')}: expected 1 to {MOST_FRAMES} `file_names` and a size.")
        parts = [Path(str(name)) for name in names]
        if any(part.is_absolute() or ".." in part.parts or len(part.parts) != 2 for part in parts):
            raise ValueError(f"{file}: video {row.get('id')}: expected `file_names` of the form VIDEO/FRAME.jpg.")
        folder, name = self.root / self.split, parts[0].parts[0]
        frames = tuple(inside(self.root, folder / "JPEGImages" / part) for part in parts)
        sound = inside(self.root, folder / "WAVAudios" / f"{name}.wav")
        return AVISVideo(_number(row, "id", file), name, size, frames, sound)


def read_results(file: str | Path, truth: AVISeg) -> list[InstanceTrack]:
    """Read a system's results: a list of `video_id`, `category_id`, `score`, `segmentations` (run lengths or null per frame).

    Raises:
        ValueError: The file is not in that form, or of other videos.
        OSError: It can't be read.
    """
    rows = _read(Path(file))
    if not isinstance(rows, list):
        raise ValueError(f"{file}: expected a list of tracks.")  # noqa: TRY004 - of a file
    sizes = {video.number: (video.size, len(video.frames)) for video in truth.videos}
    found = []
    for row in rows:
        score = row.get("score") if isinstance(row, dict) else None
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise ValueError(f"{file}: expected tracks with a `score`, got {str(row)[:80]}.")  # noqa: TRY004 - of a file
        found.append(_track(row, sizes, Path(file), float(score)))
    return found


def write_results(file: str | Path, tracks: Sequence[InstanceTrack]) -> None:
    """Write tracks in the form that `read_results` and the data set's own evaluation take; null where nothing is marked."""
    rows = [
        {
            "video_id": track.video, "category_id": track.category, "score": track.score,
            "segmentations": [None if m is None else {**m, "counts": m["counts"].decode()} for m in track.masks],
        }
        for track in tracks
    ]  # fmt: skip
    Path(file).write_text(json.dumps(rows) + "\n", encoding="utf-8")


def avis_category(thing: str, sound: str) -> int | None:
    """The data set's number for a thing of the built-in model that makes a sound; None where it has none."""
    for word, name in BY_SOUND.items():
        if word in sound.lower():
            return AVIS_CATEGORIES.index(name) + 1
    name = BY_THING.get(thing, thing)
    return AVIS_CATEGORIES.index(name) + 1 if name in AVIS_CATEGORIES else None


def write_avis(
    root: str | Path,
    split: Split,
    videos: Mapping[str, tuple[Sequence[UInt8[np.ndarray, "H W 3"]], np.ndarray]],
    tracks: Mapping[str, Sequence[tuple[int, Sequence[np.ndarray | None]]]],
    categories: Sequence[str] = AVIS_CATEGORIES,
) -> Path:
    """Write a split in the data set's layout; gives its file of annotations.

    Args:
        root: Folder to write into.
        split: Name of the split.
        videos: Videos by name, the pictures of each second, and the sound, 16 kHz mono.
        tracks: Tracks by name, category number and the mask of each second, None where it is silent.
        categories: Names, from number 1 on.
    """
    folder = Path(root) / split
    rows: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (folder / "WAVAudios").mkdir(parents=True, exist_ok=True)
    for number, (name, (pictures, sound)) in enumerate(videos.items(), start=1):
        (folder / "JPEGImages" / name).mkdir(parents=True, exist_ok=True)
        files = [f"{name}/{index:05d}.jpg" for index in range(len(pictures))]
        for file, picture in zip(files, pictures, strict=True):
            Image.fromarray(picture).save(folder / "JPEGImages" / file, quality=95)
        write_wav(folder / "WAVAudios" / f"{name}.wav", sound)
        height, width = pictures[0].shape[:2]
        rows.append({"id": number, "file_names": files, "height": height, "width": width, "length": len(files)})
        for category, masks in tracks[name]:
            annotations.append(_annotation(len(annotations) + 1, number, category, masks, (height, width)))
    table = {
        "videos": rows,
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, start=1)],
        "annotations": annotations,
    }
    made = Path(root) / f"{split}.json"
    made.write_text(json.dumps(table) + "\n", encoding="utf-8")
    return made


def _annotation(
    number: int, video: int, category: int, masks: Sequence[np.ndarray | None], size: tuple[int, int]
) -> dict[str, Any]:
    encoded = [None if m is None or not m.any() else run_lengths.encode(np.asfortranarray(m, np.uint8)) for m in masks]
    return {
        "id": number, "video_id": video, "category_id": category, "iscrowd": 0, "height": size[0], "width": size[1],
        "segmentations": [None if m is None else {**m, "counts": m["counts"].decode()} for m in encoded],
        "areas": [None if m is None else int(run_lengths.area(m)) for m in encoded],
        "bboxes": [None if m is None else run_lengths.toBbox(m).tolist() for m in encoded],
    }  # fmt: skip


def _read(file: Path) -> Any:
    if file.stat().st_size > LARGEST:
        raise ValueError(f"{file}: expected up to {LARGEST // 2**20} MB, got {file.stat().st_size // 2**20}.")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: can't be read as JSON ({error}).") from error


def _rows(table: Mapping[str, Any], name: str, file: Path) -> Iterator[Mapping[str, Any]]:
    rows = table.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{file}: expected a list `{name}` of tables.")
    yield from rows


def _number(row: Mapping[str, Any], key: str, file: Path) -> int:
    value = row.get(key)
    if type(value) is not int or value < 0:
        raise ValueError(f"{file}: expected a whole number as `{key}`, got {value!r} in {str(row)[:80]}.")
    return value


def _track(
    row: Mapping[str, Any], sizes: Mapping[int, tuple[tuple[int, int], int]], file: Path, score: float
) -> InstanceTrack:
    video, shapes = _number(row, "video_id", file), row.get("segmentations")
    if video not in sizes:
        raise ValueError(f"{file}: a track is of video {video}, which is not there.")
    size, length = sizes[video]
    if not isinstance(shapes, list) or len(shapes) != length:
        raise ValueError(f"{file}: a track of video {video}: expected {length} `segmentations`, one a frame.")
    masks = []
    for frame, shape in enumerate(shapes):
        try:
            masks.append(
                None if not shape else run_lengths.encode(np.asfortranarray(decode_shape(shape, *size), np.uint8))
            )
        except ValueError as error:
            raise ValueError(f"{file}: a track of video {video}, frame {frame}: {error}.") from error
    return InstanceTrack(video, _number(row, "category_id", file), tuple(masks), score, bool(row.get("iscrowd", 0)))
