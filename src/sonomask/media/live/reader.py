"""Reading a live source: one pass over pictures and sound as they come, on the clock of the run.

A source stamps its packets, but does not say how the stamps relate to this machine's clock. So there are two kinds of time:

    time       seconds since the run began, from the stamps: sound and picture of one moment have one time
    captured   the moment, on this machine's clock, at which a time was at the earliest seen: the packet that was delayed
               least tells the offset. What is constant in encoder and network before that does not show.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import av
import numpy as np
from jaxtyping import Float32, UInt8

from sonomask.errors import MediaError
from sonomask.media.boxes import Crop, crop_of
from sonomask.media.clock import Joins
from sonomask.media.colour import to_rgb
from sonomask.media.cropping import Cutters, cropped
from sonomask.media.live.source import LiveSource, open_source
from sonomask.media.live.units import take_units, together
from sonomask.media.opening import Limits, decoded
from sonomask.media.sound import (
    SAMPLE_RATE,
    TRIED,
    Form,
    choose_tracks,
    highest_sample,
    sound_stream,
    tracks_of,
)  # fmt: skip
from sonomask.media.streams import check_size, displayed, pixel_aspect, stored_size, video_stream

LEAP = 600.0  # seconds forward in a file that are taken for the clock of another recording
JUMP = 10.0  # seconds by which stamps and clock may part between two packets before a new count begins
BEHIND = 1.0  # seconds late, without having waited for a packet, from which on only whole pictures are decoded
MEMORY = 30.0  # seconds for which the least delay holds at least; twice that at most
WAITED = 0.002  # seconds; what took longer to come was waited for
LIVE_LIMITS = Limits(pixels=2**24, timeout=10.0)


@dataclass(frozen=True)
class LivePicture:
    """A frame of a live source.

    Attributes:
        time: Seconds since the run began.
        size: (height, width) as displayed.
        frame: PyAV's, from which `image` makes pixels only if they are wanted.
        bytes: Size in memory.
    """

    time: float
    size: tuple[int, int]
    frame: Any
    aspect: Any = None

    @property
    def bytes(self) -> int:
        """Approximate size in memory."""
        return self.frame.width * self.frame.height * 3 // 2

    def image(self, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "H W 3"]:
        """RGB, as displayed, at (height, width)."""
        return to_rgb(self.frame, size, stored_size(self.frame, self.aspect))


@dataclass(frozen=True)
class LiveSound:
    """A piece of sound: 16 kHz mono.

    Attributes:
        time: Time of the first sample, in seconds since the run began.
        samples: Samples in -1..1.
    """

    time: float
    samples: Float32[np.ndarray, " S"]


class Epoch:
    """The moment on the clock at which the run's time is 0; the source that comes first sets it."""

    def __init__(self) -> None:
        self.moment: float | None = None
        self.lock = threading.Lock()

    def settle(self, moment: float) -> float:
        """Set the epoch unless it is set already, and return it."""
        with self.lock:
            self.moment = moment if self.moment is None else self.moment
            return self.moment


class StreamClock:
    """Relates a source's stamps to the run's time and to the clock.

    Args:
        epoch: Epoch of the run.
        origin: The stamp with which the source begins; that of its first packet unless given.
        jumps: Whether a stamp far from what the clock expects begins a new count, as where a camera was started again.
    """

    def __init__(self, epoch: Epoch, origin: float | None = None, *, jumps: bool = True) -> None:
        self.epoch, self.origin, self.jumps = epoch, origin, jumps
        self.shift: float | None = None
        self.last_stamp = self.last_arrival = 0.0
        self.least = self.least_before = math.inf  # of (arrival - time), in this and in the last half of the memory
        self.turned = -math.inf

    def place(self, stamp: float, arrived: float) -> float:
        """The run's time of a stamp, both in seconds; `arrived` is on the clock, at which the packet came."""
        if self.shift is None:
            if self.epoch.moment is None:
                known = self.origin is not None and abs(stamp - self.origin) < JUMP
                self.shift = -self.origin if known and self.origin is not None else -stamp
                self.epoch.settle(arrived - stamp - self.shift)
            else:
                self.shift = arrived - self.epoch.moment - stamp
        elif self.jumps and abs((stamp - self.last_stamp) - (arrived - self.last_arrival)) > JUMP:
            going = self.last_stamp + self.shift + max(0.0, arrived - self.last_arrival)
            self.shift = going - stamp  # the source has begun a new count
            self.least = self.least_before = math.inf
        self.last_stamp, self.last_arrival = stamp, arrived
        time = stamp + self.shift
        if arrived - self.turned > MEMORY:
            self.least_before, self.least, self.turned = self.least, math.inf, arrived
        self.least = min(self.least, arrived - time)
        return time

    def captured(self, time: float) -> float:
        """The moment on the clock at which that time of the run was at the earliest seen."""
        return time + min(self.least, self.least_before)


class LiveReader:
    """Read a live source as it comes; iterate over it in a `with` block.

    If decoding can't keep up, pictures between two key frames are left out until it has.

    Args:
        source: Source from `parse_source`.
        epoch: Epoch of the run.
        limits: Limits on the source.
        now: The clock.

    Raises:
        MediaError: It can't be opened, or holds neither pictures nor sound.
    """

    def __init__(
        self,
        source: LiveSource,
        *,
        epoch: Epoch | None = None,
        limits: Limits = LIVE_LIMITS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source, self.limits, self.now = source, limits, now
        self.left_out = self.damaged = 0  # video packets: not decoded to catch up; not decodable
        self.container = open_source(source, limits)
        self.warnings: list[str] = []
        self.audio: Any = self._sound_stream()
        self.video: Any = video_stream(self.container, source.text) if self.container.streams.video else None
        if self.audio is None and self.video is None:
            self.container.close()
            raise MediaError(f"{source.text}: has neither pictures nor sound.")
        if self.video is not None:
            self.video.thread_type = "SLICE"  # threads over frames would each hold one back
            check_size(self.video.codec_context.width, self.video.codec_context.height, source.text, limits)
        self.crop = Crop()
        self.cutters: Cutters = {}
        if self.video is not None and source.kind == "file":
            self.crop = crop_of(source.address.removeprefix("file:"), self.container.streams.video.index(self.video))
        self.form, self.shape = Form(source.text, self.warnings, SAMPLE_RATE, "mono"), ("", 0)
        self.joins, self.moved, self.last_time = Joins(LEAP), [0.0], 0.0
        self.waited_at, self.skipping, self.skipped_at = now(), False, 0.0
        finite = source.kind == "file" or (self.container.duration or 0) > 0
        self.finite = finite and source.kind != "pipe"
        origin = self.container.start_time
        self.timeline = StreamClock(
            epoch or Epoch(), None if origin is None else origin / av.time_base, jumps=not self.finite
        )
        live = not self.finite and source.kind in ("address", "pipe")
        self.units = take_units(self.container, self.video, self.audio) if live else None
        self.heard_until: float | None = None  # stamp in seconds up to which there was sound
        self.bursts = "hls" in self.container.format.name or "dash" in self.container.format.name

    def _sound_stream(self) -> Any:
        """The requested track, or the default one; for a file, the first that is not silent."""
        tracks = tracks_of(self.container, lambda _: True)
        level = self._level if self.source.kind == "file" else lambda _: 1.0
        heard = choose_tracks(tracks, self.source.audio_track, level, self.source.text)
        return sound_stream(self.container, heard[0]) if heard else None

    def _level(self, number: int) -> float | None:
        with open_source(self.source, self.limits) as container:
            return highest_sample(decoded(container, sound_stream(container, number), []), TRIED)

    def _piece(self, packet: Any) -> float:
        """Seconds by which the stamps of a packet of a file are moved, where recordings were joined."""
        if not self.finite or packet.dts is None:
            return self.moved[-1]
        stamp, length = (float((n or 0) * packet.time_base) for n in (packet.dts, packet.duration))
        moved = self.joins.place(packet.stream_index, stamp, length) - stamp
        if moved != self.moved[-1]:
            self.moved = [self.moved[-1], moved]
        return moved

    def __enter__(self) -> LiveReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()

    def __iter__(self) -> Iterator[LivePicture | LiveSound]:
        """Pictures and sound in the order in which they come, until the source ends.

        Raises:
            MediaError: The source broke off, was silent for too long, or a frame is beyond the limit of pixels.
        """
        streams = [stream for stream in (self.video, self.audio) if stream is not None]
        packets = self.container.demux(*streams)
        while True:
            asked = self.now()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                silent = isinstance(error, av.error.ExitError | TimeoutError)
                why = f"silent for {self.limits.timeout:g} s" if silent else reason
                raise MediaError(f"{self.source.text}: {why}") from error
            arrived = self.now()
            if arrived - asked > WAITED:
                self.waited_at = arrived
            try:
                yield from (
                    self._pictures(packet, arrived) if packet.stream is self.video else self._sound(packet, arrived)
                )
            except (av.FFmpegError, OSError, ValueError, ArithmeticError, RuntimeError):
                self.damaged += 1

    def _pictures(self, packet: Any, arrived: float) -> Iterator[LivePicture]:
        if self.units is None:
            yield from self._picture(packet, packet.is_keyframe, arrived)
        else:
            for unit, whole in self.units.pictures(packet):
                yield from self._picture(unit, whole, arrived)

    def _picture(self, packet: Any, whole: bool, arrived: float) -> Iterator[LivePicture]:
        stamp, moved = packet.pts if packet.pts is not None else packet.dts, self._piece(packet)
        if stamp is not None:
            time = self.timeline.place(float(stamp * packet.time_base) + moved, arrived)
            late = arrived - self.timeline.captured(time) > BEHIND and arrived - self.waited_at > BEHIND
            if not self.finite and late and not self.skipping:
                self.skipping, self.skipped_at = True, arrived
            elif whole or arrived - self.skipped_at > JUMP:  # some cameras never send a whole picture
                self.skipping = self.skipping and late
            if self.skipping and not whole:
                self.left_out += 1
                return
        shift = self.timeline.shift
        for _, frame in cropped(
            ((None, frame) for frame in self.video.codec_context.decode(packet)), self.crop, self.cutters
        ):
            if frame.time is None or shift is None:
                continue
            check_size(frame.width, frame.height, self.source.text, self.limits)
            aspect = pixel_aspect(self.video)
            # a decoder is some pictures late, so that one may still be of the piece before
            due = min((frame.time + shift + by for by in self.moved), key=lambda due: abs(due - self.last_time))
            self.last_time = due
            yield LivePicture(due, displayed(frame, aspect), frame, aspect)

    def _sound(self, packet: Any, arrived: float) -> Iterator[LiveSound]:
        for unit in (packet,) if self.units is None else self.units.sounds(packet):
            yield from self._sound_frame(unit, self._piece(unit), arrived)

    def _sound_frame(self, packet: Any, moved: float, arrived: float) -> Iterator[LiveSound]:
        if packet.pts is not None:
            self.timeline.place(float(packet.pts * packet.time_base) + moved, arrived)
        for frame in self.audio.codec_context.decode(packet):
            stamp = frame.time
            if self.units is not None:
                stamp = together(stamp, self.heard_until, frame.samples / frame.sample_rate)
            if stamp is not None:
                self.heard_until = stamp + frame.samples / frame.sample_rate
                if frame.time is None:
                    self.timeline.place(stamp + moved, arrived)
            shift = self.timeline.shift
            frame.pts, shape = None, (frame.layout.name, frame.sample_rate)
            if shape != self.shape:
                self.shape = shape
                self.form = Form(self.source.text, self.warnings, SAMPLE_RATE, "mono", frame.layout)
            samples = self.form.convert(frame)[0]
            if stamp is not None and shift is not None and len(samples):
                yield LiveSound(stamp + shift + moved, samples.astype(np.float32, copy=False))
