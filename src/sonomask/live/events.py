"""From masks to events: what began to sound, where, with which score, and when it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from sonomask.live.segmenter import LiveMasks
from sonomask.schemas import schema

__all__ = ["SCHEMA", "Event", "EventFinder"]

SCHEMA = schema("event")
BEGINS, ENDS = 0.002, 0.0005  # shares of the picture; a thing ends much smaller than it has to be to begin
HOLD = 0.5  # seconds for which a thing must be gone until it has ended


@dataclass(frozen=True)
class Event:
    """Something began or ended.

    Attributes:
        event: Kind of event.
        id: Id from 1; the end has that of the onset.
        label: Class or thing, or "sounding" where the model knows no names.
        sound: AudioSet's name of what it is heard to do, or "".
        time: When, in seconds since the run began; of an end, when it was last seen.
        box: (left, top, right, bottom) of its pixels, as shares of the picture; of an end, where it was last seen.
        share: Share of the picture that it covers.
        score: Mean probability of its pixels.
        delay: Seconds from the capture of that picture until this was known.
        duration: Duration of an end, seconds since the onset.
    """

    event: Literal["onset", "end"]
    id: int
    label: str
    sound: str
    time: float
    box: tuple[float, float, float, float]
    share: float
    score: float
    delay: float
    duration: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with `schema` first; see `docs/live.md`."""
        kept = {key: round(value, 4) if isinstance(value, float) else value for key, value in vars(self).items()}
        kept["box"] = [round(side, 4) for side in self.box]
        if self.duration is None:
            del kept["duration"]
        return {"schema": SCHEMA, **kept}


@dataclass
class _Going:
    """Something that sounds."""

    onset: Event
    last: Event  # when it was last seen


class EventFinder:
    """Finds events in the masks of a stream, one picture after the other.

    Args:
        begins: Share of the picture from which a thing has begun.
        ends: Share below which it is gone.
        hold: Seconds for which it must be gone.
    """

    def __init__(self, begins: float = BEGINS, ends: float = ENDS, hold: float = HOLD) -> None:
        self.begins, self.ends, self.hold = begins, ends, hold
        self.going: dict[str, _Going] = {}
        self.count = 0

    def see(self, result: LiveMasks) -> list[Event]:
        """The events that a picture causes."""
        found: list[Event] = []
        for label, sound, mask in _things(result):
            share = float(mask.mean())
            going = self.going.get(label)
            if share < (self.begins if going is None else self.ends):
                continue
            if going is None:
                self.count += 1
            number = self.count if going is None else going.onset.id
            score = float(result.masks.probability[0][mask].mean())
            seen = Event("onset", number, label, sound, result.time, _box(mask), share, score, result.delay)
            if going is None:
                self.going[label] = _Going(seen, seen)
                found.append(seen)
            else:
                going.last = seen
        over = [label for label, going in self.going.items() if result.time - going.last.time >= self.hold]
        return found + [self._end(label, result.time - self.going[label].last.time + result.delay) for label in over]

    def finish(self) -> list[Event]:
        """End all events that are still open."""
        return [self._end(label, self.going[label].last.delay) for label in list(self.going)]

    def _end(self, label: str, delay: float) -> Event:
        going = self.going.pop(label)
        last = going.last
        return Event(
            "end", last.id, label, going.onset.sound, last.time, last.box, last.share, last.score, delay,
            last.time - going.onset.time,
        )  # fmt: skip


def _things(result: LiveMasks) -> Iterator[tuple[str, str, Bool[np.ndarray, "H W"]]]:
    """Name, sound and pixels of each thing that sounds."""
    labels, names = result.labels, result.masks.names
    if names is None:
        for label in np.unique(labels[labels > 0]).tolist():
            name = result.classes[label] if label < len(result.classes) else "sounding"
            yield name, "", labels == label
        return
    known = names[0]
    for place in np.unique(known.seen[labels > 0]).tolist():
        yield known.things[place], known.sounds[place], (labels > 0) & (known.seen == place)


def _box(mask: Bool[np.ndarray, "H W"]) -> tuple[float, float, float, float]:
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        float(columns[0] / width), float(rows[0] / height), float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )  # fmt: skip
