"""kill -9 at random moments, and what is left.

    python benchmarks/faults.py --rounds 50 --seed 0 segment prepare train benchmark batch

In each round a job is started in a folder of its own, killed at a moment drawn from its whole length, looked at, and run
again until it is done (every other round is killed twice). Three things are asked: nothing under a final name differs from the
undisturbed run's (no partial output), the job is completed, and its results equal the undisturbed run's. Jobs are forked from a
process that has imported everything, so that the kill falls into the work. Each is a process group; a coin decides whether the
group is killed, as by a machine that goes down, or its head alone; then the others have a minute to end by themselves (who is
only starting notices when the imports are done).
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from cuda_autocast import CudaAutocast

from sonomask.cli.main import main as run_command
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video

RECIPE = """
model: {model: avs_mini, options: {fusion: add}, learning_rate: 0.002, freeze_audio: false, dice_weight: 0.3}
data:
  class_path: sonomask.data.datamodule.SyntheticDataModule
  init_args: {train: 8, val: 4, test: 4, size: 32, batch_size: 4, workers: 0}
trainer: {enable_progress_bar: false, log_every_n_steps: 1, max_epochs: 3, accelerator: cpu}
"""
IGNORED = ("metrics", "events.", "versions.txt", "recipe.yaml", "hparams", "last.ckpt", "table.", "scores.json")


def segment(out):
    """Every kind of output of two videos, with what the model said kept for the next run."""
    words = ["--model", "avs_mini.synthetic", "--rate", "4", "--format", "overlay", "masks", "npz", "--resume"]
    waiting = [v for v in ("a", "b") if not all((out / f"{v}{s}").exists() for s in (".overlay.mp4", ".masks", ".npz"))]
    videos = [str(out.parent / "videos" / f"{v}.mp4") for v in waiting]
    return run_command(["segment", *videos, "--out", str(out), *words, "--overwrite"]) if videos else 0


def prepare(out):
    """A data set of eight videos."""
    return run_command(["prepare", str(out.parent / "videos"), str(out), "--workers", "0", "--size", "64"])


def train(out):
    """Three epochs."""
    recipe = out.parent / "recipe.yaml"
    recipe.write_text(RECIPE)
    return run_command(["train", str(recipe), "--out", str(out), "--resume", "true"])


def benchmark(out):
    """One row of the comparison, trained and scored."""
    words = ["--small", "--size", "64", "--steps", "4", "--batch", "2", "--clips", "2", "--subset", "s4"]
    return run_command(["benchmark", *words, "--models", "lvs", "--out", str(out)])


def batch(out):
    """A corpus of eight videos in four shards, two processes with a decoder each."""
    words = ["--model", "avs_mini.synthetic", "--device", "cpu", "--rate", "4", "--workers", "2", "--shard-size", "2"]
    return run_command(["batch", str(out.parent / "videos"), "--out", str(out), *words])


def train_as_on_cuda(out):
    """The same in the types of CUDA's mixed precision, acted out on the CPU."""
    with CudaAutocast():
        return train(out)


JOBS = {f.__name__: f for f in (segment, prepare, train, benchmark, batch, train_as_on_cuda)}


def start(job, out):
    """A child that does the job in a process group of its own, and its end as code."""
    child = os.fork()
    if child:
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        return child
    code = 1
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    with contextlib.suppress(BaseException):
        said = os.open(out.parent / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        code = job(out)
    os._exit(int(code or 0))


def finish(child):
    """Its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def alive(group):
    """Processes of a group that have not ended (a zombie has)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text().rsplit(")")[-1].split()[:3]
            found += [path.parent.name] if int(its_group) == group and state not in "ZX" else []
    return found


def kill(child, everyone):
    """Kill a job, or its head alone; whether it was still at work, and what of it lives on after a minute."""
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if everyone else os.kill)(child, signal.SIGKILL)
    killed, end = finish(child) == -signal.SIGKILL, time.monotonic() + 60
    while (left := alive(child)) and time.monotonic() < end:
        time.sleep(0.1)
    return killed, left


def check_rows(out):
    """Of a corpus, that each video has one row, and each of its moments one mask."""
    manifest, masks = (pq.read_table(out / name).to_pylist() for name in ("manifest", "masks"))
    assert sorted(Path(row["video"]).stem for row in manifest) == list("abcdefgh")
    assert (
        len({(row["video"], row["time"]) for row in masks}) == len(masks) == sum(row["frames"] for row in manifest) > 0
    )


def contents(out):
    """A digest of each file under a final name whose content follows from the input."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        hidden = any(part.startswith(".") or part.endswith(".resume") for part in path.relative_to(out).parts)
        if not path.is_file() or hidden or path.suffix == ".part" or path.name.startswith(IGNORED):
            continue
        if path.suffix == ".npz":  # a zip tells the hour at which it was made
            with np.load(path) as file:
                data = b"".join(file[key].tobytes() for key in sorted(file.files))
        else:
            data = path.read_bytes()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def rounds(name, count, rng, base):
    """Kill a job so many times; gives what broke a promise."""
    job, videos = JOBS[name], base / "videos"
    whole = base / f"{name}_whole"
    began = time.monotonic()
    assert finish(start(job, whole)) == 0, f"{name} fails undisturbed"
    length, expected, broken = time.monotonic() - began, contents(whole), []
    assert expected
    if name == "batch":
        check_rows(whole)  # then equal bytes mean that nothing is lost and nothing double
    for number in range(count):
        out = base / f"{name}_{number}"
        kills = 0
        for _ in range(1 + number % 2):
            child = start(job, out)
            time.sleep(rng.random() * length)
            killed, living = kill(child, rng.random() < 0.5)
            kills += killed
            broken += [f"{number}: processes live on: {living}"] if living else []
            if name in ("segment", "prepare", "batch"):  # training's `best` is one that a later epoch replaces
                broken += [f"{number}: partial {k}" for k, v in contents(out).items() if expected.get(k) != v]
        code = finish(start(job, out))
        got = contents(out)
        if code != 0:
            said = (base / "said.txt").read_text(encoding="utf-8").strip().splitlines()[-3:]
            broken.append(
                f"{number}: not completed, exit {code}: {' / '.join(said)}; left {sorted(contents(out))[:20]}"
            )
        if got != expected:
            broken.append(
                f"{number}: differs in {sorted(k for k in {*got, *expected} if got.get(k) != expected.get(k))[:5]}"
            )
        hidden = [p.name for pattern in (".sonomask-*", ".*.part", "*.resume") for p in out.rglob(pattern)]
        broken += [f"{number}: left {hidden}"] if hidden else []
        print(f"{name} round {number}: killed {kills} times, {'whole' if got == expected else 'BROKEN'}", flush=True)
        shutil.rmtree(out)
    assert videos.is_dir()
    return broken


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="*", default=list(JOBS))
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    import lightning  # noqa: F401 - so that the children need not

    import sonomask.batch.run
    import sonomask.benchmark.run
    import sonomask.training.recipes  # noqa: F401

    failed, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for index in range(8):
            write_video(base / "videos" / f"{'abcdefgh'[index]}.mp4", scene(index, size=(48, 64), seconds=5), 8)
        for name in options.jobs:
            broken = rounds(name, options.rounds, random.Random(f"{options.seed}/{name}"), base)
            failed += len(broken)
            print(f"{name}: {options.rounds} rounds, {len(broken)} broken promises", *broken, sep="\n  ", flush=True)
    print(f"{len(options.jobs)} jobs, {failed} broken promises, {time.monotonic() - began:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
