"""The requested part of a source, the facts known before decoding, and the interface of decoders."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from sonomask.media.colour import Colours
from sonomask.media.sound import SAMPLE_RATE, AudioTrack

__all__ = ["Decoder", "Selection", "VideoInfo"]


ADVICE = "Add a sound that can be read: ffmpeg -i VIDEO -i SOUND.wav -map 0:v -map 1:a -c:v copy WITH_SOUND.mkv."
"""What to do about a video without sound."""


@dataclass(frozen=True)
class Selection:
    """The requested part of a source.

    Attributes:
        start: Seconds at which the wanted part begins.
        end: Seconds at which it ends; None for the end of the source.
        audio_track: Number from 1, language or title, or "mix"; None for the default one.
    """

    start: float = 0.0
    end: float | None = None
    audio_track: int | str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < math.inf:
            raise ValueError(f"`start`: expected 0 or more seconds, got {self.start}.")
        if self.end is not None and not self.start < self.end:
            raise ValueError(f"`end`: expected more than the start ({self.start:g} s), got {self.end:g} s.")


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a source that are known before decoding.

    Attributes:
        source: Path or URL.
        width: Width as displayed: after pixel aspect and rotation.
        height: Height as displayed.
        fps: Average frame rate.
        duration: Seconds, or None if neither header nor file tells.
        rotation: Quarter turns counter-clockwise that were applied, in degrees.
        has_audio: Whether there is a sound stream that can be decoded.
        mirrored: Whether left and right were swapped before the turn.
        colours: Colours of the pictures that the reader gives, for whoever writes them again.
        start: Seconds of the source at which its own clock begins, where a part of it is read.
        audio_tracks: The sound tracks of the source.
        heard: Numbers of those that are heard; several where they are mixed.
        end: Seconds of the source at which the wanted part ends; None for the end of the source.
        joined: Whether the file is several recordings one after the other.
        timecode: Timecode of the source's first frame, such as "01:00:00:00"; "" if it has none.
    """

    source: str
    width: int
    height: int
    fps: Fraction
    duration: float | None
    rotation: int
    has_audio: bool
    mirrored: bool = False
    colours: Colours = field(default_factory=Colours)
    start: float = 0.0
    end: float | None = None
    audio_tracks: tuple[AudioTrack, ...] = ()
    heard: tuple[int, ...] = ()
    joined: bool = False
    timecode: str = ""

    def to_json(self) -> dict[str, Any]:
        """Itself as plain values; `from_json` reads them."""
        return {**asdict(self), "fps": [self.fps.numerator, self.fps.denominator]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> VideoInfo:
        """Read what `to_json` gave."""
        tracks = tuple(AudioTrack(**track) for track in values["audio_tracks"])
        colours, heard = Colours(**values["colours"]), tuple(map(int, values["heard"]))
        whole = {"fps": Fraction(*values["fps"]), "colours": colours, "audio_tracks": tracks, "heard": heard}
        return cls(**{**values, **whole})

    @property
    def sound_missing(self) -> str:
        """Why there is no sound, and what to do, as the end of a sentence about the source."""
        if not self.audio_tracks:
            return f"has no sound stream, so nothing in it can be heard. {ADVICE}"
        why = self.audio_tracks[0].problem or "nothing in it can be decoded"
        return f"has sound that can't be decoded ({why}). {ADVICE}"

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for results: the part that was read and the sound track that was used."""
        part = {} if not self.start and self.end is None else {"start": self.start, "end": self.end}
        return {**part, "audio_track": self.audio_track}

    @property
    def audio_track(self) -> str:
        """Description of the sound track in use: "2 of 3 (aac, eng)"."""
        if not self.heard:
            return "none"
        if len(self.heard) > 1:
            return f"all {len(self.heard)} mixed"
        return f"{self.heard[0]} of {len(self.audio_tracks)} ({self.audio_tracks[self.heard[0] - 1]})"


@runtime_checkable
class Decoder(Protocol):
    """Interface of decoders. Times are those of the source, in seconds."""

    info: VideoInfo
    warnings: list[str]
    guarded: bool

    def pictures(self, start: float, pace: float | None = None) -> Iterator[tuple[float, Any, float]]:
        """Iterate over (time, picture, time of the next picture), from the last picture at or before `start`.

        With a pace, pictures may be left out that are not on screen at (i + 15/16) / `pace` seconds of the part that is read.
        """

    def pixels(self, picture: Any, size: tuple[int, int] | None) -> UInt8[np.ndarray, "H W 3"]:
        """A picture as shown, at (height, width)."""

    def samples(self, start: float, rate: int = SAMPLE_RATE, layout: str = "mono") -> Iterator[np.ndarray]:
        """(channels, S) of the sound from `start` on."""

    def close(self) -> None:
        """Free what is open."""
