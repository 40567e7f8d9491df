"""Where live masks go besides a page: JSON lines, a window, a file or a streaming server.

A sink has `write(result)`, called from the model's thread with each result, and is a context manager whose end leaves whole
what was written, however the run ends.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from PIL import Image

from sonomask.errors import MediaError
from sonomask.inference.naming import SPECK
from sonomask.live.feed import KEPT, SoundRing
from sonomask.live.segmenter import LiveMasks
from sonomask.media.live.remote_writer import RemoteWriter
from sonomask.media.live.writer import LiveWriter, format_of
from sonomask.outputs.moment import counts
from sonomask.schemas import schema

QUEUE = 8  # results that wait for the encoder
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds until a server is tried again
FAREWELL = 10.0  # seconds that finishing a file or a connection may take


class JsonLines:
    """A line of JSON for each picture, written at once.

    Keys: `time` (s), `delay` (s), `size` [height, width], `presence` if the model has it, of a model that knows names
    `heard` (names and scores of the sounds) and `things` (names and shares of the picture), `areas`: of each class that
    sounds its `label`, `share` of the picture and `counts` (COCO's uncompressed run lengths).

    Args:
        path: Path of the file, or "-" for standard output.
        classes: Names of a semantic model's classes.
        overwrite: Replace an existing file.

    Raises:
        MediaError: The file exists.
    """

    def __init__(self, path: str, classes: tuple[str, ...] = (), *, overwrite: bool = False) -> None:
        self.classes = classes
        self.file: TextIO = sys.stdout
        self.own = path != "-"
        if self.own:
            if Path(path).exists() and not overwrite:
                raise MediaError(f"{path} exists. Use --overwrite to replace it, or give another --json.")
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.own:
            self.file.close()

    def write(self, result: LiveMasks) -> None:
        """Add a line."""
        labels = result.labels
        row: dict[str, Any] = {
            "schema": schema("live"), "time": round(result.time, 4), "delay": round(result.delay, 4), "size": list(labels.shape)
        }  # fmt: skip
        if result.masks.presence is not None:
            row["presence"] = round(result.masks.presence[0], 4)
        if result.masks.names is not None:
            names = result.masks.names[0]
            counts = np.bincount(names.seen[labels > 0], minlength=len(names.things)) / labels.size
            row["heard"] = dict(names.heard)
            row["things"] = {
                names.things[i]: round(float(counts[i]), 4) for i in np.flatnonzero(counts > SPECK).tolist()
            }
        row["areas"] = [self._area(label, labels == label) for label in np.unique(labels[labels > 0]).tolist()]
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def _area(self, label: int, mask: np.ndarray) -> dict[str, Any]:
        name = self.classes[label] if label < len(self.classes) else "sounding"
        return {"label": name, "share": round(float(mask.mean()), 6), "counts": counts(mask)["counts"]}


class DesktopWindow:
    """A window of the desktop, by tkinter.

    Raises:
        MediaError: There is no tkinter, or no display.
    """

    def __init__(self) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise MediaError(
                f"A window needs tkinter, which this Python lacks ({error}). Use --page instead."
            ) from error
        try:
            self.root = tkinter.Tk()
        except tkinter.TclError as error:
            raise MediaError(f"A window can't be opened ({error}). Use --page instead.") from error
        self.make_photo: Any = ImageTk.PhotoImage
        self.root.title("sonomask live")
        self.label = tkinter.Label(self.root, borderwidth=0)
        self.label.pack()
        self.closed = False
        self.root.protocol("WM_DELETE_WINDOW", self._close)

    def _close(self) -> None:
        self.closed = True

    def __enter__(self) -> DesktopWindow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.root.destroy()

    def write(self, result: LiveMasks) -> None:
        """Show a picture."""
        photo = self.make_photo(Image.fromarray(result.drawn), master=self.root)
        self.label.configure(image=photo)
        self.label.image = photo  # type: ignore[attr-defined]  # else it is collected while it is shown
        self.beat()

    def beat(self) -> None:
        """Answer the desktop."""
        self.root.update()


class VideoSink:
    """Pictures with masks, and the sound, to a file or a server, in a thread of its own.

    If the encoder or the server is too slow, pictures are left out. A server that goes away is tried again; a file that can't
    be written to is an error.

    Args:
        target: See `LiveWriter`.
        ring: The sound; None for none.
        overwrite: Replace an existing file.
        say: Function called with each message, a line at a time.

    Raises:
        MediaError: The file exists.
        ValueError: The target is of no known kind.
    """

    def __init__(self, target: str, ring: SoundRing | None, *, overwrite: bool = False, say: Any = print) -> None:
        _, self.address = format_of(target)
        if not self.address and Path(target).exists() and not overwrite:
            raise MediaError(f"{target} exists. Use --overwrite to replace it, or give another --out.")
        self.target, self.ring, self.overwrite, self.say = target, ring, overwrite, say
        self.queue: deque[LiveMasks] = deque()
        self.changed = threading.Condition()
        self.closing = False
        self.error: MediaError | None = None
        self.left_out = 0
        self.writer: LiveWriter | RemoteWriter | None = None
        self.last: float | None = None
        self.wait, self.retry_at = FIRST_WAIT, 0.0
        self.thread = threading.Thread(target=self._run, name=f"writer {target}", daemon=True)

    def __enter__(self) -> VideoSink:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self.thread.join(FAREWELL)
        if self.thread.is_alive():
            self.say(f"{self.target}: did not take its last pictures in {FAREWELL:g} s; it was left.")
        if self.left_out:
            self.say(f"{self.target}: {self.left_out} pictures were left out, the encoder or the server was too slow.")
        if kind is None and self.error is not None:
            raise self.error

    def write(self, result: LiveMasks) -> None:
        """Hand a picture to the encoder.

        Raises:
            MediaError: The file can't be written to.
        """
        with self.changed:
            if self.error is not None:
                raise self.error
            if len(self.queue) == QUEUE:
                self.queue.popleft()
                self.left_out += 1
            self.queue.append(result)
            self.changed.notify_all()

    def _run(self) -> None:
        try:
            while True:
                with self.changed:
                    self.changed.wait_for(lambda: self.queue or self.closing)
                    if not self.queue:
                        break
                    result = self.queue.popleft()
                self._bring(result)
            if self.writer is not None:
                self.writer.__exit__(None, None, None)
        except MediaError as error:
            self.error = error
        except Exception as error:  # the model's thread must hear of it
            self.error = MediaError(f"{self.target}: {error}")

    def _bring(self, result: LiveMasks) -> None:
        if time.monotonic() < self.retry_at:
            self.left_out += 1
            return
        try:
            self._write(result)
            self.wait = FIRST_WAIT
        except MediaError as error:
            if self.writer is not None:
                self.writer.__exit__(type(error), error, None)
            self.writer = None
            if not self.address:
                raise
            self.say(f"{str(error).rstrip('.')}; trying again in {self.wait:g} s.")
            self.retry_at, self.wait = time.monotonic() + self.wait, min(2 * self.wait, LONGEST_WAIT)

    def _write(self, result: LiveMasks) -> None:
        image = result.drawn
        if self.writer is None:
            size = (image.shape[0], image.shape[1])
            sound = self.ring is not None
            if self.address:
                self.writer = RemoteWriter(self.target, size=size, sound=sound)
            else:
                self.writer = LiveWriter(self.target, size=size, sound=sound, overwrite=self.overwrite)
            self.last = None
        height, width = self.writer.size
        if image.shape[:2] != (height, width):  # the source came back with another size
            image = np.asarray(Image.fromarray(image).resize((width, height)))
        heard = None
        if self.ring is not None and self.last is not None:
            heard = self.ring.between(max(self.last, result.time - KEPT), result.time)
        self.last = result.time
        self.writer.write(image, result.time, heard)
