"""Pictures annotated by others, as COCO or Pascal VOC have them, become the table that scenes are composed of."""

from __future__ import annotations

import csv
import json
import logging
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

logger = logging.getLogger(__name__)

Found: TypeAlias = "tuple[str, Image.Image, str, Bool[np.ndarray, 'H W']]"
"""A picture's name, the picture, an object's category and mask."""

NAMED = 5  # of what was skipped, for each reason
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
        DatasetError: The annotations can't be read, or no object is left; single broken objects are skipped, counted and named.
    """
    skipped = _Skipped()
    return _write(_coco(Path(annotations), Path(pictures), skipped), Path(out), least, str(annotations), skipped)


def table_from_voc(root: str | Path, out: str | Path, *, least: float = 0.01) -> Path:
    """Turn a folder in Pascal VOC's layout into pictures with masks and their table, one row for each object.

    Args:
        root: Folder with JPEGImages, SegmentationObject (a palette PNG, one index for each object) and Annotations (an
            XML for each picture, whose n-th object has index n).
        out: Folder, as for `table_from_coco`.
        least: Smallest share, as for `table_from_coco`.

    Returns:
        The `images.csv`; each picture is a group.

    Raises:
        DatasetError: The annotations can't be read, or no object is left; single broken objects are skipped, counted and named.
    """
    skipped = _Skipped()
    return _write(_voc(Path(root), skipped), Path(out), least, str(root), skipped)


class _Skipped:
    """Counts objects that can't be used, by reason, and keeps the first names of each."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}

    def add(self, reason: str, name: object) -> None:
        self.names.setdefault(reason, []).append(str(name))

    def __str__(self) -> str:
        return "; ".join(
            f"{len(names)} {reason} ({', '.join(dict.fromkeys(names[:NAMED]))}{', …' if len(names) > NAMED else ''})"
            for reason, names in self.names.items()
        )


def _coco(annotations: Path, pictures: Path, skipped: _Skipped) -> Iterator[Found]:
    try:
        data = json.loads(annotations.read_text(encoding="utf-8-sig"))
        files = {str(i["id"]): str(i["file_name"]).replace("\\", "/") for i in data["images"]}
        names = {str(c["id"]): str(c["name"]) for c in data["categories"]}
        objects = list(data["annotations"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{annotations}: expected COCO's instances as json ({error!r}).") from error
    for place, found in enumerate(objects):
        own = found if isinstance(found, dict) else {}
        label = f"object {own.get('id', place)}"
        name, category = files.get(str(own.get("image_id"))), names.get(str(own.get("category_id")))
        if name is None or category is None or not own.get("segmentation"):
            missing = "picture" if name is None else "category" if category is None else "segmentation"
            skipped.add(f"without a {missing} in COCO's lists", label)
            continue
        try:
            file = inside(pictures / "_", name)
        except DatasetError as error:  # missing, or a way out
            away = "outside" in str(error)
            skipped.add(f"whose picture {'lies outside of the folder' if away else 'is missing or broken'}", name)
            continue
        try:
            picture = open_picture(file, "RGB")
        except DatasetError:
            skipped.add("whose picture is missing or broken", name)
            continue
        try:
            mask = decode_shape(own["segmentation"], picture.height, picture.width)
        except (ValueError, TypeError, KeyError, RecursionError):
            skipped.add("with a broken segmentation", f"{label} of {name}")
            continue
        yield name, picture, category, mask


def _voc(root: Path, skipped: _Skipped) -> Iterator[Found]:
    objects = sorted((root / "SegmentationObject").glob("*.png"))
    if not objects:
        raise DatasetError(f"{root}: no SegmentationObject/*.png. Give a folder in Pascal VOC's layout.")
    for file in objects:
        try:
            picture, index, names = _voc_picture(root, file)
        except (DatasetError, OSError, ValueError, ElementTree.ParseError) as error:
            skipped.add(f"pictures that can't be read ({' '.join(str(error).split())[:120]})", file.stem)
            continue
        for number in np.unique(index):
            if 0 < number < VOC_VOID and number <= len(names):
                yield file.stem, picture, names[number - 1], index == number
            elif 0 < number < VOC_VOID:
                skipped.add("without a name in its XML", f"object {number} of {file.stem}")


def _voc_picture(root: Path, file: Path) -> tuple[Image.Image, np.ndarray, list[str]]:
    picture = open_picture(inside(root / "_", f"JPEGImages/{file.stem}.jpg"), "RGB")
    index = np.asarray(open_picture(file))
    text = inside(root / "_", f"Annotations/{file.stem}.xml").read_text(encoding="utf-8-sig")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can grow without bound
        raise ValueError("an XML with a document type")
    if index.shape != (picture.height, picture.width):
        raise ValueError(f"expected indices of the picture's size, got {index.shape}")
    names = [str(o.findtext("name")) for o in ElementTree.fromstring(text).iter("object")]  # noqa: S314
    return picture, index, names


def _write(found: Iterable[Found], out: Path, least: float, source: str, skipped: _Skipped) -> Path:
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
        why = f" Skipped: {skipped}." if skipped.names else ""
        raise DatasetError(f"{source}: no object covers {least:.0%} of its picture.{why}")
    if skipped.names:
        logger.warning("%s: %d objects taken; skipped: %s.", source, len(rows), skipped)
    with (out / "images.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([["image", "mask", "category", "group"], *rows])
    return out / "images.csv"
