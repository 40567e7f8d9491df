"""Formats for times at which something sounds: subtitles, audio labels, diarisation and editors' markers.

A mask stands for the time from half way to the mask before to half way to the next, as in the overlay. Times are those of
the source. Each name has times of its own: of a class, of a thing where the model knows names, else "sounding".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sonomask.outputs.formats import Format
from sonomask.outputs.moment import Moment, OutputContext, Take
from sonomask.schemas import schema
from sonomask.workspace import atomic_path

__all__ = ["WHEN", "Span", "write_when"]

TICKS = 1000  # of an OpenTimelineIO clock, a second


@dataclass(frozen=True)
class Span:
    """A time in which something sounds.

    Attributes:
        start: Seconds of the source.
        end: Seconds of the source.
        name: Name of the class, or of the thing where the model knows names.
    """

    start: float
    end: float
    name: str


@dataclass
class _Spans:
    """Gathers them from masks."""

    context: OutputContext
    done: list[Span] = field(default_factory=list)
    open: dict[str, float] = field(default_factory=dict)
    last: Moment | None = None
    begun: float = 0.0

    def take(self, moment: Moment) -> None:
        if self.last is None:
            self.begun = self.context.reader.info.start
        else:
            self._close(self.last, (self.last.source_time + moment.source_time) / 2)
        self.last = moment

    def _close(self, moment: Moment, until: float) -> None:
        """Note what a mask contains, up to a time."""
        found = self._sounding(moment)
        for name in found - self.open.keys():
            self.open[name] = self.begun
        for name in self.open.keys() - found:
            self._end(name, self.begun)
        self.begun = until

    def _sounding(self, moment: Moment) -> set[str]:
        """The names of what sounds in a mask: of its regions where the model knows names, else of its classes."""
        if moment.heard is not None and self.context.things:
            return {self.context.of(region)[1].replace("_", " ") for region in moment.regions}
        return {self.context.category(int(label)) for label in np.unique(moment.labels) if label}

    def _end(self, name: str, until: float) -> None:
        start = self.open.pop(name)
        if until > start:
            self.done.append(Span(start, until, name))

    def finish(self) -> list[Span]:
        if self.last is not None:
            info, half = self.context.reader.info, self.last.source_time - self.begun
            end = self.last.source_time + max(half, 0.0)
            if info.duration is not None and info.start + info.duration - end < 1.0:
                end = info.start + info.duration
            self._close(self.last, max(end, self.begun))
            for name in list(self.open):
                self._end(name, self.begun)
        return sorted(self.done, key=lambda span: (span.start, span.end, span.name))


Text = Callable[[Sequence[Span], OutputContext], str]


@contextmanager
def write_when(path: Path, context: OutputContext, text: Text) -> Iterator[Take]:
    """A file of text that is made at the end from the times at which something sounds."""
    spans = _Spans(context)
    with atomic_path(path, overwrite=context.overwrite) as fresh:
        yield spans.take
        with fresh.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text(spans.finish(), context))


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _srt(spans: Sequence[Span], _: OutputContext) -> str:
    """SubRip."""
    blocks = [
        f"{number}\n{_clock(s.start, ',')} --> {_clock(s.end, ',')}\n{s.name}\n\n" for number, s in enumerate(spans, 1)
    ]
    return "".join(blocks)


def _vtt(spans: Sequence[Span], _: OutputContext) -> str:
    """WebVTT. Source: https://www.w3.org/TR/webvtt1."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(s.start, '.')} --> {_clock(s.end, '.')}\n{_escaped(s.name)}\n\n" for s in spans
    )


def _escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _audacity(spans: Sequence[Span], _: OutputContext) -> str:
    """A label track. Source: Audacity's manual, "Importing and Exporting Labels"."""
    return "".join(f"{s.start:.6f}\t{s.end:.6f}\t{s.name}\n" for s in spans)


def _rttm(spans: Sequence[Span], context: OutputContext) -> str:
    """Rich Transcription Time Marked. Source: NIST, RT-09 evaluation plan, appendix A."""
    file = "_".join(context.name.split()) or "video"
    return "".join(
        f"SPEAKER {file} 1 {s.start:.3f} {s.end - s.start:.3f} <NA> <NA> {'_'.join(s.name.split())} <NA> <NA>\n"
        for s in spans
    )


def _otio(spans: Sequence[Span], context: OutputContext) -> str:
    """An OpenTimelineIO timeline of one clip, the source, with a marker for each time. Source: its file format, Clip.2."""
    info = context.reader.info
    length = max([info.duration or 0.0, *(span.end - info.start for span in spans)])
    markers = [
        {
            "OTIO_SCHEMA": "Marker.2", "name": span.name, "color": "RED", "comment": "", "metadata": {},
            "marked_range": _range(span.start, span.end - span.start),
        }
        for span in spans
    ]  # fmt: skip
    clip = {
        "OTIO_SCHEMA": "Clip.2", "name": context.name, "effects": [], "markers": markers, "enabled": True,
        "metadata": {"sonomask": {"schema": schema("otio"), **context.facts}}, "source_range": _range(info.start, length),
        "active_media_reference_key": "DEFAULT_MEDIA",
        "media_references": {
            "DEFAULT_MEDIA": {
                "OTIO_SCHEMA": "ExternalReference.1", "target_url": str(context.facts.get("source", info.source)),
                "available_range": _range(0.0, info.start + length), "metadata": {}, "name": "",
            }
        },
    }  # fmt: skip
    track = {
        "OTIO_SCHEMA": "Track.1", "name": "video", "kind": "Video", "children": [clip], "effects": [], "markers": [],
        "enabled": True, "metadata": {}, "source_range": None,
    }  # fmt: skip
    stack = {
        "OTIO_SCHEMA": "Stack.1", "name": "tracks", "children": [track], "effects": [], "markers": [], "enabled": True,
        "metadata": {}, "source_range": None,
    }  # fmt: skip
    timeline = {
        "OTIO_SCHEMA": "Timeline.1", "name": context.name, "global_start_time": None, "metadata": {}, "tracks": stack,
    }  # fmt: skip
    return json.dumps(timeline, indent=1, ensure_ascii=False) + "\n"


def _range(start: float, length: float) -> dict[str, Any]:
    times = [
        {"OTIO_SCHEMA": "RationalTime.1", "rate": float(TICKS), "value": float(round(t * TICKS))}
        for t in (start, length)
    ]
    return {"OTIO_SCHEMA": "TimeRange.1", "start_time": times[0], "duration": times[1]}


WHEN: dict[Format, Text] = {"srt": _srt, "vtt": _vtt, "audacity": _audacity, "rttm": _rttm, "otio": _otio}
"""Every format that says when, by name."""
