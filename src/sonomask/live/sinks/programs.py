"""Live pictures for other programs: a pipe with alpha or masks, and a virtual camera."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from sonomask.errors import MediaError, MissingExtraError
from sonomask.live.segmenter import LiveMasks
from sonomask.live.sinks.base import QueuedSink, Sink, fitted
from sonomask.media.live.pipe_writer import PipeWriter, is_pipe
from sonomask.structures import opacity

__all__ = ["PipeSink", "Shows", "VirtualCamera", "shown"]

Shows = Literal["alpha", "mask", "overlay"]
CHANNELS: dict[Shows, int] = {"alpha": 4, "mask": 1, "overlay": 3}


def shown(result: LiveMasks, what: Shows, feather: float | None = None) -> UInt8[np.ndarray, "H W *channels"]:
    """A picture with alpha (255 where something sounds), the mask alone (255 there), or the picture with its masks drawn.

    Args:
        result: Masks and their picture.
        what: Kind of picture.
        feather: Pixels over which the edge is soft; if None by the size of the picture, and none for the mask alone.
    """
    if what == "overlay":
        return result.drawn
    if what == "mask":
        return opacity(result.labels, feather or 0.0)
    return np.dstack([result.picture.image(result.labels.shape), opacity(result.labels, feather)])


class PipeSink(QueuedSink):
    """Send pictures to another program through standard output or a named pipe, in a thread of its own.

    A reader that is slow gets fewer pictures; one that has not come yet is waited for; when it goes away, a named pipe waits
    for another and standard output ends the run.

    Args:
        target: "-" or a named pipe.
        shows: See `shown`.
        kind: See `PipeWriter`.
        feather: See `shown`.
        say: Function called with each message, a line at a time.

    Raises:
        MediaError: The target is no pipe.
    """

    def __init__(
        self,
        target: str,
        shows: Shows = "alpha",
        kind: str = "nut",
        *,
        feather: float | None = None,
        say: Any = print,
    ) -> None:
        if not is_pipe(target):
            raise MediaError(f"{target}: expected '-' or a named pipe. Make one: mkfifo {target}.")
        super().__init__(target, say)
        self.shows, self.kind, self.feather = shows, kind, feather

    def _bring(self, result: LiveMasks) -> None:
        try:
            self._write(result)
        except MediaError as error:
            self._give_up(error)
            if self.target == "-":
                raise
            self.say(f"{error} It is waited for another.")

    def _write(self, result: LiveMasks) -> None:
        image = shown(result, self.shows, self.feather)
        if self.writer is None:
            size = (image.shape[0], image.shape[1])
            self.writer = PipeWriter(self.target, size=size, channels=CHANNELS[self.shows], kind=self.kind)
        self.writer.write(fitted(image, self.writer.size), result.time)


class VirtualCamera(Sink):
    """Pictures with their masks as a camera that other programs can choose, by pyvirtualcam.

    Args:
        rate: Pictures a second that it is said to have.

    Raises:
        MissingExtraError: pyvirtualcam is not installed.
    """

    def __init__(self, rate: float = 25.0) -> None:
        try:
            import pyvirtualcam
        except ImportError as error:
            raise MissingExtraError("A virtual camera", "live") from error
        self.make, self.rate = pyvirtualcam.Camera, rate
        self.camera: Any = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.camera is not None:
            self.camera.close()

    def write(self, result: LiveMasks) -> None:
        """Show a picture.

        Raises:
            MediaError: There is no device for it, such as v4l2loopback or OBS's.
        """
        image = result.drawn
        if self.camera is None:
            try:
                self.camera = self.make(width=image.shape[1], height=image.shape[0], fps=self.rate)
            except (RuntimeError, OSError) as error:
                raise MediaError(
                    f"A virtual camera can't be opened ({error}). It needs v4l2loopback or OBS."
                ) from error
        self.camera.send(np.ascontiguousarray(fitted(image, (self.camera.height, self.camera.width))))
