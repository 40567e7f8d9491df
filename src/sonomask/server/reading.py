"""Open a stranger's video: always in a sandboxed child process, and only the requested part."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonomask.errors import MediaError
from sonomask.media.opening import Limits
from sonomask.media.sandbox.reader import ChildLimits, SandboxedReader
from sonomask.server.job import JobOptions
from sonomask.server.limits import ServerLimits

__all__ = ["UploadReader", "open_upload"]

LONGEST = 12 * 3600.0  # seconds of a whole video, of which a job may read a part


class UploadReader(SandboxedReader):
    """A part of a video, read by a guarded child, as if it were the whole: its first frame is at time 0.

    Args:
        path: The upload.
        limits: Limits on the video.
        start: Second at which the part begins.
        end: Second at which it ends; that of the video if None.
        most: Frames per second of the video itself; None for any number.
        audio_track: Sound track to hear, as for `VideoReader`.

    Raises:
        MediaError: It is no video, or beyond a limit.
        ValueError: The part is not in the video, or too long.
    """

    def __init__(
        self,
        path: Path,
        limits: ServerLimits,
        *,
        start: float = 0.0,
        end: float | None = None,
        most: float | None = None,
        audio_track: int | str | None = None,
    ) -> None:
        self.most, self.longest = most, limits.seconds
        allowed = Limits(pixels=limits.pixels, seconds=LONGEST)
        child_limits = ChildLimits(cpu=math.ceil(min(limits.work, 1e6)))
        super().__init__(path, allowed, child_limits, start=start, end=end, audio_track=audio_track)
        try:
            self._check_part()
        except (MediaError, ValueError):
            self.kill()
            raise

    def _check_part(self) -> None:
        length = self.info.duration
        if length is not None and length > self.longest + 0.5:
            raise ValueError(
                f"`end`: the part has {length:.0f} s, and the limit is {self.longest:.0f} s. Choose a shorter part."
            )
        if self.most is not None and self.info.fps > self.most:
            raise ValueError(
                f"`rate`: the video has {float(self.info.fps):.0f} frames per second, and at most {self.most:.0f} masks per "
                "second are made. Choose a number of masks per second."
            )

    def kill(self) -> None:
        """End the child at once, from any thread; whoever reads gets a `MediaError`."""
        self._child.process.kill()

    def _on_screen(self, start: float, pace: float | None = None) -> Iterator[tuple[float, Any, float]]:
        recent: deque[float] = deque()
        for time, picture, gone in super()._on_screen(start, None if self.most is not None else pace):
            if time > self.longest + 1:
                raise MediaError(f"{self.source}: longer than {self.longest:.0f} s, the limit. Choose a part of it.")
            if self.most is not None:
                recent.append(time)
                while recent[0] <= time - 1:
                    recent.popleft()
                if len(recent) > self.most + 1:
                    raise MediaError(
                        f"{self.source}: more than {self.most:.0f} frames in a second. Choose a number of masks per second."
                    )
            yield time, picture, min(gone, self.longest + 1)

    @property
    def _length(self) -> float | None:
        part = super()._length
        return self.longest + 1 if part is None else min(part, self.longest + 1)


def open_upload(path: Path, limits: ServerLimits, options: JobOptions | None = None) -> UploadReader:
    """A reader of what a job asks for; of the whole, to look into it, without a job.

    Raises:
        MediaError: It is no video, or beyond a limit.
        ValueError: The part is not in the video, or more masks would be made than the limit.
    """
    if options is None:
        return UploadReader(path, replace(limits, seconds=LONGEST))
    most = limits.rate if options.rate == "native" else None
    reader = UploadReader(
        path, limits, start=options.start, end=options.end, most=most, audio_track=options.audio_track
    )
    rate = {"native": float(reader.info.fps), "avsbench": 1.0}.get(str(options.rate)) or float(options.rate)
    count = rate * (reader.info.duration or 0.0)
    if count > limits.masks:
        reader.kill()
        raise ValueError(
            f"`rate`: that makes {count:.0f} masks, and the limit is {limits.masks}. Choose fewer per second, or a "
            "shorter part."
        )
    return reader
