"""One machine: as many processes as `workers`, each of which does whole videos."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from sonomask.batch.guard import Child, ChildError
from sonomask.batch.job import Ending, Options, Piece, VideoJob
from sonomask.batch.stages import start_whole

__all__ = ["run_local"]

WAITING = 8  # pieces for each worker that the collector has not taken yet


def run_local(jobs: Sequence[VideoJob], options: Options, workers: int) -> Iterator[Piece]:
    """Pieces of all jobs, in the order in which they come.

    Raises:
        ValueError: `workers` is not positive.
        RuntimeError: A process can't start.
    """
    if workers < 1:
        raise ValueError(f"`workers`: expected 1 or more, got {workers}.")
    todo: queue.SimpleQueue[VideoJob] = queue.SimpleQueue()
    for job in jobs:
        todo.put(job)
    workers = min(workers, len(jobs))
    ready: queue.Queue[Any] = queue.Queue(WAITING * workers)
    stop = threading.Event()
    threads = [
        threading.Thread(target=_drive, args=(todo, ready, stop, options, device), daemon=True)
        for device in _devices(options.request.device, workers)
    ]
    for thread in threads:
        thread.start()
    try:
        left = workers
        while left:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        stop.set()
        while any(thread.is_alive() for thread in threads):
            try:
                ready.get(timeout=0.1)  # make room for one that waits to put
            except queue.Empty:
                continue


def _devices(name: str, workers: int) -> list[str]:
    """A device for each worker; they share what there is."""
    if name not in ("auto", "cuda") or find_spec("torch") is None:
        return [name] * workers
    import torch

    from sonomask.inference.torch_scorer import choose_device

    if str(choose_device(name)) != "cuda":
        return [name] * workers
    return [f"cuda:{i % torch.cuda.device_count()}" for i in range(workers)]


def _drive(todo: Any, ready: Any, stop: threading.Event, options: Options, device: str) -> None:
    """Give one child its jobs."""
    child = Child(start_whole, options, device)
    try:
        while not stop.is_set():
            try:
                job = todo.get_nowait()
            except queue.Empty:
                break
            for piece in guarded(child, job, options.timeout):
                ready.put(piece)
                if stop.is_set():
                    break
        ready.put(None)
    except BaseException as error:
        ready.put(error)
    finally:
        child.close()


def guarded(child: Child, job: VideoJob, seconds: float) -> Iterator[Piece]:
    """The pieces that a child gives of a job, with an ending whatever happens to the child."""
    count = 0
    try:
        for piece in child.run(job, seconds):
            count = piece.order + 1
            yield piece
    except ChildError as error:
        yield Piece(job.video, count, Ending("failed", f"{job.video}: {error}"))
