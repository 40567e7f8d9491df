"""Live pictures for other programs: a pipe with alpha or masks, and a virtual camera."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sonomask.errors import MediaError, MissingExtraError
from sonomask.live.segmenter import LiveMasks
from sonomask.media.live.pipe_writer import PipeWriter, is_pipe

__all__ = ["PipeSink", "Shows", "VirtualCamera", "shown"]

Shows = Literal["alpha", "mask", "overlay"]
CHANNELS: dict[Shows, int] = {"alpha": 4, "mask": 1, "overlay": 3}
QUEUE = 8  # pictures that wait for the reader
FAREWELL = 5.0  # seconds


def shown(result: LiveMasks, what: Shows) -> UInt8[np.ndarray, "H W *channels"]:
    """A picture with alpha (255 where something sounds), the mask alone (255 there), or the picture with its masks drawn."""
    if what == "overlay":
        return result.drawn
    mask = np.where(result.labels > 0, np.uint8(255), np.uint8(0))
    if what == "mask":
        return mask
    return np.dstack([result.picture.image(result.labels.shape), mask])


class PipeSink:
    """Hands pictures to another program through standard output or a named pipe, in a thread of its own.

    A reader that is slow gets fewer pictures; one that has not come yet is waited for; when it goes away, a named pipe waits
    for another and standard output ends the run.

    Args:
        target: "-" or a named pipe.
        shows: See `shown`.
        kind: See `PipeWriter`.
        say: Function called with each message, a line at a time.

    Raises:
        MediaError: The target is no pipe.
    """

    def __init__(self, target: str, shows: Shows = "alpha", kind: str = "nut", *, say: Any = print) -> None:
        if not is_pipe(target):
            raise MediaError(f"{target}: expected '-' or a named pipe. Make one: mkfifo {target}.")
        self.target, self.shows, self.kind, self.say = target, shows, kind, say
        self.queue: deque[LiveMasks] = deque(maxlen=QUEUE)
        self.changed = threading.Condition()
        self.closing, self.left_out = False, 0
        self.error: MediaError | None = None
        self.writer: PipeWriter | None = None
        self.thread = threading.Thread(target=self._run, name=f"pipe {target}", daemon=True)

    def __enter__(self) -> PipeSink:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self.thread.join(FAREWELL)  # one that waits for a reader is left; it ends with the process
        if self.left_out:
            self.say(f"{self.target}: {self.left_out} pictures were left out, their reader was not there or too slow.")

    def write(self, result: LiveMasks) -> None:
        """Hand over a picture.

        Raises:
            MediaError: Standard output's reader went away.
        """
        with self.changed:
            if self.error is not None:
                raise self.error
            self.left_out += len(self.queue) == QUEUE
            self.queue.append(result)
            self.changed.notify_all()

    def _run(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.queue or self.closing)
                if not self.queue:
                    break
                result = self.queue.popleft()
            try:
                self._bring(result)
            except MediaError as error:
                if self.writer is not None:
                    self.writer.__exit__(type(error), error, None)
                self.writer = None
                if self.target == "-":
                    self.error = error
                    return
                self.say(f"{error} It is waited for another.")
        if self.writer is not None:
            self.writer.__exit__(None, None, None)

    def _bring(self, result: LiveMasks) -> None:
        image = shown(result, self.shows)
        if self.writer is None:
            size = (image.shape[0], image.shape[1])
            self.writer = PipeWriter(self.target, size=size, channels=CHANNELS[self.shows], kind=self.kind)
        height, width = self.writer.size
        if image.shape[:2] != (height, width):  # the source came back with another size
            image = np.asarray(Image.fromarray(image).resize((width, height)))
        self.writer.write(image, result.time)


class VirtualCamera:
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

    def __enter__(self) -> VirtualCamera:
        return self

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
        if image.shape[:2] != (self.camera.height, self.camera.width):
            image = np.asarray(Image.fromarray(image).resize((self.camera.width, self.camera.height)))
        self.camera.send(np.ascontiguousarray(image))
