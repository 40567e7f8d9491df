"""Corrections of a result: never mark these things, only this one, or nothing here. One JSON file per video.

    {"schema": "sonomask.corrections/1",
     "video": {"name": "talk.mp4", "duration": 12.4, "width": 640, "height": 360},
     "corrections": [{"kind": "never", "time": 3.2, "x": 0.41, "y": 0.63},
                     {"kind": "nothing", "start": 5, "end": 6}]}

Times are seconds from the beginning of the source, places shares of the picture from its left and top. A thing is pointed at by
one place at one moment; its `trail` says where it was at others. Files come from strangers: size, count and every number are
bounded, and nothing in them is a path.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from sonomask.errors import MediaError
from sonomask.schemas import VERSION, schema
from sonomask.workspace import atomic_path

__all__ = ["LARGEST", "Box", "Correction", "Corrections", "Kind", "VideoFacts", "parse_corrections", "read_corrections"]

Kind: TypeAlias = Literal["only", "never", "sounds", "silent", "nothing", "other"]
Box: TypeAlias = tuple[float, float, float, float, float]
"""A time, and left, top, right and bottom."""

PLACES, SPANS = ("only", "never", "sounds", "silent"), ("nothing", "other")
LARGEST = 8 * 2**20  # bytes
MOST, MOST_BOXES, ALL_BOXES = 1000, 2000, 100_000
LATEST, LONGEST, LARGEST_SIDE = 1e6, 200, 100_000  # seconds, letters, pixels
LENGTHS = 0.5, 0.02  # seconds, and share of the duration, by which that of the same video may differ
SHAPES = 0.03  # by which the ratio of its sides may


@dataclass(frozen=True)
class VideoFacts:
    """Identification of the video that corrections belong to, so that they aren't applied to another one.

    Attributes:
        name: Name of its file.
        duration: Seconds; None where they are not known.
        width: Pixels.
        height: Pixels.
    """

    name: str = ""
    duration: float | None = None
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Correction:
    """A single correction.

    Attributes:
        kind: "only": of all things this one is marked alone. "never": this one is not marked. "sounds": the thing at this place
            sounds and should be marked. "silent": the thing at this place does not sound, although it is marked. (Training
            learns from these two; they don't change existing masks.) "nothing": in this stretch of time nothing in sight
            sounds. "other": in this stretch what is marked is wrong, something else sounds.
        time: Moment at which a thing is pointed at; None for a stretch.
        x: Place from the left, 0 to 1.
        y: Place from the top, 0 to 1.
        start: Start of the stretch, or of the time for which a correction of a thing holds; the beginning if None.
        end: End of that time; the end of the video if None.
        name: Name of the thing, for people.
        id: Number of the thing in the result in which it was pointed at.
        trail: Boxes of the thing in order of time.

    Raises:
        ValueError: A value is out of range, or missing.
    """

    kind: Kind
    time: float | None = None
    x: float | None = None
    y: float | None = None
    start: float | None = None
    end: float | None = None
    name: str = ""
    id: int | None = None
    trail: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"`kind`: expected {', '.join(get_args(Kind))}, got {self.kind!r:.80}.")
        for name, most in (("time", LATEST), ("x", 1.0), ("y", 1.0), ("start", LATEST), ("end", LATEST)):
            value = getattr(self, name)
            wanted = name in (("time", "x", "y") if self.kind in PLACES else ("start", "end"))
            if value is None and wanted:
                raise ValueError(f"`{name}`: a correction of the kind {self.kind!r} needs it.")
            if value is not None:
                object.__setattr__(self, name, _number(value, name, most))
        if self.end is not None and not self.end > (self.start or 0.0):
            raise ValueError(f"`end`: expected more than the start ({self.start or 0:g} s), got {self.end:g} s.")
        if not isinstance(self.name, str) or len(self.name) > LONGEST:
            raise ValueError(f"`name`: expected a text of at most {LONGEST} letters.")
        if self.id is not None and (isinstance(self.id, bool) or not isinstance(self.id, int) or not 0 < self.id < 1e9):
            raise ValueError(f"`id`: expected a whole number from 1 on, got {self.id!r:.80}.")
        object.__setattr__(self, "trail", _checked_trail(self.trail))

    @property
    def of_place(self) -> bool:
        """Whether the correction refers to a thing, rather than a stretch of time."""
        return self.kind in PLACES

    def holds(self, time: float) -> bool:
        """Whether the correction covers a time."""
        return (self.start or 0.0) <= time < (math.inf if self.end is None else self.end)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without what is not given."""
        names = ("kind", "time", "x", "y", "start", "end", "name", "id")
        found = {name: getattr(self, name) for name in names if getattr(self, name) not in (None, "")}
        return {**found, "trail": [list(box) for box in self.trail]} if self.trail else found

    def __str__(self) -> str:
        if not self.of_place:
            return f"{self.kind} from {self.start:g} to {self.end:g} s"
        return f"{self.kind} {self.name or 'thing'} at {self.time:g} s, {self.x:.0%} across and {self.y:.0%} down"


@dataclass(frozen=True)
class Corrections:
    """All corrections of one video.

    Attributes:
        items: Corrections in the order in which they were made; stored as a tuple.
        video: Video that they belong to; None if unknown.
        model: Facts about the model whose result was corrected (`ModelOrigin.facts`).

    Raises:
        ValueError: There are too many.
    """

    items: Sequence[Correction] = ()
    video: VideoFacts | None = None
    model: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(self.items))
        boxes = sum(len(item.trail) for item in self.items)
        if len(self.items) > MOST or boxes > ALL_BOXES:
            raise ValueError(
                f"expected at most {MOST} corrections with {ALL_BOXES} boxes, got {len(self.items)} with {boxes}."
            )

    def __len__(self) -> int:
        return len(self.items)

    def with_items(self, items: Sequence[Correction]) -> Corrections:
        """The same of a video, with other corrections."""
        return replace(self, items=tuple(items))

    def to_json(self) -> str:
        """The text of the file."""
        found: dict[str, Any] = {"schema": schema("corrections"), "sonomask": VERSION}
        if self.video is not None:
            video = self.video
            known = {"name": video.name, "duration": video.duration, "width": video.width, "height": video.height}
            found["video"] = {name: value for name, value in known.items() if value}
        if self.model:
            found |= {name: self.model[name] for name in ("model", "weights") if self.model.get(name)}
        return json.dumps({**found, "corrections": [item.to_dict() for item in self.items]}, ensure_ascii=False)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the file that `read_corrections` reads.

        Raises:
            MediaError: It exists and may not be replaced.
        """
        with atomic_path(path, overwrite=overwrite) as fresh:
            fresh.write_text(self.to_json() + "\n", encoding="utf-8")
        return Path(path)

    def check_video(self, duration: float | None, width: int, height: int, *, name: str) -> None:
        """Check that a video is the one that the corrections belong to, by its length and shape.

        Args:
            duration: Seconds of the video; None where they are not known.
            width: Pixels.
            height: Pixels.
            name: Name for the message.

        Raises:
            MediaError: It is another.
        """
        own = self.video
        if own is None:
            return
        if own.duration and duration and abs(own.duration - duration) > max(LENGTHS[0], LENGTHS[1] * own.duration):
            raise MediaError(
                f"{name}: the corrections are of a video of {own.duration:.1f} s ({own.name or 'no name'}), this one has "
                f"{duration:.1f} s. Give the file of this video."
            )
        if own.width and own.height and abs(math.log(own.width / own.height * height / max(width, 1))) > SHAPES:
            raise MediaError(
                f"{name}: the corrections are of a video of {own.width}×{own.height} ({own.name or 'no name'}), this one has "
                f"{width}×{height}. Give the file of this video."
            )


def read_corrections(path: str | Path) -> Corrections:
    """The corrections of a file.

    Raises:
        MediaError: It is not there, too large, or no such file; the message says which correction is wrong, and how.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise MediaError(f"{path}: can't be read ({error.strerror}). Give a file of corrections.") from error
    return parse_corrections(raw, source=str(path))


def parse_corrections(raw: bytes, *, source: str) -> Corrections:
    """The corrections in the bytes of a file. Fields that are not known are left out.

    Args:
        raw: The file.
        source: Name for errors.

    Raises:
        MediaError: They are none.
    """
    if len(raw) > LARGEST:
        raise MediaError(f"{source}: expected corrections of at most {LARGEST} bytes, the file is larger.")
    try:
        values = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_number)
        if not isinstance(values, dict) or values.get("schema") != schema("corrections"):
            given = str(values.get("schema"))[:80] if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"expected a table with the schema {schema('corrections')}, got {given}")
        rows = values.get("corrections")
        if not isinstance(rows, list):
            raise TypeError(f"`corrections`: expected a list, got {type(rows).__name__}")
        if len(rows) > MOST:
            raise ValueError(f"expected at most {MOST} corrections, got {len(rows)}")
        items = [_correction(number, row) for number, row in enumerate(rows, start=1)]
        model = {name: values[name] for name in ("model", "weights") if isinstance(values.get(name), str)}
        short = {name: text[:LONGEST] for name, text in model.items()}
        return Corrections(tuple(items), _video(values.get("video")), short or None)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise MediaError(f"{source}: no file of corrections ({' '.join(str(error).split())[:300]}).") from error


def _correction(number: int, row: Any) -> Correction:
    if not isinstance(row, dict):
        raise TypeError(f"correction {number}: expected a table, got {type(row).__name__}")
    names = ("kind", "time", "x", "y", "start", "end", "name", "id", "trail")
    given = {name: row[name] for name in names if row.get(name) is not None}
    try:
        return Correction(**{"kind": None, **given})
    except (ValueError, TypeError) as error:
        raise ValueError(f"correction {number}: {error}") from error


def _video(value: Any) -> VideoFacts | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError(f"`video`: expected a table, got {type(value).__name__}")
    name = value.get("name", "")
    if not isinstance(name, str) or len(name) > 4 * LONGEST:
        raise ValueError("`video`: expected a name of at most 800 letters")
    duration = value.get("duration")
    sides = [int(_number(value.get(side, 0), side, LARGEST_SIDE)) for side in ("width", "height")]
    return VideoFacts(name, None if duration is None else _number(duration, "duration", LATEST), *sides)


def _checked_trail(trail: Any) -> tuple[Box, ...]:
    if not isinstance(trail, list | tuple) or len(trail) > MOST_BOXES:
        raise ValueError(f"`trail`: expected a list of at most {MOST_BOXES} boxes.")
    found: list[Box] = []
    for box in trail:
        if not isinstance(box, list | tuple) or len(box) != 5:
            raise ValueError("`trail`: expected boxes of a time, left, top, right and bottom.")
        time = _number(box[0], "trail", LATEST)
        left, top, right, bottom = (_number(value, "trail", 1.0) for value in box[1:])
        if not (left < right and top < bottom) or (found and time < found[-1][0]):
            raise ValueError("`trail`: expected boxes that hold something, in order of time.")
        found.append((time, left, top, right, bottom))
    return tuple(found)


def _number(value: Any, name: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"`{name}`: expected a number from 0 to {most:g}, got {value!r:.80}.")
    return float(value)


def _no_number(text: str) -> float:
    raise ValueError(f"expected numbers, got {text}")
