"""The verb for someone with a million videos."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from sonomask.cli.shared import bar, complain, needs, quiet
from sonomask.request import FOR_CORPORA, Request

if TYPE_CHECKING:
    from sonomask.batch.collect import Summary
    from sonomask.batch.job import Ending


def batch(
    sources: Annotated[
        Sequence[str], "videos, globs, folders, lists (.txt), tables (.csv, .parquet), tars; or addresses"
    ],
    *,
    out: Annotated[str, "folder or address (s3://…, gs://…) for the tables"],
    model: Annotated[str | None, "built-in name, folder or hub repository; the built-in model unless given"] = None,
    request: Annotated[
        Request,
        (
            "rate",
            "threshold",
            "min_presence",
            "smooth",
            "min_area",
            "expand",
            "only",
            "without",
            "prompt",
            "maskige",
            "device",
            "precision",
            "batch_size",
            "start",
            "end",
            "audio_track",
        ),
    ] = FOR_CORPORA,
    engine: Annotated[
        Literal["local", "ray"], "processes here, or a Ray cluster (RAY_ADDRESS; experimental)"
    ] = "local",
    workers: Annotated[int, "number of processes, or of parallel decoding tasks; 0 for one per processor"] = 0,
    models: Annotated[int, "number of model actors (ray); 0 for one per GPU"] = 0,
    format: Annotated[Sequence[Literal["parquet", "webdataset", "jsonl"]], "format of the masks"] = ("parquet",),  # noqa: A002
    shard_size: Annotated[int, "videos per shard"] = 128,
    slice: Annotated[str, "I/N: process only part I of N, for machines that share a corpus"] = "0/1",  # noqa: A002
    retry_failed: Annotated[bool, "repeat the shards that contain a failed video"] = False,
    max_seconds: Annotated[float, "longest video in seconds; a longer one fails"] = 3600.0,
    max_bytes: Annotated[int, "largest file in bytes; a larger one fails"] = 2**31,
    timeout: Annotated[float, "seconds of work after which a video fails"] = 600.0,
    metrics: Annotated[str | None, "[HOST:]PORT at which Prometheus can read counts"] = None,
    trusted: Annotated[
        bool, "decode without a sandbox, about 0.3 s faster per video; for your own videos only"
    ] = False,
) -> int:
    """Segment a corpus into tables of masks and a manifest; run it again to continue after a stop."""
    with needs("A corpus", "batch"):
        from sonomask.batch import progress as room
        from sonomask.batch.job import Options
        from sonomask.batch.run import run
    from sonomask.monitoring import served

    options = Options(model or _built_in(), request, max_seconds, max_bytes, timeout=timeout, trusted=trusted)
    counts = room.Counts(room.say if not (quiet() or sys.stderr.isatty()) else lambda _: None)

    def collected(video: str, ending: Ending) -> None:
        counts.ending(ending)
        _print_failure(video, ending)

    with bar(out) as shown, served(counts.figures(), metrics, "batch"):

        def progress(ended: float, wanted: float | None) -> None:
            counts.progress(ended, wanted)
            shown(ended, wanted)

        summary = run(
            sources, out, options, engine=engine, workers=workers, models=models, formats=format, shard_size=shard_size,
            part=_part(slice), retry_failed=retry_failed, progress=progress, report=collected,
            summary=counts.summary,
        )  # fmt: skip
    return _report(out, summary)


def _built_in() -> str:
    from sonomask.inference.loading import DEFAULT_MODEL

    return DEFAULT_MODEL


def _part(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal()):
        raise ValueError(f"`slice`: expected I/N, such as 0/8, got {text!r}.")
    return int(first), int(second)


def _print_failure(video: str, ending: Ending) -> None:
    if ending.status == "failed":
        complain(f"{video}: {ending.reason.removeprefix(f'{video}: ')}")


def _report(out: str, summary: Summary) -> int:
    done, failed = summary.done, summary.failed
    print(
        f"{out}: {done} videos done, {failed} failed, {summary.kept} were there ({summary.kept_failed} of them failed)"
    )
    work = sum(summary.clock.values())
    if done and work:
        shares = ", ".join(f"{stage} {seconds / work:.0%}" for stage, seconds in summary.clock.items())
        print(f"{done / summary.wall:.2f} videos/s, {summary.seconds / summary.wall:.1f} s of video a second; {shares}")
    if summary.lost:
        complain(f"{summary.lost} videos did not come back; run the same command again.")
    good = done + summary.kept - summary.kept_failed
    return 0 if not failed + summary.kept_failed + summary.lost else 1 if good else 2


VERBS = (batch,)
