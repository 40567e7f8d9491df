"""Corrections of a finished job: kept beside its files, and extended along the tracks that the player shows.

The file is that of `safe_reading.corrections`. Whoever adds a correction names a place or a source; the trail comes from the
player's maps, so no model runs for it. Knows no web framework.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from sonomask.errors import MediaError
from sonomask.outputs.corrected import ASIDE, MISSED, trail_of
from sonomask.safe_reading.corrections import (
    Box,
    Correction,
    Corrections,
    VideoFacts,
    parse_corrections,
    read_corrections,
)
from sonomask.server.jobs import Job
from sonomask.server.one_source import Strips
from sonomask.server.problems import InvalidError, UnknownError

__all__ = ["FILE", "add", "of_job", "point_of", "put", "remove"]

FILE = "corrections.json"
LOCK = threading.Lock()  # a page sends one after the other, and two pages may show one job


def of_job(job: Job) -> Corrections:
    """The corrections of a finished job."""
    try:
        return read_corrections(job.folder / FILE)
    except MediaError:
        return Corrections((), _video(job, _about(job)), {"model": job.options.model})


def add(job: Job, item: Correction) -> Corrections:
    """The corrections of a job with one more, which is carried along its track.

    Raises:
        InvalidError: There are too many.
    """
    return _change(job, lambda items: [*items, _attached(job, [item])[0]])


def put(job: Job, raw: bytes) -> Corrections:
    """The corrections of a file in place of those of a job; its things are found in this result.

    Raises:
        InvalidError: It is no such file, or that of another video.
    """
    try:
        given = parse_corrections(raw, source="The file")
        about = _about(job)
        video = _video(job, about)
        given.check_video(video.duration, video.width, video.height, name=job.name)
    except MediaError as error:
        raise InvalidError(str(error), "body") from error
    return _change(job, lambda _: _attached(job, [replace(item, id=None) for item in given.items]))


def remove(job: Job, number: int | None) -> Corrections:
    """The corrections of a job without one, by its number from 1 on, or without all of them.

    Raises:
        UnknownError: There is none of that number.
    """

    def without(items: list[Correction]) -> list[Correction]:
        if number is None:
            return []
        if not 1 <= number <= len(items):
            raise UnknownError(f"There are {len(items)} corrections, and no number {number}.")
        return items[: number - 1] + items[number:]

    return _change(job, without)


def point_of(job: Job, source: int, time: float | None) -> tuple[float, float, float]:
    """A moment, and a place from the left and top, at which a source is pointed at.

    Args:
        job: The job.
        source: Number of the source.
        time: Moment, in seconds of the video, nearest to which it is to be; where it is largest if None.

    Raises:
        InvalidError: There is no such source.
    """
    about = _about(job)
    row = next((row for row in about["sources"] if row["id"] == source), None)
    there = [] if row is None else [i for i, area in enumerate(row["area"]) if area]
    if row is None or not there:
        known = ", ".join(str(row["id"]) for row in about["sources"]) or "none"
        raise InvalidError(f"`source`: this job has {known}, got {source}.", "source")
    if time is None:
        index = max(there, key=lambda i: row["area"][i])
    else:
        index = min(there, key=lambda i: abs(about["times"][i] + job.options.start - time))
    own = np.isin(_strips(job, about).tracks(index), row["tracks"]).view(np.uint8)
    inner = cv2.distanceTransform(cv2.copyMakeBorder(own, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = divmod(int(inner.argmax()), own.shape[1])
    return about["times"][index] + job.options.start, (x + 0.5) / own.shape[1], (y + 0.5) / own.shape[0]


def _change(job: Job, how: Callable[[list[Correction]], list[Correction]]) -> Corrections:
    with LOCK:
        before = of_job(job)
        try:
            after = before.with_items(how(list(before.items)))
        except ValueError as error:
            raise InvalidError(f"Too much is said of this video: {error}") from error
        after.save(job.folder / FILE, overwrite=True)
    return after


def _attached(job: Job, items: list[Correction]) -> list[Correction]:
    """The corrections with the source that each points at, and its name and trail."""
    about = _about(job)
    strips, start, times = _strips(job, about), job.options.start, np.asarray(about["times"])
    trails: dict[int, tuple[Box, ...]] = {}
    found = []
    for item in items:
        source = _pointed_at(strips, times + start, about["sources"], item) if item.kind in ("only", "never") else None
        if source is not None:
            number = source["id"]
            if number not in trails:
                trails[number] = _trail(strips, times + start, source)
            item = replace(item, id=number, name=str(source["name"])[:200], trail=item.trail or trails[number])
        found.append(item)
    return found


def _pointed_at(
    strips: Strips, times: np.ndarray, sources: list[dict[str, Any]], item: Correction
) -> dict[str, Any] | None:
    """The source at a correction's place, or hardly beside it."""
    if not len(times):
        return None
    index = int(np.abs(times - (item.time or 0.0)).argmin())
    if abs(times[index] - (item.time or 0.0)) > ASIDE:
        return None
    tracks = strips.tracks(index)
    height, width = tracks.shape
    rows, columns = np.nonzero(tracks)
    if not len(rows):
        return None
    away = np.hypot(rows + 0.5 - (item.y or 0.0) * height, columns + 0.5 - (item.x or 0.0) * width)
    nearest = int(away.argmin())
    if away[nearest] > max(1.0, MISSED * np.hypot(height, width)):
        return None
    track = int(tracks[rows[nearest], columns[nearest]])
    return next((source for source in sources if track in source["tracks"]), None)


def _trail(strips: Strips, times: np.ndarray, source: dict[str, Any]) -> tuple[Box, ...]:
    boxes: list[Box] = []
    for index, area in enumerate(source["area"]):
        tracks: UInt8[np.ndarray, "h w"] | None = strips.tracks(index) if area else None
        if tracks is None:
            continue
        height, width = tracks.shape
        for number in np.intersect1d(tracks, source["tracks"]).tolist():
            x, y, across, down = cv2.boundingRect((tracks == number).view(np.uint8))
            boxes.append((float(times[index]), x / width, y / height, (x + across) / width, (y + down) / height))
    return trail_of(boxes)


def _about(job: Job) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((job.folder / "view" / "view.json").read_text(encoding="utf-8"))
    return about


def _strips(job: Job, about: dict[str, Any]) -> Strips:
    return Strips(Path(job.folder / "view"), about["map"]["rows"], about["map"]["height"])


def _video(job: Job, about: dict[str, Any]) -> VideoFacts:
    """Which video a job is of; of a part of it the whole length is known only while the upload is here."""
    whole = not job.options.start and job.options.end is None
    facts = {} if job.upload is None else job.upload.facts or {}
    duration = facts.get("duration") or (about["duration"] if whole else None)
    return VideoFacts(job.name, duration, facts.get("width") or about["width"], facts.get("height") or about["height"])
