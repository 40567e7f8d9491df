"""The sound tracks of a file: which one is used, and how it is converted to 16 kHz mono.

Of several tracks the one that the container marks as default is heard, unless it is silent or can't be decoded; then the
first one that is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from jaxtyping import Float32

from sonomask.errors import MediaError
from sonomask.media.opening import media_errors

__all__ = [
    "MIX",
    "RATES",
    "SAMPLE_RATE",
    "TRACK_RATE",
    "AudioTrack",
    "choose_tracks",
    "resampled",
    "resampler",
    "sound_stream",
]

SAMPLE_RATE = 16_000  # Hz
TRACK_RATE = 48_000  # Hz of sound that is encoded again
RATES = (1000, 768_000)  # Hz that a sound may have; others are damage, and a second of them could be a day
MIX = "mix"
SILENT = 1e-3  # highest sample of a track that counts as silent: 60 dB below full scale
SPOTS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)  # of the length, at which a track is tried
TRIED = 10.0  # seconds at each
CANCELLED = 0.05  # share of a channel's energy that is left in the mix of channels that cancel each other
ONE_SIDED = 1e-4  # share of the louder channel's energy in one that counts as empty
HEARD = 1e-7  # mean square of a channel that counts as sounding
MOST_CHANNELS = 16  # that are compared
REMEMBERED = 0.5  # seconds over which channels are compared


@dataclass(frozen=True)
class AudioTrack:
    """A sound track of a file.

    Attributes:
        number: Number from 1.
        codec: FFmpeg's name.
        language: Language as the file has it, such as "eng"; "" for none.
        title: Title as the file has it.
        default: Whether the container marks it as the one to play.
        problem: Why it can't be heard; "" if it can.
    """

    number: int
    codec: str
    language: str = ""
    title: str = ""
    default: bool = False
    problem: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.codec, self.language, self.title)))


def sound_stream(container: Any, number: int) -> Any:
    """The stream of the track of that number."""
    return container.streams.audio[number - 1]


def tracks_of(container: Any, can_decode: Callable[[int], bool]) -> tuple[AudioTrack, ...]:
    """The sound tracks of an open file.

    Args:
        container: PyAV's.
        can_decode: Whether the track of a number gives sound, asked where the header does not say it.
    """
    tracks = []
    for number, stream in enumerate(container.streams.audio, start=1):
        codec, problem = stream.codec_context, ""
        if codec is None:
            problem = "its codec is unknown"
        elif not RATES[0] <= codec.sample_rate <= RATES[1] and not can_decode(number):
            problem = f"it has no sample rate that can be ({codec.sample_rate} Hz), and nothing in it can be decoded"
        name = "unknown" if codec is None else canonical(codec)
        words = {key: str(stream.metadata.get(key, ""))[:100] for key in ("language", "title")}
        words["language"] = words["language"].replace("und", "")
        marked = bool(stream.disposition & Disposition.default)
        tracks.append(AudioTrack(number, name, default=marked, problem=problem, **words))
    return tuple(tracks)


def canonical(codec: Any) -> str:
    """FFmpeg's name of a codec, not of one of its decoders: "mp3", not "mp3float"."""
    return str(getattr(codec.codec, "canonical_name", codec.name))


def choose_tracks(
    tracks: Sequence[AudioTrack], choice: int | str | None, loudness: Callable[[int], float | None], source: str
) -> tuple[int, ...]:
    """Numbers of the tracks that are heard together; none where there is none to hear.

    Args:
        tracks: Tracks of the file.
        choice: Number, a language or title, "mix" for all at once, or None for the rule above.
        loudness: The highest sample of a track, or None for one that can't be decoded.
        source: Source for messages.

    Raises:
        MediaError: There is no such track, or it can't be decoded.
    """
    good = [track for track in tracks if not track.problem]
    if choice is not None and choice != "":
        return _chosen(tracks, choice, source)
    if len(tracks) <= 1:
        return tuple(track.number for track in good)
    levels: dict[int, float | None] = {}
    for track in sorted(good, key=lambda track: not track.default):  # a stable sort
        levels[track.number] = loudness(track.number)
        if (levels[track.number] or 0.0) > SILENT:
            return (track.number,)
    return tuple(islice((number for number, level in levels.items() if level is not None), 1))


def _chosen(tracks: Sequence[AudioTrack], choice: int | str, source: str) -> tuple[int, ...]:
    word = str(choice).strip().lower()
    if word == MIX:
        found = [track for track in tracks if not track.problem]
    elif word.isdecimal():
        found = [track for track in tracks if track.number == int(word)]
    else:
        found = [t for t in tracks if word == t.language.lower()]
        found = found or [t for t in tracks if len(word) == 2 and t.language.lower().startswith(word)]
        found = (found or [t for t in tracks if word == t.title.lower()])[:1]
    if not found:
        have = "; ".join(f"{track.number}: {track}" for track in tracks) or "none"
        raise MediaError(
            f"{source}: there is no sound track {choice!r}. It has {have}. Give a number, a language or 'mix'."
        )
    if word != MIX and found[0].problem:
        raise MediaError(
            f"{source}: sound track {found[0].number} can't be decoded: {found[0].problem}. Give another one."
        )
    return tuple(track.number for track in found)


def resampler(rate: int = SAMPLE_RATE, layout: Any = "mono") -> Any:
    """To floats, channel by channel."""
    return av.AudioResampler(format="fltp", layout=layout, rate=rate)


def resampled(
    source: str, frames: Iterator[Any], warnings: list[str], rate: int = SAMPLE_RATE, layout: str = "mono"
) -> Iterator[tuple[float | None, np.ndarray]]:
    """(time, samples of each channel) of decoded sound, whose form may change on the way.

    Mono is FFmpeg's mix of the channels (of two 0.71 of their sum); where they cancel each other, or one of two is empty, it
    is the loudest channel, and the warnings say so once.
    """
    shape, form = None, Form(source, warnings, rate, layout)
    for frame in frames:
        if not RATES[0] <= frame.sample_rate <= RATES[1]:
            raise MediaError(f"{source}: its sound claims {frame.sample_rate} Hz, expected {RATES[0]} to {RATES[1]}.")
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != now:
            if shape is not None:
                yield None, form.convert(None)
            form, shape = Form(source, warnings, rate, layout, frame.layout), now
        time, frame.pts = frame.time, None
        yield time, form.convert(frame)
    if shape is not None:
        yield None, form.convert(None)


class Form:
    """Converts sound of one form: `convert` frames in order, None at the end."""

    def __init__(self, source: str, warnings: list[str], rate: int, layout: str, own: Any = None) -> None:
        self.source, self.warnings, self.rate = source, warnings, rate
        channels = 1 if own is None else own.nb_channels
        self.energy = np.zeros(channels + 1)  # of each channel and their mix, lately
        self.main = resampler(rate, layout)
        self.sides, self.shares = None, np.ones(channels)
        if layout == "mono" and 2 <= channels <= MOST_CHANNELS:
            self.sides = av.AudioResampler(
                format="flt", layout=own, rate=rate
            )  # planes of more than eight would be lost
            self.shares = shares_of(own) if channels > 2 else np.ones(2)

    def convert(self, frame: Any) -> np.ndarray:
        """Samples of each channel."""
        mean = self._drained(self.main, frame)
        if self.sides is None:
            return mean
        sides = self._drained(self.sides, frame).reshape(-1, len(self.shares)).T
        if sides.shape[1] != mean.shape[1] or not mean.shape[1]:
            return mean
        return self._louder(mean, sides)

    def _louder(self, mean: np.ndarray, sides: Float32[np.ndarray, "channels S"]) -> np.ndarray:
        now = np.square(np.concatenate([sides, mean]), dtype=np.float64).mean(1)
        kept = np.exp(-mean.shape[1] / self.rate / REMEMBERED)
        self.energy = energy = kept * np.nan_to_num(self.energy) + (1 - kept) * now
        own = energy[:-1] * self.shares  # what each channel would give the mix alone
        if energy[-1] < ONE_SIDED * energy[:-1].max():
            own = energy[:-1]  # one for deep sounds, which the mix leaves out, is better than nothing
        left, loud = energy[-1], int(own.argmax())
        if not energy[loud] > HEARD:
            return mean
        several = len(sides) > 2
        cancelled = left < CANCELLED * (own.sum() if several else energy[loud])
        empty = not several and energy[1 - loud] < ONE_SIDED * energy[loud]
        if not cancelled and not empty:
            return mean
        two = "the two" if not several else "the"
        why = f"{two} channels of its sound cancel each other" if cancelled else "one channel of its sound is empty"
        text = f"{self.source}: {why}; the {'loudest' if several else 'louder'} one is heard there."
        if text not in self.warnings:
            self.warnings.append(text)
        return sides[loud : loud + 1]

    def _drained(self, form: Any, frame: Any) -> np.ndarray:
        with media_errors(self.source, "its sound can't be decoded"):
            parts = [part.to_ndarray() for part in form.resample(frame)]
        rows = form.layout.nb_channels if form.format.is_planar else 1
        return np.concatenate(parts or [np.zeros((rows, 0), np.float32)], axis=1)


def shares_of(layout: Any) -> Float32[np.ndarray, " channels"]:
    """The energy that each channel of a layout has in FFmpeg's mono mix, when it sounds alone."""
    count, rate = layout.nb_channels, SAMPLE_RATE
    shares = np.zeros(count, np.float32)
    for channel in range(count):
        samples = np.zeros((1024, count), np.float32)
        samples[:, channel] = 0.5
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", layout)
        frame.sample_rate, form = rate, resampler(rate)
        parts = [part.to_ndarray() for piece in (frame, None) for part in form.resample(piece)]
        shares[channel] = float(np.square(np.concatenate(parts, axis=1).mean() / 0.5))
    return shares


def highest_sample(frames: Iterator[Any], seconds: float) -> float | None:
    """Highest sample of decoded sound, up to the first piece that is not silent; None if there is none."""
    highest, heard, form = None, 0.0, None
    with suppress(MediaError, av.FFmpegError, OSError, ValueError, ArithmeticError, RuntimeError):
        for frame in frames:
            form = form or av.AudioResampler(format="fltp")
            heard += frame.samples / max(frame.sample_rate, 1)
            frame.pts = None
            for part in form.resample(frame):
                level = float(np.abs(part.to_ndarray()).max(initial=0.0))
                highest = max(highest or 0.0, level)
            if heard > seconds or (highest or 0.0) > SILENT:
                break
    return highest


def silence(samples: int, rate: int, channels: int) -> Iterator[np.ndarray]:
    """Zeros, a minute at a time."""
    whole, rest = divmod(samples, 60 * rate)
    for _ in range(whole):
        yield np.zeros((channels, 60 * rate), np.float32)
    yield np.zeros((channels, rest), np.float32)


def mixed(sources: list[Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """The sum of several sounds, as long as the longest."""
    stores: list[np.ndarray | None] = [None] * len(sources)
    while True:
        for i, source in enumerate(sources):
            while stores[i] is None or not stores[i].shape[1]:  # type: ignore[union-attr]
                piece = next(source, None)
                if piece is None:
                    break
                stores[i] = piece
        ready = [store for store in stores if store is not None and store.shape[1]]
        if not ready:
            return
        count = min(store.shape[1] for store in ready)
        yield np.asarray(sum(store[:, :count] for store in ready), np.float32)
        stores = [None if store is None else store[:, count:] for store in stores]
