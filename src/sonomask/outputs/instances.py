"""Annotations of instances: JSON Lines, COCO, YouTube-VIS, DAVIS and YouTube-VOS.

Ids are those of `sonomask.outputs.tracks`; masks are COCO's compressed run lengths, or palette pictures.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from sonomask.outputs.formats import FORMATS
from sonomask.outputs.moment import Moment, OutputContext, Take, counts, indexed, save_jpeg
from sonomask.outputs.tracks import Region
from sonomask.schemas import schema
from sonomask.workspace import atomic_path

__all__ = ["write_coco", "write_davis", "write_jsonl", "write_ytvis"]

MOST = 255  # objects that a palette picture can hold


@contextmanager
def write_jsonl(path: Path, context: OutputContext) -> Iterator[Take]:
    """A line for each mask: where it comes from, its scores, and `regions` with `id`, `bbox`, `score` and `rle`."""
    with atomic_path(path, overwrite=context.overwrite) as fresh, fresh.open("w", encoding="utf-8") as lines:
        told = {key: str(context.facts.get(key, "")) for key in ("source", "model", "weights", "sonomask")}
        head = {"schema": schema("mask")}

        def take(moment: Moment) -> None:
            regions = [
                {**region_facts(region, context), "rle": runs}
                for region, runs in zip(moment.regions, moment.runs, strict=True)
            ]
            row = {
                **head,
                "index": moment.index,
                **moment.scores(),
                "size": list(context.size),
                **told,
                "regions": regions,
            }
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")

        yield take


@contextmanager
def coco_file(path: Path, folder: Path, context: OutputContext) -> Iterator[tuple[_List, IO[str]]]:
    """A file in COCO's form: its list of images, and a file for the annotations, a line each, which follow at the end."""
    head = {"info": {"schema": schema("coco"), **context.facts}, "licenses": [], "categories": context.categories()}
    with path.open("w", encoding="utf-8") as out, _spool(folder) as later:
        images = _List(out, head, "images")
        yield images, later
        images.close()
        _copy_rows(out, "annotations", _lines(later))
        out.write("}\n")


def image_row(moment: Moment, name: str, context: OutputContext) -> dict[str, Any]:
    """What COCO's list of images tells of a frame."""
    height, width = context.size
    return {"id": moment.index + 1, "file_name": name, "height": height, "width": width, **moment.scores()}


@contextmanager
def write_coco(path: Path, context: OutputContext) -> Iterator[Take]:
    """`labels.json` in COCO's form and the frames in `data/`: what pycocotools, torchvision and FiftyOne read.

    An annotation is a region; besides COCO's fields it has `score` and `track_id`. The annotations wait in a file of their
    own, since they come after all the images.

    Source: COCO's data format, https://cocodataset.org/#format-data.
    """
    picture, count = context.pictures(), 0
    with context.folder(path, FORMATS["coco"].marker) as fresh:
        (fresh / "data").mkdir()
        with coco_file(fresh / "labels.json", fresh, context) as (images, later):

            def take(moment: Moment) -> None:
                nonlocal count
                name = f"{moment.index:06d}.jpg"
                save_jpeg(fresh / "data" / name, picture(moment.time))
                images.add(image_row(moment, name, context))
                for region, runs in zip(moment.regions, moment.runs, strict=True):
                    count += 1
                    facts = region_facts(region, context)
                    row = {
                        "id": count,
                        "image_id": moment.index + 1,
                        "category_id": context.of(region)[0],
                        "track_id": facts.pop("id"),
                    }
                    del facts["category"]
                    later.write(json.dumps({**row, **facts, "segmentation": runs, "iscrowd": 0}) + "\n")

            yield take


@contextmanager
def write_ytvis(path: Path, context: OutputContext) -> Iterator[Take]:
    """`instances.json` in YouTube-VIS's form and the frames in `JPEGImages/NAME/`.

    An annotation is a track with a mask (run lengths as plain numbers) or null for each frame. The masks wait in a file; in
    memory are 24 bytes for each.

    Source: Yang et al., "Video instance segmentation", ICCV 2019, and the form of its data set.
    """
    picture, rows = context.pictures(), 0
    tracks: dict[int, array[int]] = {}
    with context.folder(path, FORMATS["ytvis"].marker) as fresh:
        (fresh / "JPEGImages" / context.name).mkdir(parents=True)
        with (fresh / "instances.json").open("w", encoding="utf-8") as out, _spool(fresh) as later:

            def take(moment: Moment) -> None:
                nonlocal rows
                save_jpeg(fresh / "JPEGImages" / context.name / f"{moment.index:05d}.jpg", picture(moment.time))
                rows = moment.index + 1
                for region in moment.regions:
                    places = tracks.setdefault(region.id, array("q"))
                    places.extend((moment.index, later.tell()))
                    row = {
                        **region_facts(region, context),
                        "category_id": context.of(region)[0],
                        "segmentation": counts(region.whole(context.size)),
                    }
                    later.write(json.dumps(row) + "\n")

            yield take
            height, width = context.size
            files = [f"{context.name}/{index:05d}.jpg" for index in range(rows)]
            video = {"id": 1, "file_names": files, "height": height, "width": width, "length": rows}
            head = {
                "info": {"schema": schema("ytvis"), **context.facts},
                "licenses": [],
                "categories": context.categories(),
                "videos": [video],
            }
            out.write(json.dumps(head, ensure_ascii=False)[:-1])
            made = (_ytvis_track(number, tracks[number], rows, later, context) for number in sorted(tracks))
            _copy_rows(out, "annotations", (json.dumps(row) for row in made))
            out.write("}\n")


def _ytvis_track(number: int, places: array[int], rows: int, later: IO[str], context: OutputContext) -> dict[str, Any]:
    found: dict[int, dict[str, Any]] = {}
    for index, place in zip(places[::2], places[1::2], strict=True):
        later.seek(place)
        found[index] = json.loads(later.readline())
    height, width = context.size
    columns = {"segmentations": "segmentation", "bboxes": "bbox", "areas": "area"}
    filled = {name: [found[i][key] if i in found else None for i in range(rows)] for name, key in columns.items()}
    scores = [row["score"] for row in found.values()]
    categories = Counter(row["category_id"] for row in found.values())  # a track is what most of its masks are
    facts = {"id": number, "video_id": 1, "category_id": categories.most_common(1)[0][0], "iscrowd": 0}
    return {**facts, "height": height, "width": width, "score": sum(scores) / len(scores), **filled}


@contextmanager
def write_davis(path: Path, context: OutputContext) -> Iterator[Take]:
    """`Annotations/NAME/00000.png` with the track's id in each pixel, `JPEGImages/NAME/00000.jpg`, and `meta.json`.

    `meta.json` is that of YouTube-VOS, with the time of each frame besides. A palette picture holds 255 objects; further
    ones are left out, and the reader's warnings say how many.

    Source: Xu et al., "YouTube-VOS", 2018; Pont-Tuset et al., "The 2017 DAVIS challenge", 2017.
    """
    picture, times = context.pictures(), array("d")
    dropped: set[int] = set()
    objects: dict[int, tuple[str, array[int]]] = {}
    with context.folder(path, FORMATS["davis"].marker) as fresh:
        frames, masks = (fresh / kind / context.name for kind in ("JPEGImages", "Annotations"))
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)

        def take(moment: Moment) -> None:
            ids = np.zeros(context.size, np.uint8)
            for region in moment.regions:
                if region.id > MOST:
                    dropped.add(region.id)
                    continue
                ids[region.view][region.mask] = region.id
                objects.setdefault(region.id, (context.of(region)[1], array("q")))[1].append(moment.index)
            save_jpeg(frames / f"{moment.index:05d}.jpg", picture(moment.time))
            indexed(ids).save(masks / f"{moment.index:05d}.png")
            times.append(moment.source_time)

        yield take
        if dropped:
            context.reader.warnings.append(f"{path.name}: {len(dropped)} objects beyond the first {MOST} are left out.")
        listed = {
            str(number): {"category": category, "frames": [f"{i:05d}" for i in seen]}
            for number, (category, seen) in sorted(objects.items())
        }
        named = {f"{i:05d}": round(time, 6) for i, time in enumerate(times)}
        meta = {"videos": {context.name: {"objects": listed, "times": named}}, "about": dict(context.facts)}
        (fresh / "meta.json").write_text(json.dumps(meta, ensure_ascii=False) + "\n", encoding="utf-8")


def region_facts(region: Region, context: OutputContext) -> dict[str, Any]:
    """The fields that all formats have for a region; `bbox` is x, y, width, height."""
    top, left, bottom, right = region.box
    box = [left, top, right - left, bottom - top]
    facts = {
        "id": region.id,
        "category": context.of(region)[1],
        "bbox": box,
        "area": region.area,
        "score": region.score,
    }
    return {**facts, "sound": region.sound} if region.sound else facts


@contextmanager
def _spool(fresh: Path) -> Iterator[IO[str]]:
    """A temporary file beside the folder that is being written; it is removed with the temporary folder around both."""
    with fresh.with_name("later").open("w+", encoding="utf-8") as file:
        yield file


def _lines(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    return (line.rstrip("\n") for line in file)


def _copy_rows(out: IO[str], name: str, rows: Iterable[str]) -> None:
    out.write(f', "{name}": [')
    for place, row in enumerate(rows):
        out.write(("," if place else "") + "\n" + row)
    out.write("]")


class _List:
    """A JSON object whose last entry is a list that grows.

    Args:
        out: File to write to.
        head: The entries before it.
        name: Name of the list.
    """

    def __init__(self, out: IO[str], head: dict[str, Any], name: str) -> None:
        self.out, self.comma = out, ""
        out.write(f'{json.dumps(head, ensure_ascii=False)[:-1]}, "{name}": [')

    def add(self, row: dict[str, Any]) -> None:
        self.out.write(f"{self.comma}\n{json.dumps(row)}")
        self.comma = ","

    def close(self) -> None:
        self.out.write("]")
