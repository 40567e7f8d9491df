"""A job: its options, location and state."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sonomask.request import DEFAULT, EDITING, Rate
from sonomask.server.limits import ServerLimits
from sonomask.server.store import Upload

__all__ = ["Job", "JobOptions", "State", "Stopped"]

State = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class JobOptions:
    """The options of a job.

    Attributes:
        model: One of those offered.
        rate: Masks per second.
        threshold: Probability above which a pixel is masked; the model's own if None.
        min_presence: Presence score below which a frame gets an empty mask.
        formats: Files to make.
        start: Second at which the part of the video begins.
        end: Second at which it ends; that of the video if None.
        smooth: Seconds over which masks are steadied against flicker.
        min_area: Share of the picture below which a region is left out.
        hold: Seconds for which the last mask stays where nothing is marked.
        expand: Pixels by which masks grow.
        feather: Pixels over which edges are soft; by the size of the picture if None.
        only: Names of things or sounds; what has another name is not marked.
        without: Names of things or sounds that are not marked.
        prompt: Free words for things to mark while they are heard.
        audio_track: Sound track to hear: a number from 1, a language or title, or "mix"; the default one if None.
    """

    model: str
    rate: Rate = 5.0
    threshold: float | None = None
    min_presence: float = 0.0
    formats: tuple[str, ...] = ("overlay",)
    start: float = 0.0
    end: float | None = None
    smooth: float = DEFAULT.smooth
    min_area: float = DEFAULT.min_area
    hold: float = DEFAULT.hold
    expand: int = DEFAULT.expand
    feather: float | None = DEFAULT.feather
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    prompt: tuple[str, ...] = ()
    audio_track: int | str | None = None

    @property
    def of_masks(self) -> dict[str, Any]:
        """The fields of a `Request` that say which masks are made, but for their rate."""
        return {
            name: getattr(self, name) for name in ("threshold", "min_presence", *EDITING, "only", "without", "prompt")
        }


class Stopped(Exception):  # noqa: N818 - no error: someone wants it to end
    """Raised inside a job that must end."""


@dataclass(eq=False)
class Job:
    """A job in progress or finished.

    Attributes:
        id: Opaque and not to be guessed; whoever has it has the job.
        folder: Its files; removed with it.
        name: Name for people to read; never part of a path.
        options: Options of the job.
        limits: Limits on the job.
        source: The upload.
        session: Session that it belongs to; None for a program without cookies.
        client: Address that it counts for.
        state: Stage that it has reached.
        done: Share of the work, 0 to 1.
        error: Why it failed.
        warnings: Warnings about parts of the video that could not be read.
        files: Files of the results, by format.
        heard: Sound track that was heard, and how many there are.
        parent: Folder of a finished job's `view`, of which `sources` alone are wanted; None for all that sounds.
        sources: Numbers of those.
        corrected: Number of corrections that its files follow.
        size: Bytes of its files.
        preview: JPEG of the newest picture with its masks, and how many there were.
        halted: Time at which it was asked to end.
        late: Whether it took too long.
    """

    id: str
    folder: Path
    name: str
    options: JobOptions
    limits: ServerLimits
    source: Path
    session: str | None = None
    client: str = ""
    upload: Upload | None = None
    state: State = "queued"
    done: float = 0.0
    error: str | None = None
    warnings: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    heard: str | None = None
    parent: Path | None = None
    sources: tuple[int, ...] = ()
    corrected: int = 0
    size: int = 0
    preview: tuple[int, bytes] = (0, b"")
    submitted: float = field(default_factory=time.time)
    began: float | None = None
    ended: float | None = None
    deadline: float = float("inf")
    halted: float | None = None
    late: bool = False
    removed: bool = False
    measured: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    stoppers: list[Callable[[], None]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def left(self) -> float | None:
        """Estimated seconds until the job is done."""
        if self.state != "running" or self.began is None or self.done < 0.02:
            return None
        return (time.monotonic() - self.began) * (1 - self.done) / self.done

    def begin(self) -> None:
        """Mark the job as running."""
        self.state, self.began = "running", time.monotonic()
        self.deadline = self.began + self.limits.work

    def end(self, state: State) -> None:
        """Mark the job as ended."""
        self.size = _size(self.folder)
        self.done = 1.0 if state == "done" else self.done
        self.preview, self.ended = (0, b""), time.monotonic()
        self.stoppers.clear()
        self.state = state

    def halt(self) -> None:
        """Ask the job to end: its child processes end now, its work at the next `report`."""
        if not self.stop.is_set():
            self.halted = time.monotonic()
            self.stop.set()
        for stopper in list(self.stoppers):
            stopper()

    def on_stop(self, stopper: Callable[[], None]) -> None:
        """Register a function that is called when the job is told to end; at once if it was told already."""
        self.stoppers.append(stopper)
        if self.stop.is_set():
            stopper()

    def show(self, jpeg: bytes) -> None:
        """The newest picture with its masks."""
        self.preview = (self.preview[0] + 1, jpeg)

    def report(self, seconds: float, total: float | None) -> None:
        """Note how far the work is; the place where a job notices that it must end.

        Raises:
            Stopped: It was told to end.
            ValueError: It is beyond a limit.
        """
        if total:
            self.done = min(1.0, max(self.done, seconds / total))
        if self.stop.is_set():
            raise Stopped
        now = time.monotonic()
        if now > self.measured:
            size = _size(self.folder)
            self.measured = time.monotonic() + max(1.0, 20 * (time.monotonic() - now))  # many files take long to count
            if size > self.limits.job_bytes:
                raise ValueError(f"Results beyond {self.limits.job_bytes} bytes, the limit. Choose fewer formats.")


def _size(folder: Path) -> int:
    """Bytes of all files in a folder; of those that are still there."""
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(at, name)).st_size  # noqa: PTH118 - there may be 100,000 of them
    return total
