"""Pictures with alpha, or masks alone, to another program: standard output or a named pipe."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import av
import numpy as np
from jaxtyping import UInt8

from sonomask.errors import MediaError
from sonomask.media.opening import open_quietly
from sonomask.media.writer import CLOCK

__all__ = ["PipeWriter", "is_pipe"]

KINDS: dict[str, tuple[str, str, dict[int, str]]] = {  # FFmpeg's format, codec, and pixels by the number of channels
    "nut": ("nut", "rawvideo", {1: "gray", 3: "rgb24", 4: "rgba"}),
    "ffv1": ("matroska", "ffv1", {1: "gray", 3: "bgr0", 4: "bgra"}),
}


def is_pipe(target: str) -> bool:
    """Whether a target is standard output or a named pipe."""
    try:
        return target == "-" or stat.S_ISFIFO(Path(target).stat().st_mode)
    except OSError:
        return False


class PipeWriter:
    """Writes pictures without loss, each at once; use it in a `with` block.

    Opening a named pipe waits for its reader, and writing for a reader that is slow.

    Args:
        target: "-" for standard output, or a named pipe.
        size: (height, width) of the pictures.
        channels: 1 for masks, 3 for pictures, 4 for pictures with alpha.
        kind: "nut" for raw pictures in NUT, "ffv1" for FFV1 in Matroska.

    Raises:
        MediaError: The target is no pipe, or can't be written to.
    """

    def __init__(self, target: str, *, size: tuple[int, int], channels: int, kind: str = "nut") -> None:
        form, codec, pixels = KINDS[kind]
        if not is_pipe(target):
            raise MediaError(f"{target}: expected '-' or a named pipe. Make one: mkfifo {target}.")
        self.target, self.size = target, size
        try:
            self.file: BinaryIO = sys.stdout.buffer if target == "-" else Path(target).open("wb", buffering=0)  # noqa: SIM115
            self.plain = _Plain(self.file)
            self.container: Any = open_quietly(self.plain, "w", format=form, options={"flush_packets": "1"})
            stream: Any = self.container.add_stream(codec, rate=25)
            stream.height, stream.width = size
            stream.pix_fmt = pixels[channels]
            stream.codec_context.time_base = CLOCK
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{target}: can't be written to ({error}).") from error
        self.stream = stream
        self.shape = {1: "gray", 3: "rgb24", 4: "rgba"}[channels]
        self.first: float | None = None
        self.last = -1

    def __enter__(self) -> PipeWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.first is not None:
                self.container.mux(self.stream.encode())
            self.container.close()
        except (av.FFmpegError, OSError, ValueError) as failure:
            if kind is None and not isinstance(failure, BrokenPipeError):
                raise MediaError(f"{self.target}: broke off ({failure}).") from failure
        finally:
            if self.target != "-":
                self.file.close()

    def write(self, image: UInt8[np.ndarray, "H W *channels"], time: float) -> None:
        """Add a picture.

        Args:
            image: Grey, RGB or RGBA picture of the writer's size and channels.
            time: Seconds, later than the one before; the first may be any.

        Raises:
            MediaError: The reader went away.
        """
        self.first = time if self.first is None else self.first
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=self.shape)
        self.last = max(self.last + 1, round((time - self.first) / CLOCK))
        frame.pts, frame.time_base = self.last, CLOCK
        try:
            self.container.mux(self.stream.encode(frame))
            if self.plain.error is not None:
                raise self.plain.error
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{self.target}: its reader went away ({error}).") from error


class _Plain:
    """A file without seeking that writes everything it is given and keeps its error, which not all formats report."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.name = file, "pipe"
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        try:
            while left and self.error is None:
                left = left[os.write(self.file.fileno(), left) :]
        except OSError as error:
            self.error = error
        return len(data)
