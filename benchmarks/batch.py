"""How many videos a second a corpus takes, by the number of workers, and what share of the work is decoding.

    uv run python benchmarks/batch.py --videos 32 --workers 1 2 --engines local ray

The corpus is drawn (`data.synthetic`): H.264 of 25 frames a second with AAC sound. Start-up is measured apart, as the time
that a run of one video takes beyond its work, and named, not taken off.
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

from sonomask.batch.job import Options, VideoJob
from sonomask.batch.run import run
from sonomask.batch.stages import DecodeStage, FinishStage, ScoreStage
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.inference.loading import load_fast
from sonomask.request import Request


def corpus(folder, videos, size, seconds):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(min(videos, 8)):
        if not (folder / f"{i:05d}.mp4").exists():
            write_video(folder / f"{i:05d}.mp4", scene(i, size=size, seconds=seconds), 25)
    for i in range(8, videos):  # copies: their cost is that of others
        if not (folder / f"{i:05d}.mp4").exists():
            shutil.copy(folder / f"{i % 8:05d}.mp4", folder / f"{i:05d}.mp4")
    return [str(folder / f"{i:05d}.mp4") for i in range(videos)]


def measure(sources, options, engine, workers):
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        summary = run(sources, out, options, engine=engine, workers=workers, models=1, shard_size=16)
        assert summary.done == len(sources), summary
        return time.perf_counter() - began, summary


def processor():
    """Processor seconds of this process and of its children that have ended: a sandbox ends with its video's last piece."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def cost(sources, options):
    """Processor seconds of each stage for a video, the start of its sandbox among them; other programs do not count."""
    model = load_fast(options.model, options.request.device, threads=1)  # as `start_whole` does
    decode, finish = DecodeStage(options, model.config), FinishStage(options, model.config)
    score, spent = ScoreStage(options, model), dict.fromkeys(("decode", "model", "finish"), 0.0)
    for round_, source in enumerate([sources[0], *sources]):  # the first warms up
        spent = dict.fromkeys(spent, 0.0) if round_ == 1 else spent
        pieces = decode(VideoJob(source, source))
        while True:
            began = processor()
            piece = next(pieces, None)
            if piece is None:
                break
            decoded = processor()
            piece = score(piece)
            scored = processor()
            finish(piece)
            times = (decoded - began, scored - decoded, processor() - scored)
            spent = {stage: spent[stage] + t for stage, t in zip(spent, times)}
    return {stage: t / len(sources) for stage, t in spent.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--videos", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), help="height and width")
    parser.add_argument("--rate", type=float, default=1.0, help="masks a second")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--engines", nargs="+", default=["local"], choices=["local", "ray"])
    parser.add_argument("--model", default="world_duo.real")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--corpus", type=Path, default=Path(tempfile.gettempdir(), "sonomask_corpus"))
    parser.add_argument("--cost", type=int, default=8, help="videos whose processor seconds are measured")
    given = parser.parse_args()
    name = f"{given.size[0]}x{given.size[1]}_{given.seconds}"
    sources = corpus(given.corpus / name, given.videos, tuple(given.size), given.seconds)
    options = Options(given.model, Request(rate=given.rate, device=given.device))
    print(
        f"{given.videos} videos of {given.seconds} s, {given.size[1]}×{given.size[0]}; {os.cpu_count()} cores, ", end=""
    )
    print(f"load {os.getloadavg()[0]:.1f} at the start; {given.model}, {given.rate:g} masks/s\n")
    each = cost(sources[: given.cost], options)
    print("processor seconds a video:", ", ".join(f"{stage} {t:.3f}" for stage, t in each.items()), "\n")
    print("| engine | workers | start-up s | videos/s | seconds of work a video | fetch | decode | model | finish |")
    print("|---|---|---|---|---|---|---|---|---|")
    for engine in given.engines:
        for workers in given.workers:
            alone, first = measure(sources[:1], options, engine, workers)
            wall, summary = measure(sources, options, engine, workers)
            work = sum(summary.clock.values())
            shares = " | ".join(f"{summary.clock[s] / work:.0%}" for s in ("fetch", "decode", "model", "finish"))
            start = alone - sum(first.clock.values())
            print(
                f"| {engine} | {workers} | {start:.1f} | {len(sources) / wall:.2f} | {work / len(sources):.2f} | {shares} |"
            )


if __name__ == "__main__":
    main()
