"""Masks of a video's frames that somebody made: a folder of PNGs named by their time, or COCO's json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from sonomask.errors import DatasetError
from sonomask.safe_reading.pictures import MOST_PIXELS, open_picture
from sonomask.safe_reading.shapes import decode_shape

__all__ = ["read_masks", "video_stem"]

LARGEST = 2**28  # bytes of COCO's json
MOST = 2000  # masks of a video
ALL_PIXELS = 2**32  # of them together, a byte each: 2000 of 1920×1080
TIME = re.compile(r"\d{1,7}(\.\d{1,9})?")


def video_stem(path: str | Path) -> str:
    """The name of the video that masks belong to, without suffix: `talk` of `talk.masks`, `talk.coco`, `talk.json`."""
    name = Path(path).name
    return re.sub(r"(\.(masks|coco|coco-polygons))?(\.json)?$", "", name)


def read_masks(path: str | Path) -> list[tuple[float, Bool[np.ndarray, "H W"]]]:
    """(seconds of the source, mask) of each frame, in order of time.

    Args:
        path: Folder that the format `masks` writes, or any of PNGs named by seconds (`12.5.png`), where 0 means that nothing
            sounds; or the folder or file of the format `coco`, or any COCO json whose images have a `time` or are named by it.
            All objects of a picture together are its mask.

    Raises:
        DatasetError: It is none of these, has too many masks, or one that can't be read.
    """
    path = Path(path)
    found: Iterator[tuple[float, np.ndarray]]
    if path.is_dir() and (path / "labels.json").is_file():
        found = _coco(path / "labels.json")
    elif path.suffix.lower() == ".json":
        found = _coco(path)
    else:
        found = _pictures(path)
    masks, pixels = [], 0
    for time, mask in found:
        masks.append((time, mask))
        pixels += mask.size
        if pixels > ALL_PIXELS:
            raise DatasetError(f"{path}: expected masks of at most {ALL_PIXELS} pixels together. Leave some out.")
    masks.sort(key=lambda row: row[0])
    if not masks:
        raise DatasetError(f"{path}: no masks. Give a folder of PNGs named by their second, or COCO's json.")
    return masks


def _pictures(folder: Path) -> Iterator[tuple[float, np.ndarray]]:
    files = sorted(folder.glob("*.png"))
    if len(files) > MOST:
        raise DatasetError(f"{folder}: expected at most {MOST} masks, got {len(files)}. Leave some out.")
    for file in files:
        if not TIME.fullmatch(file.stem):
            raise DatasetError(f"{file}: expected a name that is the second of the frame, such as 12.5.png.")
        picture = open_picture(file)
        if picture.mode != "P":  # the number of a class, else grey
            picture = picture.convert("L")
        yield float(file.stem), np.asarray(picture) > (0 if picture.mode == "P" else 127)


def _coco(file: Path) -> Iterator[tuple[float, np.ndarray]]:
    try:
        if file.stat().st_size > LARGEST:
            raise DatasetError(f"{file}: expected at most {LARGEST} bytes, the file is larger. Split it.")
        data = json.loads(file.read_text(encoding="utf-8-sig"))
        images: list[dict[str, Any]] = list(data["images"])
        of: dict[str, list[Any]] = {}
        for row in data["annotations"]:
            of.setdefault(str(row["image_id"]), []).append(row["segmentation"])
        if len(images) > MOST:
            raise DatasetError(f"{file}: expected at most {MOST} masks, got {len(images)}. Leave some out.")
        for image in images:
            height, width = int(image["height"]), int(image["width"])
            if not (height > 0 and width > 0 and height * width <= MOST_PIXELS):
                raise ValueError(f"a picture of {width}×{height}")
            mask = np.zeros((height, width), bool)
            for shape in of.get(str(image["id"]), ()):
                mask |= decode_shape(shape, height, width)
            yield _time(image), mask
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{file}: expected COCO's instances of a video's frames ({error!r:.200}).") from error


def _time(image: dict[str, Any]) -> float:
    time, name = image.get("time"), Path(str(image["file_name"])).stem
    if isinstance(time, int | float) and not isinstance(time, bool) and 0 <= time < 1e7:
        return float(time)
    if TIME.fullmatch(name):
        return float(name)
    raise ValueError(f"the picture {name[:80]!r} has no `time` and is not named by one")
