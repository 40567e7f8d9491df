"""A bounded queue of jobs, each with a folder of its own, a time limit and an end.

    new ─▶ uploading ─ start ─▶ queued ─▶ running ─▶ done
                │                  │          ├────▶ failed      (the reason in one line)
                └──────────────────┴──────────┴────▶ cancelled
    each ended job is forgotten, and its folder removed, after a time

Knows nothing of web servers: what a job does is a function that is handed in.
"""

from __future__ import annotations

import logging
import queue
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sonomask.errors import SonomaskError

__all__ = ["Job", "Limits", "QueueFullError", "Runner", "State", "Stopped", "UnknownJobError", "Wish"]

State = Literal["uploading", "queued", "running", "done", "failed", "cancelled"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What a stranger's job may cost.

    Attributes:
        bytes: Of an upload.
        seconds: Of a video.
        pixels: Of a frame.
        queue: Jobs that upload, wait or run at once.
        work: Seconds that a job may run, and an upload may take.
        silence: Seconds that an upload may pause.
        pace: Bytes a second that an upload must have on the whole, after as long a pause.
        disk: Bytes of a job's folder.
        keep: Seconds until an ended job and its files are removed.
        kept: Ended jobs; beyond that the oldest is removed early.
    """

    bytes: int = 200 * 2**20
    seconds: float = 300.0
    pixels: int = 4096 * 2304
    queue: int = 8
    work: float = 1800.0
    silence: float = 20.0
    pace: float = 16_384.0
    disk: int = 4 * 2**30
    keep: float = 3600.0
    kept: int = 20


@dataclass(frozen=True)
class Wish:
    """What to do with a video, as `sonomask.segment` takes it."""

    model: str
    rate: float | Literal["native", "avsbench"] = 5.0
    threshold: float | None = None
    min_presence: float = 0.0
    formats: tuple[str, ...] = ("overlay",)


class QueueFullError(SonomaskError):
    """The queue has no place."""


class UnknownJobError(SonomaskError):
    """There is no such job, or no longer."""


class Stopped(Exception):  # noqa: N818 - no error: someone wants it to end
    """Raised inside a job that must end."""


@dataclass(eq=False)
class Job:
    """One video on its way.

    Attributes:
        id: Opaque and not to be guessed; whoever has it has the job.
        folder: Its files; removed with it.
        name: The upload's, for people to read; never used as a path.
        wish: What to do.
        limits: What it may cost.
        state: Where it is.
        done: Share of the work, 0 to 1.
        error: Why it failed.
        warnings: What could not be read.
        files: What it made, by format.
    """

    id: str
    folder: Path
    name: str
    wish: Wish
    limits: Limits
    state: State = "uploading"
    done: float = 0.0
    error: str | None = None
    warnings: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    ended: float | None = None
    deadline: float = float("inf")
    measured: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def source(self) -> Path:
        """Where the upload lies. Its suffix says nothing: the content tells what it is."""
        return self.folder / "upload"

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")

    def report(self, seconds: float, total: float | None) -> None:
        """Note how far the work is; the place where a job notices that it must end.

        Raises:
            Stopped: It was cancelled.
            ValueError: It is beyond a limit.
        """
        if total:
            self.done = min(1.0, max(self.done, seconds / total))
        if self.stop.is_set():
            raise Stopped
        now = time.monotonic()
        if now > self.deadline:
            raise ValueError(f"Not finished after {self.limits.work:.0f} s, the limit. Use a lower rate, or cut it.")
        if now > self.measured + 1:
            self.measured = now
            size = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
            if size > self.limits.disk:
                raise ValueError(f"Results beyond {self.limits.disk} bytes, the limit. Choose fewer formats.")


class Runner:
    """Does jobs in order; use it in a `with` block.

    Args:
        work: What a job does: reads `job.source`, fills `job.files`, calls `job.report`.
        limits: What jobs may cost.
        workers: Jobs at once.
    """

    def __init__(self, work: Callable[[Job], None], limits: Limits | None = None, workers: int = 1) -> None:
        self.work, self.limits = work, limits or Limits()
        self.folder = Path(tempfile.mkdtemp(prefix="sonomask-jobs-"))
        self.jobs: dict[str, Job] = {}
        self.lock = threading.Lock()
        self.waiting: queue.Queue[Job | None] = queue.Queue()
        self.threads = [threading.Thread(target=self._loop, name=f"job-{i}", daemon=True) for i in range(workers)]
        for thread in self.threads:
            thread.start()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is there, wait for the running job to notice, remove all folders."""
        for job in list(self.jobs.values()):
            job.stop.set()
        for _ in self.threads:
            self.waiting.put(None)
        for thread in self.threads:
            thread.join(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def new(self, wish: Wish, name: str = "video") -> Job:
        """A place in the queue, for an upload to `job.source`; then `start` it, or `remove` it.

        Raises:
            QueueFullError: There is none.
        """
        self.sweep()
        with self.lock:
            if self.busy >= self.limits.queue:
                raise QueueFullError(f"All {self.limits.queue} places are taken. Try again in a minute.")
            job_id = secrets.token_urlsafe(16)
            job = Job(job_id, self.folder / job_id, Path(name).name[:80] or "video", wish, self.limits)
            job.folder.mkdir(mode=0o700)
            self.jobs[job_id] = job
        return job

    def start(self, job: Job) -> None:
        """Let an uploaded job take its turn."""
        job.state = "queued"
        self.waiting.put(job)

    def submit(self, source: Path, wish: Wish, name: str | None = None) -> Job:
        """A job with a copy of a file that is here already.

        Raises:
            QueueFullError: There is no place.
            ValueError: The file is too large.
        """
        if source.stat().st_size > self.limits.bytes:
            raise ValueError(f"The file has more than {self.limits.bytes >> 20} MB, the limit. Cut it first.")
        job = self.new(wish, name or source.name)
        shutil.copyfile(source, job.source)
        self.start(job)
        return job

    @property
    def busy(self) -> int:
        """Jobs that upload, wait or run."""
        return sum(not job.over for job in self.jobs.values())

    def job(self, job_id: str) -> Job:
        """The job of that id.

        Raises:
            UnknownJobError: There is none, or no longer.
        """
        job = self.jobs.get(job_id)
        if job is None or self._expired(job):
            raise UnknownJobError("No such job, or its time is over. Submit the video again.")
        return job

    def ahead(self, job: Job) -> int:
        """How many run or wait before a job."""
        ids = [one.id for one in self.jobs.values() if one.state in ("queued", "running")]
        return ids.index(job.id) if job.id in ids else 0

    def cancel(self, job: Job) -> None:
        """Stop a job wherever it is; a running one ends at its next `report`."""
        job.stop.set()
        with self.lock:
            if job.state in ("uploading", "queued"):
                self._end(job, "cancelled")

    def remove(self, job: Job) -> None:
        """Cancel a job and forget it; its files go now, or when it notices."""
        self.cancel(job)
        self.jobs.pop(job.id, None)
        if job.over:
            shutil.rmtree(job.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what has been kept long enough."""
        ended = sorted(
            (job for job in list(self.jobs.values()) if job.ended is not None), key=lambda job: job.ended or 0
        )
        spare = len(ended) - self.limits.kept
        for place, job in enumerate(ended):
            if place < spare or self._expired(job):
                self.remove(job)

    def _expired(self, job: Job) -> bool:
        return job.ended is not None and time.monotonic() > job.ended + self.limits.keep

    def _loop(self) -> None:
        while True:
            try:
                job = self.waiting.get(timeout=min(30.0, self.limits.keep))
            except queue.Empty:
                self.sweep()
                continue
            if job is None:
                return
            with self.lock:
                if job.over or job.stop.is_set():
                    self._end(job, "cancelled")
                    continue
                job.state, job.deadline = "running", time.monotonic() + self.limits.work
            self._run(job)

    def _run(self, job: Job) -> None:
        state: State = "failed"
        try:
            self.work(job)
            job.done, state = 1.0, "done"
        except Stopped:
            state = "cancelled"
        except (SonomaskError, ValueError, OSError) as error:
            job.error = self._plain(job, error)
        except Exception:
            logger.exception("job %s", job.id)
            job.error = "An error that is not foreseen; the server's log has it."
        with self.lock:
            self._end(job, state)
        if job.id not in self.jobs:
            shutil.rmtree(job.folder, ignore_errors=True)

    @staticmethod
    def _end(job: Job, state: State) -> None:
        job.state, job.ended = state, time.monotonic()
        if state != "done":
            shutil.rmtree(job.folder, ignore_errors=True)

    def _plain(self, job: Job, error: BaseException) -> str:
        """One line that shows no path of this machine."""
        text = " ".join(str(error).split()) or type(error).__name__
        return text.replace(str(job.source), job.name).replace(str(job.folder), "").replace(str(self.folder), "")
