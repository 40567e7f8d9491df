"""What each model of the zoo costs on this machine.

    uv run python benchmarks/zoo.py [--models 'avsegformer_*' …] [--seconds 5] [--threads 1]

Prints Markdown: parameters, multiply-adds of a frame (`torch.utils.flop_counter`, which counts matrix products and
convolutions, not the sampling of deformable attention), processor and wall seconds of a clip at the model's own size, and
the peak memory of its process, weights included. Weights are random, which cost what trained ones do. Each model runs in a
process of its own, through `optimize` as `sonomask segment` does.
"""

import argparse
import multiprocessing
import platform
import resource
import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from sonomask.models.catalog import create_model, list_models
from sonomask.models.optimize import optimize

ZOO = ("avsegformer_*", "combo_*", "vct_*")


def measure(name: str, options: dict[str, Any], seconds: int, threads: int) -> dict[str, float]:
    """The figures of one model; only sensible in a fresh process."""
    torch.set_num_threads(threads)
    model: Any = optimize(create_model(name, **options), in_place=True)
    size = model.config.image_size
    inputs: dict[str, Any] = {"images": torch.randn(1, seconds, 3, *size), "logmel": torch.randn(1, seconds, 1, 96, 64)}
    if getattr(model.config, "regions", False):
        inputs["regions"] = torch.randn(1, seconds, 3, *size)
    with torch.inference_mode():
        counter = FlopCounterMode(display=False)
        with counter:
            model(**{key: value[:, :1] for key, value in inputs.items()})
        wall, processor = time.perf_counter(), time.process_time()
        model(**inputs)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {
        "size": size[0],
        "parameters": sum(p.numel() for p in model.parameters()) / 1e6,
        "gmacs": counter.get_total_flops() / 2e9,
        "processor": processor,
        "wall": wall,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,  # KiB to GiB
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=ZOO, help="shell patterns of catalogue names")
    parser.add_argument("--classes", type=int, nargs="+", default=[1, 71])
    parser.add_argument("--seconds", type=int, default=5, help="frames in the clip")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    print(
        f"{platform.machine()} CPU, {args.threads} thread(s), torch {torch.__version__}, {args.seconds} frames a clip\n"
    )
    print("| model | classes | size | parameters M | GMAC/frame | processor s/clip | wall s/clip | peak GiB |")
    print("|---|" + "--:|" * 7)
    for name in [name for pattern in args.models for name in list_models(pattern)]:
        for classes in args.classes:
            options = {} if classes == 1 else {"num_classes": classes}
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                row = pool.apply(measure, (name, options, args.seconds, args.threads))
            cells = [f"{row['size']:.0f}", f"{row['parameters']:.1f}", f"{row['gmacs']:.0f}", f"{row['processor']:.1f}"]
            cells += [f"{row['wall']:.1f}", f"{row['peak']:.1f}"]
            print(f"| {name} | {classes} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
