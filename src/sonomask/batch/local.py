"""The local engine: `workers` processes on one machine, each of which processes whole videos."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from sonomask.batch.guard import Child, ChildError
from sonomask.batch.job import Ending, Options, Piece, VideoJob
from sonomask.batch.stages import start_whole
from sonomask.threads import merged

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
    drives = [_drive(todo, options, device) for device in _devices(options.request.device, workers)]
    yield from merged(drives, WAITING * workers)


def _devices(name: str, workers: int) -> list[str]:
    """A device for each worker; they share what there is."""
    if name not in ("auto", "cuda") or find_spec("torch") is None:
        return [name] * workers
    import torch

    from sonomask.inference.torch_scorer import choose_device

    if str(choose_device(name)) != "cuda":
        return [name] * workers
    return [f"cuda:{i % torch.cuda.device_count()}" for i in range(workers)]


def _drive(todo: queue.SimpleQueue[VideoJob], options: Options, device: str) -> Iterator[Piece]:
    """The pieces of one child, which is given one job after the other."""
    child = Child(start_whole, options, device)
    try:
        while True:
            try:
                job = todo.get_nowait()
            except queue.Empty:
                return
            yield from guarded(child, job, options.timeout)
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
