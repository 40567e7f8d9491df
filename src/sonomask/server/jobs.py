"""A bounded queue of jobs, each with its own folder, a time limit and guaranteed cleanup.

    submit ─▶ queued ─▶ running ─▶ done
                 │         ├─────▶ failed      (the reason in one line)
                 └─────────┴─────▶ cancelled

A job's place belongs to the runner from `submit` to `_end`, which is reached on every way out. The watchdog ends what was
cancelled or took too long: it kills the job's child processes, and if the work still does not end, gives up its thread and
starts another. Clients take turns. Knows nothing of web servers: what a job does is a function that is handed in.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from sonomask.errors import SonomaskError
from sonomask.monitoring import Figure
from sonomask.server.job import Job, JobOptions, State, Stopped
from sonomask.server.kept import note, recall
from sonomask.server.limits import ServerLimits
from sonomask.server.problems import BusyError, UnknownError
from sonomask.server.store import Upload, UploadStore, clean_name

__all__ = ["Job", "JobOptions", "Runner", "Stopped"]

RECORDS = 50  # failed and cancelled jobs of a client that are remembered
BEAT = 0.2  # seconds between two looks of the watchdog
CLOSING = 4.0  # seconds that running jobs have to end when the server does
ENDS: tuple[State, ...] = ("done", "failed", "cancelled")
SWEEP = 5.0  # seconds between two sweeps

logger = logging.getLogger(__name__)


class Runner:
    """Runs jobs in turn; use it in a `with` block.

    Args:
        work: Function that runs a job: it reads `job.source`, fills `job.files` and calls `job.report`.
        folder: Exists, and belongs to this server alone; uploads and results go there, and are removed at the end.
        limits: Limits on jobs.
        workers: Jobs at once.
        keeps: Whether uploads and finished jobs stay in the folder at the end, and those that lie there are taken up.
    """

    def __init__(
        self,
        work: Callable[[Job], None],
        folder: Path,
        limits: ServerLimits | None = None,
        *,
        workers: int = 1,
        keeps: bool = False,
    ) -> None:
        self.work, self.folder, self.limits, self.keeps = work, folder, limits or ServerLimits(), keeps
        for name in ("uploads", "jobs"):
            (folder / name).mkdir(mode=0o700, exist_ok=keeps)
        self.store = UploadStore(folder / "uploads", self.limits, keeps=keeps)
        self.boot = secrets.token_hex(4)  # begins each id, so that an id of a server before this one is known as such
        kept = recall(folder / "jobs", self.limits, self.store.uploads) if keeps else ()
        self.jobs: dict[str, Job] = {job.id: job for job in kept}
        self.ended: Counter[str] = Counter(dict.fromkeys(ENDS, 0))
        self.seconds: Counter[str] = Counter(dict.fromkeys(ENDS, 0))
        self.rubbish: deque[Path] = deque()  # folders to remove
        self.turns: list[str] = []  # clients, the one served longest ago first
        self.changed = threading.Condition(threading.RLock())
        self.closed = False
        self.swept = time.monotonic()
        self.threads: dict[threading.Thread, Job | None] = {}
        for _ in range(workers):
            self._hire()
        self.watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.watchdog.start()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel everything, wait a little for running jobs to end, remove all files but those that are to be kept."""
        with self.changed:
            if self.closed:
                return
            self.closed = True
            self.changed.notify_all()
        for job in list(self.jobs.values()):
            self.cancel(job)
        end = time.monotonic() + min(self.limits.grace, CLOSING)
        for thread in list(self.threads):
            thread.join(max(0.0, end - time.monotonic()))
        self.watchdog.join(3 * BEAT)
        self._tidy()
        if not self.keeps:
            shutil.rmtree(self.folder, ignore_errors=True)

    def submit(
        self,
        upload: Upload,
        options: JobOptions,
        *,
        name: str | None = None,
        parent: Job | None = None,
        sources: tuple[int, ...] = (),
        prepare: Callable[[Job], None] = lambda _: None,
    ) -> Job:
        """A job that reads an upload, in the queue.

        Args:
            upload: The video.
            options: Options of the job.
            name: Name to show.
            parent: A finished job on the same video, some of whose `sources` are wanted alone.
            sources: Their numbers.
            prepare: Function that puts into the job's folder what it needs besides.

        Raises:
            BusyError: The queue is full, or the client has its share of it.
            UnknownError: The upload was removed meanwhile.
        """
        with self.changed:
            waiting = [job for job in self.jobs.values() if not job.over]
            own = sum(job.client == upload.client for job in waiting)
            if self.closed or len(waiting) >= self.limits.queue:
                raise BusyError(f"All {self.limits.queue} places in the queue are taken. Try again in a minute.")
            if own >= self.limits.queue_client:
                raise BusyError(f"You have {own} videos in the queue, the most for one client. Wait for one to end.")
            if shutil.disk_usage(self.folder).free < self.limits.spare:
                raise BusyError("The server's disk is full. Try again later.")
            source = self.store.take(upload)
            job_id = f"{self.boot}-{secrets.token_urlsafe(16)}"
            job = Job(job_id, self.folder / "jobs" / job_id, clean_name(name or upload.name), options, self.limits, source,
                      session=upload.session, client=upload.client, upload=upload, sources=sources)  # fmt: skip
            try:
                job.folder.mkdir(mode=0o700)
                if parent is not None:  # which may be removed before the turn of this one comes
                    job.parent = job.folder / "parent"
                    shutil.copytree(parent.folder / "view", job.parent, ignore=shutil.ignore_patterns("*.mp4"))
                prepare(job)
            except (OSError, shutil.Error) as error:
                shutil.rmtree(job.folder, ignore_errors=True)
                self.store.give_back(upload)
                raise BusyError("The server's disk is full. Try again later.") from error
            self.jobs[job_id] = job
            if upload.client not in self.turns:
                self.turns.append(upload.client)
            self.changed.notify()
        return job

    def figures(self) -> list[Figure]:
        """For Prometheus."""
        name = "sonomask_serve_"

        def states() -> dict[str, float]:
            return {
                state: float(sum(job.state == state for job in list(self.jobs.values()))) for state in get_args(State)
            }

        return [
            Figure(f"{name}jobs", "Jobs that are known, by their state.", states, "state"),
            Figure(f"{name}jobs_ended", "Jobs that ended since the server began.", lambda: dict(self.ended), "state"),
            Figure(f"{name}job_seconds", "Seconds of work, of jobs that ended.", lambda: dict(self.seconds), "state"),
            Figure(f"{name}queue_places", "Jobs that may wait or run at once.", lambda: self.limits.queue),
        ]

    @property
    def busy(self) -> int:
        """Jobs that wait or run."""
        return sum(not job.over for job in list(self.jobs.values()))

    def job(self, job_id: str) -> Job:
        """The job of that id.

        Raises:
            UnknownError: There is none, or no longer.
        """
        job = self.jobs.get(job_id)
        if job is not None and not self._expired(job):
            return job
        if "-" in job_id[:9] and not job_id.startswith(f"{self.boot}-"):
            raise UnknownError(
                "The server was restarted since, and this job is gone. Submit the video again.", "restart"
            )
        raise UnknownError("There is no such job, or it was removed. Submit the video again.")

    def of(self, session: str | None) -> list[Job]:
        """The jobs of a session, the newest first; none without a session."""
        own = [job for job in list(self.jobs.values()) if job.session == session and not self._expired(job)]
        return own[::-1] if session is not None else []

    def ahead(self, job: Job) -> int:
        """Jobs that run or will run before a waiting one."""
        if job.state != "queued":
            return 0
        with self.changed:
            running = sum(one.state == "running" for one in self.jobs.values())
            return running + self._order().index(job) if job in self._order() else running

    def cancel(self, job: Job) -> None:
        """Stop a job wherever it is: a waiting one at once, a running one when its work has ended."""
        job.halt()
        with self.changed:
            if job.state == "queued":
                self._end(job, "cancelled")

    def remove(self, job: Job) -> None:
        """Cancel a job and forget it; its files go now, or when its work has ended."""
        job.removed = True
        self.cancel(job)
        with self.changed:
            if job.over:
                self._forget(job)
        self._tidy()

    def sweep(self) -> None:
        """Remove what has been kept long enough, and what is beyond a client's share, its oldest first."""
        now = time.monotonic()
        self.store.sweep(now)
        with self.changed:
            ended = sorted((job for job in self.jobs.values() if job.over), key=lambda job: job.ended or 0)
            for job in [job for job in ended if self._expired(job)]:
                self._forget(job)
            for client in {job.client for job in ended}:
                own = [job for job in ended if job.client == client and job.id in self.jobs]
                self._trim([job for job in own if job.state == "done"], self.limits.kept, self.limits.results_client)
                self._trim([job for job in own if job.state != "done"], RECORDS, 0)
            while sum(job.size for job in self.jobs.values()) > self.limits.results:
                done = [job for job in ended if job.state == "done" and job.id in self.jobs]
                used = {job.client: sum(one.size for one in done if one.client == job.client) for job in done}
                most = max(used, key=used.__getitem__)
                self._forget(next(job for job in done if job.client == most))
        self._tidy()

    def _trim(self, jobs: list[Job], count: int, size: int) -> None:
        """Forget the first of these until at most so many with so many bytes are left; the last one is always kept."""
        while len(jobs) > 1 and (len(jobs) > count or sum(job.size for job in jobs) > size > 0):
            self._forget(jobs.pop(0))

    def _forget(self, job: Job) -> None:
        """Its files go with the next `_tidy`: many files take long, and others wait for the lock."""
        self.jobs.pop(job.id, None)
        self.rubbish.append(job.folder)

    def _tidy(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                shutil.rmtree(self.rubbish.popleft(), ignore_errors=True)

    def _expired(self, job: Job) -> bool:
        return job.ended is not None and time.monotonic() > job.ended + self.limits.keep

    # ---- the threads ------------------------------------------------------------------------------------------------

    def _hire(self) -> None:
        thread = threading.Thread(target=self._loop, name="job", daemon=True)
        self.threads[thread] = None
        thread.start()

    def _order(self) -> list[Job]:
        """The waiting jobs in the order in which they will run: the first of each client, then the second of each."""
        queues: dict[str, list[Job]] = {client: [] for client in self.turns}
        for job in self.jobs.values():
            if job.state == "queued":
                queues[job.client].append(job)
        rounds = max(map(len, queues.values()), default=0)
        return [queue[i] for i in range(rounds) for queue in queues.values() if i < len(queue)]

    def _next(self) -> Job | None:
        """The next job, now running; None when the runner is closed or this thread was given up."""
        with self.changed:
            while not self.closed and threading.current_thread() in self.threads:
                waiting = self._order()
                if waiting:
                    job = waiting[0]
                    self.turns.remove(job.client)
                    if any(one.client == job.client for one in waiting[1:]):
                        self.turns.append(job.client)
                    job.begin()
                    self.threads[threading.current_thread()] = job
                    return job
                self.changed.wait(30)
        return None

    def _loop(self) -> None:
        while (job := self._next()) is not None:
            state: State = "failed"
            try:
                self.work(job)
                state = "done"
            except Stopped:
                pass
            except (SonomaskError, ValueError, OSError) as error:
                job.error = self._plain(job, error)
            except BaseException:
                logger.exception("job %s", job.id)
                job.error = "An error that was not foreseen; the server's log has it."
            finally:
                with self.changed:
                    if threading.current_thread() in self.threads:
                        self.threads[threading.current_thread()] = None
                    self._end(job, state)

    def _end(self, job: Job, state: State) -> None:
        """The only function that frees a job's place; it may be called twice."""
        failed = job.stop.is_set() or state != "done"
        if failed and not job.over:
            shutil.rmtree(job.folder, ignore_errors=True)
        elif self.keeps and not job.over:
            note(job)
        with self.changed:
            if job.over:
                return
            if failed:
                job.files.clear()
                state = "failed" if job.late or not job.stop.is_set() else "cancelled"
            if job.late:
                job.error = (
                    f"Not finished after {self.limits.work:.0f} s, the limit. Use a lower rate, or a shorter part."
                )
            elif state == "cancelled":
                job.error = None
            job.end(state)
            self.ended[state] += 1
            self.seconds[state] += round(time.monotonic() - job.began) if job.began is not None else 0
            if job.upload is not None:
                self.store.give_back(job.upload)
            if job.removed:
                self._forget(job)
        self._tidy()

    def _watch(self) -> None:
        """Supervise jobs and files until the server ends, whatever errors occur."""
        pause = threading.Event()
        while True:
            with self.changed:
                if self.closed and not any(job is not None for job in self.threads.values()):
                    return
            pause.wait(BEAT)
            try:
                self._look_after(time.monotonic())
            except Exception:  # without it a job that hangs would keep its place for ever
                logger.exception("the watchdog met a fault, and goes on")

    def _look_after(self, now: float) -> None:
        """End jobs that were stopped or are late, also where their work hangs; remove what is too old."""
        for thread, job in list(self.threads.items()):
            if job is None or job.over:
                continue
            if now > job.deadline:
                job.late = True
                job.halt()
            if job.halted is not None and now > job.halted + self.limits.grace:
                logger.error("job %s hangs; its thread is given up", job.id)
                with self.changed:
                    self.threads.pop(thread, None)
                    self._end(job, "failed")
                if not self.closed:
                    self._hire()
        if now > self.swept + SWEEP:
            self.swept = now
            self.sweep()

    def _plain(self, job: Job, error: BaseException) -> str:
        """An error message in one line, without paths of this machine."""
        text = " ".join(str(error).split()) or type(error).__name__
        return text.replace(str(job.source), job.name).replace(str(job.folder), "").replace(str(self.folder), "")
