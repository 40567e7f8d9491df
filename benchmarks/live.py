"""How fast a stream can be followed: frames per second and real-time factor, against the offline model in the same run.

    uv run python benchmarks/live.py [--rounds 20] [--threads 2] [--models world_duo.real avs_resnet50 avs_pvt_v2_b5]

For each model, optimised, a step of the stream (`model.step` with a full past) takes turns with the offline forward of a
clip of T seconds, and with the plain way to the same answer: the whole clip that ends at the frame, for each frame anew.
Times are medians of the rounds; names of the catalogue have random weights, which cost what trained ones cost. Then the
path from a decoded picture to a mask of 720 lines, piece by piece, for the first model.

On a machine that does other things too, wall times tell of these; the processor time of a step (summed over its threads)
hardly does, so it stands beside. Real-time factor: seconds of work for a second of stream at 25 frames a second; below 1
every frame can be marked.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch

from sonomask.audio.spectrum import patches_at
from sonomask.checkpoints.folder import load
from sonomask.inference.finish import finish, reduce
from sonomask.inference.torch_scorer import TorchScorer
from sonomask.live.segmenter import LiveMasks
from sonomask.models.catalog import create_model, list_models
from sonomask.models.optimize import optimize
from sonomask.request import Request
from sonomask.structures import Masks

FPS = 25


def race(rounds: int, contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each, taking turns."""
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(row) for name, row in seconds.items()}


@torch.inference_mode()
def model_row(name: str, rounds: int) -> str:
    """A line of the table."""
    torch.manual_seed(0)
    model = optimize(create_model(name).eval() if name in list_models() else load(name))
    config = model.config
    size, seconds = config.image_size, config.clip_length
    images, logmel = torch.randn(1, seconds, 3, *size), torch.randn(1, seconds, 1, 96, 64)
    past = model.start()
    for i in range(seconds * 2):
        _, past = model.step(images[:, 0], logmel[:, 0], past, time=i / 2)
    times = race(rounds, {
        "step": lambda: model.step(images[:, 0], logmel[:, 0], past, time=float(seconds)),
        "clip": lambda: model(images, logmel),
        "frame": lambda: model(images[:, :1], logmel[:, :1]),
    })  # fmt: skip
    step, began = times["step"], time.process_time()
    for _ in range(rounds):
        model.step(images[:, 0], logmel[:, 0], past, time=float(seconds))
    work = (time.process_time() - began) / rounds
    return (
        f"| {name} | {size[0]}×{size[1]} | {step * 1e3:.0f} ms | {1 / step:.1f} | {FPS * step:.2f} | {step:.3f} | "
        f"{work * 1e3:.0f} ms | {step / times['frame']:.2f} | {step / (times['clip'] / seconds):.2f} | "
        f"{times['clip'] / step:.1f}× |"
    )


@torch.inference_mode()
def path(name: str, rounds: int) -> None:
    """From a decoded picture to a mask and an overlay of 1280×720."""
    model = optimize(create_model(name).eval() if name in list_models() else load(name))
    scorer, request = TorchScorer(model, "cpu"), Request()
    small = np.random.default_rng(0).integers(0, 255, (*model.config.image_size, 3), np.uint8)
    big = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    track = np.random.default_rng(1).standard_normal(32_000).astype(np.float32)
    patch, past = patches_at(track, [1.0], align="centre")[0], scorer.start()
    scored = scorer.step(small, patch, past, 0.0)[0]

    def mask() -> Masks:
        return finish(0.0, reduce(scored), (720, 1280), model.config, request)

    masks = mask()

    def draw() -> object:
        picture = SimpleNamespace(image=lambda _: big)
        return LiveMasks(masks, picture, 0.0, 0.0, model.config.class_names).drawn

    times = race(rounds, {
        "picture to tensor": lambda: scorer.prepare(small[None]),
        "log-mel patch": lambda: patches_at(track, [1.0], align="centre"),
        "model step": lambda: scorer.step(small, patch, past, 0.0),
        "mask at 1280×720": mask,
        "overlay (only if shown)": draw,
    })  # fmt: skip
    print(f"\n| {name}, piece by piece | ms |\n|---|--:|")
    for piece, seconds in times.items():
        print(f"| {piece} | {seconds * 1e3:.1f} |")
    whole = sum(times.values()) - times["overlay (only if shown)"]
    print(f"| whole, without the overlay | {whole * 1e3:.1f} ({1 / whole:.1f} masks a second) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=["world_duo.real", "avs_resnet50", "avs_pvt_v2_b5"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, {platform.machine()}, {args.rounds} rounds\n")
    head = ("model", "size", "step", "frames a second", "real-time factor at 25 fps", "at 1 fps", "processor time of a step",
            "against a frame alone", "against a clip's frame", "a clip for each frame costs")  # fmt: skip
    print("| " + " | ".join(head) + " |\n|---|---" + "|--:" * (len(head) - 2) + "|")
    for name in args.models:
        print(model_row(name, args.rounds), flush=True)
    path(args.models[0], args.rounds)


if __name__ == "__main__":
    main()
