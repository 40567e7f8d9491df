"""Write any number of formats in one pass of a model.

Each format is a context manager that gives a function, which is called with each `Moment`. The output appears under its name
only if the block ends without an error. Nothing is gathered in memory, so one pass of the model serves all formats at any
length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sonomask.media.reader import VideoReader
from sonomask.media.waiting import PictureQueue
from sonomask.outputs.arrays import write_npz
from sonomask.outputs.avsbench import write_avsbench
from sonomask.outputs.folders import write_hf, write_masks
from sonomask.outputs.formats import FORMATS, Format
from sonomask.outputs.instances import write_coco, write_davis, write_jsonl, write_ytvis
from sonomask.outputs.moment import Moment, OutputContext, Take
from sonomask.outputs.naming import RegionNamer
from sonomask.outputs.polygons import write_coco_polygons, write_yolo
from sonomask.outputs.summaries import write_scores, write_sheet
from sonomask.outputs.tracks import MIN_AREA, Tracker
from sonomask.outputs.videos import VIDEOS, write_video
from sonomask.outputs.when import WHEN, write_when
from sonomask.structures import Masks

__all__ = ["Write", "moments", "one_video", "open_outputs"]

Write: TypeAlias = Callable[[Masks], None]
Opener: TypeAlias = Callable[[Path, OutputContext], AbstractContextManager[Take]]

OPENERS: dict[Format, Opener] = {
    "masks": write_masks,
    "npz": write_npz,
    "jsonl": write_jsonl,
    "coco": write_coco,
    "ytvis": write_ytvis,
    "davis": write_davis,
    "avsbench": write_avsbench,
    "hf": write_hf,
    "sheet": write_sheet,
    "scores": write_scores,
    "yolo": write_yolo,
    "coco-polygons": write_coco_polygons,
    **{name: partial(write_when, text=text) for name, text in WHEN.items()},
}
"""Every format that is no video."""


@contextmanager
def open_outputs(
    reader: VideoReader,
    paths: Mapping[Format, Path],
    *,
    facts: Mapping[str, Any],
    classes: Sequence[str] = (),
    things: Sequence[str] = (),
    overwrite: bool = False,
    labels: bool = False,
    feather: float | None = None,
    waiting: PictureQueue | None = None,
) -> Iterator[Write]:
    """All outputs of a video at once.

    Args:
        reader: Reader of the video; formats with pictures read it once more, and its warnings tell what could not be written.
        paths: Paths from `paths_of`.
        facts: What the manifests tell besides the frames: `source`, `model`, …; a `min_area` says what has been left out
            already, and is left out of the regions too.
        classes: Names of a semantic model's classes, background first; none for a binary one.
        things: Names that a model with one mask knows (`config.things`).
        overwrite: Replace what exists.
        labels: Whether the overlay shows the names of regions.
        feather: Pixels over which the edge of videos is soft; by the size of the picture if None.
        waiting: Pictures that are decoded for the model anyway, for the one format that is a video (`one_video`).

    Raises:
        MediaError: An output exists and may not be replaced, or can't be written.
        ValueError: The masks have classes and no names were given.
    """
    with ExitStack() as stack:
        takes: list[Take] = []
        for name, path in paths.items():
            stem, own = path.name.removesuffix(FORMATS[name].suffix), waiting if name in VIDEOS else None
            context = OutputContext(reader, stem, facts, classes, things, overwrite, labels, own, feather)
            opened = write_video(path, context, VIDEOS[name]) if name in VIDEOS else OPENERS[name](path, context)
            takes.append(stack.enter_context(opened))
        wanted = any(
            FORMATS[name].regions or (labels and name == "overlay") or (things and name in WHEN) for name in paths
        )
        tracker = Tracker(min_area=facts.get("min_area", MIN_AREA)) if wanted else None
        split = moments(tracker, reader.info.start)

        def write(masks: Masks) -> None:
            if masks.labels is not None and not classes:
                raise ValueError("`classes`: expected the names of the semantic model's classes, background first.")
            for moment in split(masks):
                for take in takes:
                    take(moment)

        yield write


def one_video(paths: Mapping[Format, Path]) -> bool:
    """Whether exactly one of the formats is a video, so that it can use the model's decoded pictures."""
    return sum(name in VIDEOS for name in paths) == 1


def moments(tracker: Tracker | None, start: float = 0.0) -> Callable[[Masks], Iterator[Moment]]:
    """A function that takes masks apart, one piece after the other; with a tracker regions are found.

    Args:
        tracker: Finds regions and follows them.
        start: Seconds of the source at which the times of the masks begin.
    """
    index, named = -1, RegionNamer()

    def split(masks: Masks) -> Iterator[Moment]:
        nonlocal index
        labels = masks.mask.view(np.uint8) if masks.labels is None else masks.labels
        scores = masks.presence or (None,) * len(masks)
        named_regions = masks.names or (None,) * len(masks)
        pictures = (None,) * len(masks) if masks.pictures is None else masks.pictures
        colours = (None,) * len(masks) if masks.colours is None else masks.colours
        things = (None,) * len(masks) if masks.ids is None else masks.ids
        for time, own, p, presence, names, picture, small, ids in zip(
            masks.times, labels, masks.probability, scores, named_regions, pictures, colours, things, strict=True
        ):
            index += 1
            regions = () if tracker is None else tracker.update(time, own, p, small, ids)
            if names is None:
                yield Moment(index, time, own, p, presence, regions, None, start, picture)
            else:
                yield Moment(index, time, own, p, presence, named(time, regions, names), names.heard, start, picture)

    return split
