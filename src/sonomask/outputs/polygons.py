"""Masks as polygons: along the edges of pixels, then straightened; holes are joined to the outline by a cut of no width.

One polygon stands for one region, holes and all, since COCO's and YOLO's readers fill by parity: what is surrounded twice is
outside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sonomask.outputs.formats import FORMATS
from sonomask.outputs.instances import coco_file, image_row, region_facts
from sonomask.outputs.moment import Moment, OutputContext, Take, save_jpeg
from sonomask.outputs.tracks import Region

__all__ = ["outline", "polygon", "write_coco_polygons", "write_yolo"]

TOLERANCE = 0.6  # pixels by which a straightened outline may be off


@contextmanager
def write_coco_polygons(path: Path, context: OutputContext) -> Iterator[Take]:
    """COCO instances with polygons, laid out as CVAT and Datumaro import them.

    `annotations/instances_default.json` and the frames in `images/default/`.

    Source: https://docs.cvat.ai and https://open-edge-platform.github.io/datumaro, on the COCO format.
    """
    picture, number = context.pictures(), 0
    with context.folder(path, FORMATS["coco-polygons"].marker) as fresh:
        frames, annotations = fresh / "images" / "default", fresh / "annotations"
        frames.mkdir(parents=True)
        annotations.mkdir()
        with coco_file(annotations / "instances_default.json", fresh, context) as (images, later):

            def take(moment: Moment) -> None:
                nonlocal number
                name = f"{context.name}_{moment.index:06d}.jpg"
                save_jpeg(frames / name, picture(moment.time))
                images.add(image_row(moment, name, context))
                for region in moment.regions:
                    number += 1
                    facts = region_facts(region, context)
                    row: dict[str, Any] = {
                        "id": number,
                        "image_id": moment.index + 1,
                        "category_id": context.of(region)[0],
                        "iscrowd": 0,
                    }
                    row |= {"bbox": facts["bbox"], "area": facts["area"], "score": facts["score"]}
                    row |= {"attributes": {"track_id": region.id}, "segmentation": [_flat(region)]}
                    later.write(json.dumps(row) + "\n")

            yield take


@contextmanager
def write_yolo(path: Path, context: OutputContext) -> Iterator[Take]:
    """Frames, a text file with polygons for each, and `data.yaml`, as Ultralytics' segmentation models train on them.

    A line is a class from 0 and the corners of its polygon, as shares of width and height.

    Source: https://docs.ultralytics.com/datasets/segment.
    """
    picture, marker = context.pictures(), FORMATS["yolo"].marker
    with context.folder(path, marker) as fresh:
        for kind in ("images", "labels"):
            (fresh / kind / "train").mkdir(parents=True)

        def take(moment: Moment) -> None:
            name = f"{context.name}_{moment.index:06d}"
            save_jpeg(fresh / "images" / "train" / f"{name}.jpg", picture(moment.time))
            height, width = context.size
            lines = []
            for region in moment.regions:
                corners = polygon(region) / (width, height)
                lines.append(" ".join([str(context.of(region)[0] - 1), *(f"{v:.6f}" for v in corners.ravel())]))
            text = "".join(f"{line}\n" for line in lines)
            (fresh / "labels" / "train" / f"{name}.txt").write_text(text, encoding="ascii")

        yield take
        names = [category["name"] for category in context.categories()]
        rows = [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(names)]
        # without `path`: Ultralytics takes "." for the folder that it was started in, and nothing for that of this file
        head = ["train: images/train", "val: images/train", f"nc: {len(names)}", "names:"]
        (fresh / marker).write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")


def _flat(region: Region) -> list[float]:
    values: list[float] = polygon(region).ravel().round(2).tolist()
    return values


def polygon(region: Region) -> Float[np.ndarray, "N 2"]:
    """The corners (x, y) of a region on its picture, in pixels; at least three."""
    top, left, _, _ = region.box
    return outline(region.mask) + np.array([left, top], float)


def outline(mask: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "N 2"]:
    """A polygon around the pixels of a mask, in pixels from its upper left corner."""
    rings = sorted(_rings(mask), key=lambda ring: -abs(_area(ring)))
    whole = _straight(rings[0])
    for ring in rings[1:]:
        hole = _straight(ring)
        distance = np.square(whole[:, None] - hole[None]).sum(2)
        here, there = np.unravel_index(int(distance.argmin()), distance.shape)
        inner = np.concatenate([hole[there:], hole[: there + 1]])
        whole = np.concatenate([whole[: here + 1], inner, whole[here:]])
    return whole


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _rings(mask: Bool[np.ndarray, "H W"]) -> Iterator[np.ndarray]:
    """Closed ways along the edges of pixels, with the mask on the right hand; pixels that touch at a corner are joined."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for shifted, begin, step in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # no pixel above: the upper edge, to the right
        (padded[1:-1, 2:], (1, 0), (0, 1)),
        (padded[2:, 1:-1], (1, 1), (-1, 0)),
        (padded[1:-1, :-2], (0, 1), (0, -1)),
    ):
        for y, x in np.argwhere(inside & ~shifted).tolist():
            ways.setdefault((x + begin[0], y + begin[1]), []).append(step)
    while ways:
        start = place = next(iter(ways))
        step = ways[place][0]
        ring = []
        while True:
            steps = ways[place]
            if len(steps) > 1:  # a corner at which two pixels touch: turn left, so that they stay together
                left = (step[1], -step[0])
                step = left if left in steps else steps[0]
            else:
                step = steps[0]
            steps.remove(step)
            if not steps:
                del ways[place]
            ring.append(place)
            place = (place[0] + step[0], place[1] + step[1])
            if place == start:
                break
        yield np.array(ring, float)


def _straight(ring: np.ndarray) -> np.ndarray:
    """The ring with fewer corners, none of the others off by more than `TOLERANCE` (Douglas and Peucker)."""
    far = int(np.square(ring - ring[0]).sum(1).argmax())
    keep = np.zeros(len(ring) + 1, bool)
    closed = np.concatenate([ring, ring[:1]])
    keep[[0, far, len(ring)]] = True
    parts = [(0, far), (far, len(ring))]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        along, between = closed[last] - closed[first], closed[first + 1 : last] - closed[first]
        length = float(np.hypot(*along))
        off = np.abs(between @ (-along[1], along[0])) / length if length else np.hypot(*between.T)
        most = int(off.argmax())
        if off[most] > TOLERANCE:
            middle = first + 1 + most
            keep[middle] = True
            parts += [(first, middle), (middle, last)]
    kept: np.ndarray = closed[:-1][keep[:-1]]
    return kept if len(kept) >= 3 else ring
