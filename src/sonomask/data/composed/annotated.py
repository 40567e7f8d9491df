"""Pictures annotated by others, as COCO or Pascal VOC have them, become the table that scenes are composed of."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Bool
from PIL import Image

from sonomask.data.composed.library import inside
from sonomask.errors import DatasetError
from sonomask.safe_reading.pictures import open_picture
from sonomask.safe_reading.shapes import decode_shape

__all__ = ["table_from_coco", "table_from_voc"]

Found: TypeAlias = "tuple[str, Image.Image, str, Bool[np.ndarray, 'H W']]"
"""A picture's name, the picture, an object's category and mask."""

VOC_VOID = 255  # the index of edges and of what is not judged


def table_from_coco(annotations: str | Path, pictures: str | Path, out: str | Path, *, least: float = 0.01) -> Path:
    """Turn COCO's instance annotations into pictures with masks and their table, one row for each object.

    Args:
        annotations: COCO's json with polygons or run lengths.
        pictures: Folder of its pictures.
        out: Folder to make; pictures are copied, so that it stands by itself.
        least: Objects with a smaller share of their picture are left out.

    Returns:
        The `images.csv`; each picture is a group.

    Raises:
        DatasetError: A file is missing or broken, or no object is left.
    """
    return _write(_coco(Path(annotations), Path(pictures)), Path(out), least, str(annotations))


def table_from_voc(root: str | Path, out: str | Path, *, least: float = 0.01) -> Path:
    """Turn a folder in Pascal VOC's layout into pictures with masks and their table, one row for each object.

    Args:
        root: Folder with JPEGImages, SegmentationObject (a palette PNG, one index for each object) and Annotations (an
            XML for each picture, whose n-th object has index n).
        out: As of `table_from_coco`.
        least: As of `table_from_coco`.

    Returns:
        The `images.csv`; each picture is a group.

    Raises:
        DatasetError: A file is missing or broken, or no object is left.
    """
    return _write(_voc(Path(root)), Path(out), least, str(root))


def _coco(annotations: Path, pictures: Path) -> Iterator[Found]:
    try:
        data = json.loads(annotations.read_text(encoding="utf-8"))
        files = {i["id"]: str(i["file_name"]) for i in data["images"]}
        names = {c["id"]: str(c["name"]) for c in data["categories"]}
        objects = [(files[a["image_id"]], names[a["category_id"]], a["segmentation"]) for a in data["annotations"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{annotations}: expected COCO's instances as json ({error!r}).") from error
    for name, category, shape in objects:
        picture = open_picture(inside(pictures / "_", name), "RGB")
        try:
            yield name, picture, category, decode_shape(shape, picture.height, picture.width)
        except ValueError as error:
            raise DatasetError(f"{annotations}: an object of {name} has a broken segmentation ({error}).") from error


def _voc(root: Path) -> Iterator[Found]:
    objects = sorted((root / "SegmentationObject").glob("*.png"))
    if not objects:
        raise DatasetError(f"{root}: no SegmentationObject/*.png. Give a folder in Pascal VOC's layout.")
    for file in objects:
        picture = open_picture(inside(root / "_", f"JPEGImages/{file.stem}.jpg"), "RGB")
        try:
            index = np.asarray(open_picture(file))
            text = inside(root / "_", f"Annotations/{file.stem}.xml").read_text(encoding="utf-8")
            if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can grow without bound
                raise ValueError("an XML with a document type")
            names = [str(o.findtext("name")) for o in ElementTree.fromstring(text).iter("object")]  # noqa: S314
        except (OSError, ValueError, ElementTree.ParseError) as error:
            raise DatasetError(f"{file}: the objects can't be read ({error}).") from error
        if index.shape != (picture.height, picture.width):
            raise DatasetError(f"{file}: expected indices of the picture's size, got {index.shape}.")
        for number in np.unique(index):
            if 0 < number < VOC_VOID and number <= len(names):
                yield file.stem, picture, names[number - 1], index == number


def _write(found: Iterable[Found], out: Path, least: float, source: str) -> Path:
    """Copies under names of our own, since those of the source are not to be trusted as paths."""
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    rows: list[list[str]] = []
    copies: dict[str, str] = {}
    for name, picture, category, mask in found:
        if mask.mean() < least:
            continue
        if name not in copies:
            copies[name] = f"pictures/{len(copies):06d}.jpg"
            picture.save(out / copies[name], quality=95)
        drawn = f"pictures/{len(rows):06d}_mask.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(out / drawn)
        rows.append([copies[name], drawn, category, name])
    if not rows:
        raise DatasetError(f"{source}: no object covers {least:.0%} of its picture.")
    with (out / "images.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([["image", "mask", "category", "group"], *rows])
    return out / "images.csv"
