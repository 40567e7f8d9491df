"""A video in a file or at a streaming server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sonomask.errors import MediaError
from sonomask.live.feed import KEPT, SoundRing
from sonomask.live.segmenter import LiveMasks
from sonomask.live.sinks.base import QueuedSink, fitted
from sonomask.media.live.remote_writer import RemoteWriter
from sonomask.media.live.writer import LiveWriter, format_of

__all__ = ["VideoSink"]

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds until a server is tried again


class VideoSink(QueuedSink):
    """Write pictures with masks, and the sound, to a file or a server, in a thread of its own.

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
        super().__init__(target, say)
        self.ring, self.overwrite = ring, overwrite
        self.last: float | None = None
        self.wait, self.retry_at = FIRST_WAIT, 0.0

    def _bring(self, result: LiveMasks) -> None:
        if time.monotonic() < self.retry_at:
            self.skipped += 1
            return
        try:
            self._write(result)
            self.wait = FIRST_WAIT
        except MediaError as error:
            self._give_up(error)
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
        heard = None
        if self.ring is not None and self.last is not None:
            heard = self.ring.between(max(self.last, result.time - KEPT), result.time)
        self.last = result.time
        self.writer.write(fitted(image, self.writer.size), result.time, heard)
