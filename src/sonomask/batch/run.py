"""`sonomask batch`: a corpus in, tables of masks and a manifest out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from sonomask.batch.claims import claimed
from sonomask.batch.collect import Summary, collect
from sonomask.batch.job import Ending, Options, Piece, VideoJob
from sonomask.batch.ledger import Extra, Ledger, in_slice
from sonomask.batch.local import run_local
from sonomask.batch.sources import expand
from sonomask.batch.store import OutputStore
from sonomask.inference.loading import fingerprint, load_fast
from sonomask.inference.scorer import Scorer, origin_of, prompted
from sonomask.inference.segmenter import check_request

__all__ = ["Summary", "run"]

Engine = Literal["local", "ray"]


def run(
    sources: Sequence[str],
    out: str,
    options: Options,
    *,
    engine: Engine = "local",
    workers: int = 0,
    models: int = 0,
    formats: Sequence[Extra] = ("parquet",),
    shard_size: int = 128,
    part: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    progress: Callable[[float, float | None], None] | None = None,
    report: Callable[[str, Ending], None] | None = None,
    summary: Summary | None = None,
) -> Summary:
    """Segment every video of the sources that has no row in the manifest yet; see `ledger` for the outputs.

    Args:
        sources: See `sources.expand`.
        out: Folder or address.
        options: Options that apply to each video.
        engine: "local" for processes of this machine, "ray" for a cluster; the outputs are the same.
        workers: Processes, or decoding tasks at once; 0 for as many as there are processors.
        models: Actors that hold the model, of the engine "ray"; 0 for one on each GPU, or on every second processor.
        formats: "parquet", "webdataset" and "jsonl".
        shard_size: Videos that are written together: what a stop costs, what waits in memory.
        part: (i, n): do the i-th of n parts, for runs on machines that know nothing of one another.
        retry_failed: Do again the shards with a video that failed before.
        progress: Function called with how many videos are done and how many there are.
        report: Function called with each video's ending.
        summary: Counts that are filled while the run lasts; new ones unless given.

    Raises:
        DatasetError: A source or the output is not as it must be, or another run is at work on the same videos.
        MissingExtraError: A package is missing.
        ValueError: An argument is out of range.
    """
    if options.request.rate == "auto":
        raise ValueError(
            "`rate`: expected masks per second, since a corpus gets the same on every machine; got 'auto'."
        )
    began = time.monotonic()
    scorer = prompted(load_fast(options.model, "cpu", threads=1), options.request.prompt)
    check_request(options.request, scorer.config)
    jobs = in_slice(expand(sources), *part)
    weights = fingerprint(options.model, scorer)
    ledger = Ledger(OutputStore(out), options, origin_of(scorer).name, weights, formats=formats, shard_size=shard_size)
    with claimed(ledger.store, part):
        if retry_failed:
            ledger.forget_failed()
        before = ledger.done()
        missing = [job for job in jobs if job.video not in before]
        summary = summary or Summary()
        summary.kept = len(jobs) - len(missing)
        summary.kept_failed = sum(before.get(job.video) == "failed" for job in jobs)
        ended = summary.kept

        def collected(video: str, ending: Ending) -> None:
            nonlocal ended
            ended += 1
            if progress is not None:
                progress(ended, len(jobs))
            if report is not None:
                report(video, ending)

        if shards := ledger.shards(jobs, before):
            collect(_pieces(missing, options, scorer, engine, workers, models), shards, ledger, collected, summary)
        if shards or "contents.parquet" not in ledger.store.names(""):
            ledger.list_contents()
    summary.wall = time.monotonic() - began
    return summary


def _pieces(
    jobs: Sequence[VideoJob], options: Options, scorer: Scorer, engine: Engine, workers: int, models: int
) -> Iterable[Piece]:
    if engine == "local":
        return run_local(jobs, options, workers or os.cpu_count() or 1)
    from sonomask.batch.cluster import run_ray

    return run_ray(jobs, options, scorer, workers=workers, models=models)
