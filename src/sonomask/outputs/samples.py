"""Masks for other libraries: Roboflow's supervision and Voxel51's FiftyOne. Neither is a dependency."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sonomask.errors import SonomaskError
from sonomask.media.reader import VideoReader
from sonomask.outputs.moment import SOUNDING
from sonomask.outputs.tracks import Region, Tracker
from sonomask.outputs.write import moments
from sonomask.structures import Masks

__all__ = ["seconds_by_name", "to_coco", "to_fiftyone", "to_regions", "to_supervision"]


def to_regions(masks: Masks | Iterable[Masks]) -> Iterator[tuple[Region, ...]]:
    """The connected regions of each mask, in order: id that stays, box, mask, name, sound and score.

    Args:
        masks: One piece or many, such as `segmenter(video)`; ids go on from piece to piece.
    """
    split = moments(Tracker())
    for piece in [masks] if isinstance(masks, Masks) else masks:
        yield from (moment.regions for moment in split(piece))


def to_coco(masks: Masks | Iterable[Masks], classes: Sequence[str] = ()) -> dict[str, Any]:
    """COCO's annotations of the masks, as plain values for JSON: `images`, `annotations`, `categories`.

    An image is a mask's frame, with its `time` and without a file name; the format `coco` of `segment` writes the pictures too.

    Args:
        masks: One piece or many, such as `segmenter(video)`.
        classes: Names of a semantic model's classes, background first.

    Source: COCO's data format, https://cocodataset.org/#format-data.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    numbers: dict[str, int] = {}
    split = moments(Tracker())
    for piece in [masks] if isinstance(masks, Masks) else masks:
        for moment in split(piece):
            height, width = moment.labels.shape
            images.append({"id": len(images) + 1, "width": width, "height": height, "time": moment.time})
            for region, runs in zip(moment.regions, moment.runs, strict=True):
                top, left, bottom, right = region.box
                category = numbers.setdefault(_name(region, classes), len(numbers) + 1)
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": len(images), "category_id": category, "track_id": region.id,
                     "bbox": [left, top, right - left, bottom - top], "area": region.area, "score": region.score,
                     "segmentation": runs, "iscrowd": 0}
                )  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def seconds_by_name(masks: Masks | Iterable[Masks], classes: Sequence[str] = ()) -> dict[str, float]:
    """For how many seconds each thing or class sounds, the longest first.

    A mask counts until the next one; the last one as long as the one before it.

    Args:
        masks: One piece or many, such as `segmenter(video)`.
        classes: Names of a semantic model's classes, background first.
    """
    found: dict[str, float] = {}
    before: tuple[float, set[str]] | None = None
    step = 0.0
    split = moments(Tracker())
    for piece in [masks] if isinstance(masks, Masks) else masks:
        for moment in split(piece):
            if before is not None:
                step = moment.time - before[0]
                _count(found, before[1], step)
            before = moment.time, {_name(region, classes) for region in moment.regions}
    if before is not None:
        _count(found, before[1], step)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _count(found: dict[str, float], names: set[str], seconds: float) -> None:
    for name in names:
        found[name] = found.get(name, 0.0) + seconds


def to_supervision(masks: Masks | Iterable[Masks], classes: Sequence[str] = ()) -> Iterator[Any]:
    """A `supervision.Detections` for each mask, in order: boxes, masks, scores, classes and ids of the regions.

    Args:
        masks: One piece or many, such as `segmenter(video)`; ids go on from piece to piece.
        classes: Names of a semantic model's classes, background first.

    Raises:
        SonomaskError: supervision is not installed.

    Source: https://supervision.roboflow.com, `Detections`.
    """
    detections = _library("supervision").Detections
    split = moments(Tracker())
    for piece in [masks] if isinstance(masks, Masks) else masks:
        for moment in split(piece):
            found = moment.regions
            if not found:
                yield detections.empty()
                continue
            yield detections(
                xyxy=np.array([(r.box[1], r.box[0], r.box[3], r.box[2]) for r in found], np.float32),
                mask=np.stack([region.whole(moment.labels.shape) for region in found]),
                confidence=np.array([region.score for region in found], np.float32),
                class_id=np.array([region.label for region in found]),
                tracker_id=np.array([region.id for region in found]),
                data={"class_name": np.array([_name(region, classes) for region in found])},
            )


def to_fiftyone(video: str | Path, masks: Masks | Iterable[Masks], classes: Sequence[str] = ()) -> Any:
    """A `fiftyone.Sample` of a video with `sounding` detections in the frames that have a mask.

    FiftyOne counts frames from 1; the frame is the one on screen at the mask's time, by the video's mean rate. A dataset
    takes it by `dataset.add_sample(…)`. For pictures instead of a video write the format `coco` and import that.

    Args:
        video: Path.
        masks: Masks of that video, one piece or many.
        classes: Names of a semantic model's classes, background first.

    Raises:
        SonomaskError: FiftyOne is not installed.
        MediaError: The video can't be read.

    Source: https://docs.voxel51.com, "Using FiftyOne datasets", on video samples and instance masks.
    """
    library = _library("fiftyone")
    with VideoReader(video) as reader:
        rate, (height, width) = float(reader.info.fps), (reader.info.height, reader.info.width)
    sample = library.Sample(filepath=str(Path(video).absolute()))
    split = moments(Tracker())
    for piece in [masks] if isinstance(masks, Masks) else masks:
        for moment in split(piece):
            found = []
            for region in moment.regions:
                top, left, bottom, right = region.box
                box = [left / width, top / height, (right - left) / width, (bottom - top) / height]
                name = _name(region, classes)
                found.append(
                    library.Detection(
                        label=name, bounding_box=box, mask=region.mask, index=region.id, confidence=region.score
                    )
                )
            facts = {} if moment.presence is None else {"presence": moment.presence}
            frame = library.Frame(sounding=library.Detections(detections=found), **facts)
            sample.frames[int(moment.time * rate + 1e-6) + 1] = frame
    return sample


def _name(region: Region, classes: Sequence[str]) -> str:
    label = region.label
    if region.name:
        return region.name
    return classes[label] if label < len(classes) else SOUNDING if not classes else str(label)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise SonomaskError(f"This needs {name}, which is not installed. Install it: pip install {name}.") from error
