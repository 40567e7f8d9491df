"""Decoding in this process: FFmpeg, a container for the pictures and one for each sound track that is heard.

`sonomask.media.sandbox` has another decoder, whose work a guarded child does with the one of this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from sonomask.errors import MediaError
from sonomask.media.boxes import Crop, crop_of, is_followed
from sonomask.media.clock import MOST_FPS, FrameClock, Joins, Stamps
from sonomask.media.colour import colours_of, foreign_matrix, shown, to_rgb
from sonomask.media.cropping import cropped
from sonomask.media.info import Selection, VideoInfo
from sonomask.media.interlace import deinterlaced
from sonomask.media.opening import URL, Limits, decoded, media_errors, open_media
from sonomask.media.orientation import orientation_of
from sonomask.media.skipping import SKIPPABLE, on_screen_at, sparing
from sonomask.media.sound import (
    SAMPLE_RATE,
    SPOTS,
    TRIED,
    AudioTrack,
    choose_tracks,
    highest_sample,
    mixed,
    resampled,
    silence,
    sound_stream,
    tracks_of,
)  # fmt: skip
from sonomask.media.streams import (
    check_size,
    packets,
    pixel_aspect,
    sought,
    stored_size,
    timecode,
    video_stream,
)  # fmt: skip

__all__ = ["LocalDecoder"]

GAP = 0.05  # seconds by which sound may be off its timestamp before silence is put in or sound left out
PREROLL = 0.5  # seconds decoded before a start in the middle, for codecs that need a run-up
BACK_OFF = (
    0.0,
    2.0,
    8.0,
    32.0,
    128.0,
    1e9,
)  # seconds before a start at which a key picture is sought, one after the other
SLOWEST_FPS = Fraction(1, 3600)
HELD = 0.2  # seconds that the sound must go on after the last picture for that to stay on screen
JOINABLE = {
    "mpegts",
    "mpeg",
    "ogg",
}  # formats whose files can be joined by `cat`, and whose headers then tell the first part
LATE_START = 0.5  # seconds
SURVEYED = 2**32  # bytes up to which a file is looked through for joins, or for a length that its header does not tell


class LocalDecoder:
    """A `Decoder` in this process.

    Args:
        source: Path or address.
        limits: Limits on the source.
        selection: Requested part of the source; the default sound track is chosen by listening to that part.
        hwaccel: Kind of device that decodes the pictures ("cuda", "vaapi", …); the processor, with a warning, where it does
            not start.

    Raises:
        MediaError: There is no such file, it is no video, or it is beyond a limit.
    """

    guarded = False

    def __init__(
        self,
        source: str | Path,
        limits: Limits | None = None,
        selection: Selection | None = None,
        hwaccel: str | None = None,
    ) -> None:
        self.hwaccel = hwaccel
        self.source, self.limits, self.selection = str(source), limits or Limits(), selection or Selection()
        self.warnings: list[str] = []
        self._open_containers: list[Any] = []
        self._joins = Joins(self.limits.gap)
        self._surveyed = False
        with media_errors(self.source), open_media(self.source, self.limits) as container:
            self._examine(container)

    def close(self) -> None:
        """Close the containers."""
        for container in self._open_containers:
            container.close()
        self._open_containers.clear()

    def _examine(self, container: Any) -> None:
        stream = video_stream(container, self.source)
        check_size(stream.codec_context.width, stream.codec_context.height, self.source, self.limits)
        frame = next(decoded(container, stream, []), None)
        if frame is None and not stream.codec_context.width:  # FFmpeg tells no size beyond the limit
            raise MediaError(
                f"{self.source}: its pictures have no size that can be: over the limit of {self.limits.pixels} pixels, or "
                "damaged. Scale it down first, or check that the file is complete."
            )
        if frame is None:
            raise MediaError(f"{self.source}: nothing in its video stream can be decoded. Is the file complete?")
        origin = (container.start_time or 0) / av.time_base
        self._origin = (frame.time or 0.0) if abs(origin) > 1e9 else origin
        self._aspect = pixel_aspect(stream)
        self._crop = Crop() if URL.match(self.source) else crop_of(self.source, container.streams.video.index(stream))
        frame = next(cropped(iter([(None, frame)]), self._crop))[1]
        self._tell_of_colours(frame)
        orientation, colours = orientation_of(frame), shown(colours_of(frame))
        height, width = orientation.size(*stored_size(frame, self._aspect))
        check_size(width, height, self.source, self.limits)
        rates = (stream.average_rate, stream.guessed_rate)
        fps = next((r for r in rates if r and SLOWEST_FPS <= r <= MOST_FPS), Fraction(25))
        self._interlaced = bool(frame.interlaced_frame)  # each field is made whole with the help of its neighbours
        self._by_decoding_time = "avi" in container.format.name.split(",")
        duration = self._duration(container)
        tracks = tracks_of(container, lambda number: self._loudness(number, None, once=True) is not None)
        heard = choose_tracks(
            tracks, self.selection.audio_track, lambda number: self._loudness(number, duration), self.source
        )
        self._tell_of_tracks(tracks, heard)
        self.info = VideoInfo(
            self.source, width, height, Fraction(fps), duration, orientation.rotation, bool(heard), orientation.mirrored,
            colours, audio_tracks=tracks, heard=heard, joined=len(self._joins.shifts) > 1,
            timecode=timecode(container),
        )  # fmt: skip

    def _duration(self, container: Any) -> float | None:
        duration = container.duration / av.time_base if container.duration else None
        if duration is not None and not 0 < duration < 1e9:  # "unknown" in some containers
            duration = None
        whole = self.selection == Selection(audio_track=self.selection.audio_track)
        if whole and (duration is None or self._may_be_longer(container)):
            duration = self._survey() or duration
        if self.limits.seconds is not None and whole and duration is not None and duration > self.limits.seconds:
            raise MediaError(
                f"{self.source}: {duration:.0f} s long, the limit is {self.limits.seconds:.0f} s. Cut it first."
            )
        return duration

    def _may_be_longer(self, container: Any) -> bool:
        """Whether the length in the header may be wrong.

        Of files that were joined it tells the first part; Matroska's counts from 0, though its clock may begin later, as in the
        parts of a recording.
        """
        names = set(container.format.name.split(","))
        late = "matroska" in names and self._origin > LATE_START
        return bool(JOINABLE & names) or late or (not URL.match(self.source) and is_followed(self.source))

    def _tell_of_colours(self, frame: Any) -> None:
        name = foreign_matrix(frame)
        if name:
            self.warnings.append(
                f"{self.source}: its colours are stored in a way that is not known here (matrix {name}), and may be off."
            )

    def _survey(self) -> float | None:
        """Look through all packets of a file for its length and its joins."""
        if URL.match(self.source) or Path(self.source).stat().st_size > SURVEYED:
            return None
        joins = self._joins
        with open_media(self.source, self.limits) as container:
            streams = (*container.streams.video[:1], *container.streams.audio[:1])
            for packet in packets(container, *streams):
                if packet.dts is not None:
                    length = float((packet.duration or 0) * packet.time_base)
                    joins.place(packet.stream_index, float(packet.dts * packet.time_base) - self._origin, length)
        self._surveyed = True
        return joins.end if joins.end > 0 else None

    def _tell_of_tracks(self, tracks: tuple[AudioTrack, ...], heard: tuple[int, ...]) -> None:
        for track in tracks:
            if track.problem and not heard:
                self.warnings.append(f"{self.source}: sound track {track.number} can't be heard: {track.problem}.")
        if len(tracks) > 1 and heard and self.selection.audio_track is None:
            default = next((track.number for track in tracks if track.default), 1)
            why = "" if heard[0] == default else f", since track {default} is silent or can't be decoded"
            self.warnings.append(
                f"{self.source}: sound track {heard[0]} of {len(tracks)} is heard ({tracks[heard[0] - 1]}){why}."
            )

    def _loudness(self, number: int, duration: float | None, *, once: bool = False) -> float | None:
        """Peak of a track, sampled at a few positions; None if nothing can be decoded."""
        begin, end = self.selection.start, self.selection.end if self.selection.end is not None else duration
        highest = None
        for spot in SPOTS[:1] if once or end is None or end - begin <= TRIED else SPOTS:
            with open_media(self.source, self.limits) as container:
                place = begin + spot * ((end or begin) - begin)
                if place > 0:
                    sought(container, place + self._origin)
                stream = sound_stream(container, number)
                if once and stream.codec_context is None:
                    return None
                found = highest_sample(decoded(container, stream, []), 0.0 if once else TRIED)
            highest = found if highest is None else max(highest, found or 0.0)
            if (highest or 0.0) > 0.01:
                break
        return highest

    def pictures(self, start: float, pace: float | None = None) -> Iterator[tuple[float, Any, float]]:
        """Iterate over (time, frame, time of the next frame), from the last frame at or before `start`; see `Decoder`."""
        container = self._own(self.hwaccel)
        stream = video_stream(container, self.source)
        stream.thread_type = "AUTO"
        joined = len(self._joins.shifts) > 1
        if start > 0 and not joined:
            self._seek_key(container, stream, start)
        clock = FrameClock(
            self.source, self.limits.gap, self.warnings, 0.0 if joined else start, shifts=self._joins.shifts,
            stands=self._stands,
        )  # fmt: skip
        held: tuple[float, Any] | None = None
        end, late, limited = 0.0, 0, False
        spare = float(1 / self.info.fps)
        self._gone = -math.inf
        for (stamp, length), frame in self._whole(container, stream, None if joined else pace):
            time = clock.at(stamp, spare)
            if time is None:
                late += 1
                continue
            check_size(frame.width, frame.height, self.source, self.limits)
            if self.limits.seconds is not None and time - self.selection.start > self.limits.seconds:
                self.warnings.append(f"{self.source}: only the first {self.limits.seconds:.0f} s are read (limit).")
                limited = True
                break
            if held is not None:
                yield *held, time
            held, end = (time, frame), time + min(max(length or spare, 0.0), self.limits.gap)
        if held is not None:
            end = end if limited else self._last_end(held[0], end, clock)
            yield *held, end
        self._tell_of_the_end(late, math.inf if limited else end)

    def _whole(
        self, container: Any, stream: Any, pace: float | None
    ) -> Iterator[tuple[tuple[float | None, float], Any]]:
        """Like `_stamped`, but deinterlaced and cropped."""
        with media_errors(self.source):
            yield from deinterlaced(cropped(self._stamped(container, stream, pace), self._crop))

    def _seek_key(self, container: Any, stream: Any, start: float) -> None:
        """Go to a key picture at or before `start`; formats without an index lead to any place."""
        for back in BACK_OFF:
            place = max(0.0, start - back) + self._origin
            if not sought(container, place):
                return
            key = next((p for p in packets(container, stream) if p.is_keyframe and p.pts is not None), None)
            if start <= back or (key is not None and float(key.pts * key.time_base) - self._origin <= start + 1e-3):
                break
        sought(container, place)

    def _stamped(
        self, container: Any, stream: Any, pace: float | None
    ) -> Iterator[tuple[tuple[float | None, float], Any]]:
        """((seconds since the beginning, length), frame)."""
        stamps, through = Stamps(decoding=self._by_decoding_time), None
        plain = not (self._by_decoding_time or self._interlaced) and stream.codec_context.name in SKIPPABLE
        if pace is not None and plain and 2 * pace <= self.info.fps:
            start, ends = self.selection.start, [math.inf if self.selection.end is None else self.selection.end]
            if self.limits.seconds is not None:
                ends.append(start + self.limits.seconds)
            wanted = on_screen_at(pace, start, min(ends), float(1 / self.info.fps) / 2)
            through = partial(sparing, stream=stream, wanted=wanted, origin=self._origin, gap=self.limits.gap)
        for frame in decoded(container, stream, self.warnings, stamps.packet, through):
            stamp, base = stamps.choose(frame.pts, frame.dts), frame.time_base or stream.time_base
            length = float((getattr(frame, "duration", 0) or 0) * base)
            yield (None if stamp is None else float(stamp * base) - self._origin, length), frame
        self._gone = stamps.end * float(stream.time_base) - self._origin if stamps.end is not None else -math.inf

    def _stands(self, since: float, time: float) -> bool:
        """Whether header and sound agree that there is something between two times."""
        duration = self.info.duration
        return duration is not None and time <= duration + 1 and self._sound_until(since, time) >= time - GAP - 1

    def _sound_until(self, since: float, limit: float = math.inf) -> float:
        """Time at which the sound that is playing at `since` ends, or pauses for longer than `Limits.gap`."""
        last = since
        if not self.info.heard:
            return last
        with media_errors(self.source), open_media(self.source, self.limits) as container:
            stream = sound_stream(container, self.info.heard[0])
            sought(container, max(0.0, since - PREROLL) + self._origin)
            for packet in packets(container, stream):
                if packet.dts is None:
                    continue
                time = float(packet.dts * packet.time_base) - self._origin
                if not last - self.limits.gap <= time <= last + self.limits.gap or last > limit:
                    break
                last = max(last, time + float((packet.duration or 0) * packet.time_base))
        return last

    def _last_end(self, time: float, end: float, clock: FrameClock) -> float:
        """Time at which the last picture disappears: it stays until the sound ends."""
        if self._surveyed:
            until = self._joins.end if self.info.heard else self._gone + clock.shift
        else:
            until = max(self._sound_until(time), self._gone + clock.shift)
        return until if until > end + HELD else end

    def _tell_of_the_end(self, late: int, end: float) -> None:
        if late:
            self.warnings.append(f"{self.source}: {late} frames whose time is not after the one before were left out.")
        expected = self.info.duration
        if expected is not None and end < expected - max(1.0, 0.1 * expected):
            self.warnings.append(f"{self.source}: ends after {end:.1f} s of {expected:.1f} s. What there is was read.")

    def pixels(self, picture: Any, size: tuple[int, int] | None) -> UInt8[np.ndarray, "H W 3"]:
        """A frame as shown, at (height, width)."""
        with media_errors(self.source):
            return to_rgb(picture, size, stored_size(picture, self._aspect))

    def samples(self, start: float, rate: int = SAMPLE_RATE, layout: str = "mono") -> Iterator[np.ndarray]:
        """(channels, S) of the sound from `start` on; several tracks are added up."""
        sources = [self._track(number, start, rate, layout) for number in self.info.heard]
        return sources[0] if len(sources) == 1 else mixed(sources)

    def _track(self, number: int, start: float, rate: int, layout: str) -> Iterator[np.ndarray]:
        container = self._own()
        stream = sound_stream(container, number)
        joined = len(self._joins.shifts) > 1
        if start > PREROLL and not joined:
            sought(container, start - PREROLL + self._origin)
        place = piece_of_file = 0  # samples handed out since `start`
        shift, longest = 0, round(self.limits.gap * rate)
        frames = decoded(container, stream, self.warnings)
        for time, piece in resampled(self.source, frames, self.warnings, rate, layout):
            due = None if time is None else round((time - self._origin - start) * rate) + shift
            if due is not None and (place or joined) and not place - rate <= due <= place + longest:
                piece_of_file += 1  # the clock was set anew; the pictures' `FrameClock` does the same
                known = self._joins.shifts[piece_of_file : piece_of_file + 1]
                moved = round(known[0] * rate) if known else shift + place - due
                shift, due = moved, due - shift + moved
                if not place - rate <= due <= place + longest:
                    shift, due = shift + place - due, place
            if due is not None and abs(due - place) > GAP * rate:
                if due > place + longest:  # nothing was heard yet, and this is no time
                    self.warnings.append(f"{self.source}: sound at {due / rate:.0f} s, far from the rest, is left out.")
                    return
                if due > place:
                    yield from silence(due - place, rate, len(piece))
                    place = due
                else:  # before the start, or a second time
                    piece = piece[:, min(piece.shape[1], place - due) :]
            place += piece.shape[1]
            yield piece

    def _own(self, hwaccel: str | None = None) -> Any:
        try:
            container = open_media(self.source, self.limits, hwaccel)
        except MediaError as error:
            if hwaccel is None:
                raise
            self.warnings.append(f"{self.source}: decoded on the processor, as {hwaccel} did not start ({error}).")
            container = open_media(self.source, self.limits)
        self._open_containers.append(container)
        return container
