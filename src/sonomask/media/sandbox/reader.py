"""Decoding of untrusted files, in a child process with limits.

    parent: GuardedDecoder ── a request in JSON ──▶ child: LocalDecoder, FFmpeg
                           ◀─ times, pixels, samples ──  no network, no files but the source, bounded memory

The parent never opens the file. From the child it accepts only numbers and bytes whose sizes it checks, never code. A child
that crashes, falls silent or grows too large is a `MediaError`; another file can be opened right after it. The child decodes
a batch ahead, so that it works while the model does.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from sonomask.errors import MediaError
from sonomask.media.info import Selection, VideoInfo
from sonomask.media.opening import Limits, media_errors
from sonomask.media.reader import SAMPLE_RATE, VideoReader
from sonomask.media.sandbox.confine import sandbox_strength

__all__ = ["ChildLimits", "SandboxedReader", "open_reader"]

BROKEN = "its decoder breaks its limits"
HEADER = struct.Struct("<I")
LONGEST_HEADER = 2**16  # bytes of JSON
LONGEST_PIECE = 64  # seconds of sound that come at once
MOST_FRAMES, BATCH_PIXELS = 16, 2**24  # that come at once
START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from sonomask.media.sandbox.child import main; main()"


@dataclass(frozen=True)
class ChildLimits:
    """Limits of the child process that decodes.

    Attributes:
        memory: Bytes of address space (the interpreter and FFmpeg take about 0.5 GB of it).
        silence: Seconds within which each answer must come.
        cpu: Seconds of computing in all; None for no limit but `silence`.
    """

    memory: int = 4 * 2**30
    silence: float = 120.0
    cpu: int | None = None


def open_reader(
    source: str | Path,
    limits: Limits | None = None,
    *,
    sandbox: bool = False,
    start: float = 0.0,
    end: float | None = None,
    audio_track: int | str | None = None,
    hwaccel: str | None = None,
) -> VideoReader:
    """A reader, in this process or guarded; the arguments are those of `VideoReader`.

    Raises:
        ValueError: `hwaccel` is asked of a guarded reader, whose process reaches no device.
    """
    if not sandbox:
        return VideoReader(source, limits, start=start, end=end, audio_track=audio_track, hwaccel=hwaccel)
    if hwaccel is not None:
        raise ValueError("`hwaccel`: a sandboxed decoder reaches no device. Leave out the one or the sandbox.")
    return SandboxedReader(source, limits, start=start, end=end, audio_track=audio_track)


class SandboxedReader(VideoReader):
    """A `VideoReader` whose file is opened and decoded by a guarded child; use it in a `with` block.

    Args:
        source: Source as for `VideoReader`; for an address the child keeps the network.
        limits: Limits on the source.
        child_limits: Limits of the child process.
        start: Beginning, as for `VideoReader`, as are the others.
        end: See there.
        audio_track: See there.

    Raises:
        MediaError: Any error of `VideoReader`, or the child process died.
    """

    def __init__(
        self,
        source: str | Path,
        limits: Limits | None = None,
        child_limits: ChildLimits | None = None,
        *,
        start: float = 0.0,
        end: float | None = None,
        audio_track: int | str | None = None,
    ) -> None:
        limits = limits or Limits()
        decoder = GuardedDecoder(source, limits, Selection(start, end, audio_track), child_limits)
        super().__init__(source, limits, start=start, end=end, audio_track=audio_track, decoder=decoder)
        self._child = decoder.child


class GuardedDecoder:
    """A `Decoder` whose work is done by a guarded child.

    Args:
        source: Source as for `VideoReader`; for an address the child keeps the network.
        limits: Limits on the source.
        selection: Requested part of the source.
        child_limits: Limits of the child process.

    Raises:
        MediaError: Any error of `VideoReader`, or the child process died.
    """

    guarded = True

    def __init__(
        self, source: str | Path, limits: Limits, selection: Selection, child_limits: ChildLimits | None = None
    ) -> None:
        self.source, self.limits = str(source), limits
        self.warnings: list[str] = []
        self.child = _Child(self.source, limits, selection, child_limits or ChildLimits(), self.warnings)
        try:
            with media_errors(self.source, BROKEN):
                self.info = VideoInfo.from_json(self.child.ask("info")["info"])
                self._checked((self.info.height, self.info.width), None)
        except MediaError:
            self.child.close()
            raise
        self._images: dict[tuple[int, int, tuple[int, int] | None], np.ndarray] = {}
        self._latest: tuple[int, int, tuple[int, int] | None] | None = None

    def close(self) -> None:
        """End the child."""
        self.child.close()

    def pictures(self, start: float, pace: float | None = None) -> Iterator[tuple[float, Any, float]]:
        """Iterate over (time, picture, time of the next picture); see `Decoder`."""
        with media_errors(self.source, BROKEN):
            stream, last = self.child.ask("pictures", start=start, pace=pace)["stream"], -math.inf
            batch = max(1, min(MOST_FRAMES, BATCH_PIXELS // (self.info.width * self.info.height)))
            while answer := self.child.ask("next", stream=stream, count=batch)["items"]:
                final = int(answer[-1][1])
                for moment, number, end in answer:
                    if not last < moment <= 1e12:
                        raise MediaError(f"{self.source}: {BROKEN}. Do not use this file.")
                    last = float(moment)
                    yield last, _Remote(stream, int(number), final), float(end)

    def pixels(self, picture: Any, size: tuple[int, int] | None) -> UInt8[np.ndarray, "H W 3"]:
        """A picture as shown, at (height, width)."""
        frame: _Remote = picture
        key = (frame.stream, frame.number, size)
        with media_errors(self.source, BROKEN):
            if key not in self._images:  # who takes one after the other will take the rest of the batch too
                onward = self._latest == (frame.stream, frame.number - 1, size)
                numbers = list(range(frame.number, (frame.final if onward else frame.number) + 1))
                images = self._fetch(frame.stream, numbers, size)
                self._images = {(frame.stream, n, size): image for n, image in zip(numbers, images, strict=True)}
            self._latest = key
            return self._images[key]

    def _fetch(self, stream: int, numbers: list[int], size: tuple[int, int] | None) -> list[np.ndarray]:
        shapes = self.child.ask("pixels", stream=stream, frames=numbers, size=size)["shapes"]
        checked = [self._checked(shape, size) for shape in shapes]
        parts = self.child.payload([height * width * 3 for height, width in checked])
        images = [np.frombuffer(p, np.uint8).reshape(*s, 3) for p, s in zip(parts, checked, strict=True)]
        return [image.copy() for image in images]  # bytes could not be written to

    def _checked(self, shape: Any, size: tuple[int, int] | None) -> tuple[int, int]:
        height, width = (int(n) for n in shape)
        if (size is not None and (height, width) != tuple(size)) or not 0 < height * width <= self.limits.pixels:
            raise MediaError(f"{self.source}: {BROKEN}. Do not use this file.")
        return height, width

    def samples(self, start: float, rate: int = SAMPLE_RATE, layout: str = "mono") -> Iterator[np.ndarray]:
        """(channels, S) of the sound from `start` on."""
        with media_errors(self.source, BROKEN):
            stream = self.child.ask("sound", start=start, rate=rate, layout=layout)["stream"]
            channels = 1 if layout == "mono" else 2
            while (count := int(self.child.ask("next", stream=stream, count=rate)["samples"])) >= 0:
                if count > LONGEST_PIECE * rate:
                    raise MediaError(f"{self.source}: {BROKEN}. Do not use this file.")
                (data,) = self.child.payload([count * channels * 4])
                yield np.frombuffer(data, "<f4").reshape(channels, count)


class _Remote(NamedTuple):
    """A frame that the child has, and the last one of its batch."""

    stream: int
    number: int
    final: int


class _Child:
    """The process, and the talk with it."""

    def __init__(
        self, source: str, limits: Limits, selection: Selection, child_limits: ChildLimits, warnings: list[str]
    ) -> None:
        self.source, self.child_limits, self.warnings = source, child_limits, warnings
        strength = sandbox_strength()
        if strength.missing:
            warnings.append(f"this machine's sandbox does not keep the decoder from {strength.missing}.")
        given = {
            "source": source,
            "limits": asdict(limits),
            "selection": asdict(selection),
            "memory": child_limits.memory,
            "cpu": child_limits.cpu,
            "parent": os.getpid(),
            "strength": list(strength),
        }
        paths = json.dumps([path for path in sys.path if path])
        few = {
            "LANG": "C.UTF-8",
            "OPENBLAS_NUM_THREADS": "1",
        }  # nothing of ours, and no thread before the network is left
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own words
            [sys.executable, "-I", "-c", START, paths, json.dumps(given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=few,
        )  # fmt: skip
        self.due = math.inf
        self.silent = False
        self.over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()
        self.close = weakref.finalize(self, _end, self.process, self.over)

    def _watch(self) -> None:
        while not self.over.wait(0.5):
            if time.monotonic() > self.due:
                self.silent = True
                self.process.kill()
                return

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """Send a request and read the head of its answer."""
        self.due = time.monotonic() + self.child_limits.silence
        try:
            assert self.process.stdin is not None  # noqa: S101 - for the type checker
            self.process.stdin.write(json.dumps({"do": do, **words}).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise self._lost() from error
        (length,) = HEADER.unpack(self.take(HEADER.size))
        if length > LONGEST_HEADER:
            raise MediaError(f"{self.source}: {BROKEN}. Do not use this file.")
        try:
            answer: dict[str, Any] = json.loads(self.take(length))
        except ValueError as error:
            raise MediaError(f"{self.source}: its decoder speaks nonsense. Do not use this file.") from error
        if len(self.warnings) < 100:
            self.warnings.extend(str(line)[:1000] for line in answer.get("warnings", ()))
        if "error" in answer:
            raise MediaError(str(answer["error"])[:2000])
        self.due = time.monotonic() + self.child_limits.silence if answer.get("payload") else math.inf
        return answer

    def payload(self, sizes: list[int]) -> list[bytes]:
        """The bytes that follow the head of an answer."""
        parts = [self.take(size) for size in sizes]
        self.due = math.inf
        return parts

    def take(self, count: int) -> bytes:
        """Exactly so many bytes."""
        assert self.process.stdout is not None  # noqa: S101 - for the type checker
        data = self.process.stdout.read(count)
        if len(data) < count:
            raise self._lost()
        return data

    def _lost(self) -> MediaError:
        code = self.process.wait()
        if self.silent:
            return MediaError(
                f"{self.source}: its decoder gave nothing for {self.child_limits.silence:.0f} s and was stopped."
            )
        return MediaError(f"{self.source}: its decoder crashed ({code}). The file is damaged, or meant to do harm.")


def _end(process: subprocess.Popen[bytes], over: threading.Event) -> None:
    over.set()
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    process.wait()
