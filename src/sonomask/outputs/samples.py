"""Masks for the libraries that look at them: Roboflow's supervision and Voxel51's FiftyOne. Neither is a dependency."""

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

__all__ = ["to_fiftyone", "to_supervision"]


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
        masks: Of that video, one piece or many.
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
