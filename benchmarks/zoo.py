"""What each model of the zoo costs on this machine, in torch and as ONNX.

    uv run python benchmarks/zoo.py [--models 'avsegformer_*' …] [--classes 1 71] [--seconds 5] [--threads 1] [--no-onnx]

Prints Markdown: parameters, multiply-adds of a frame (`torch.utils.flop_counter`, which counts matrix products and
convolutions, not the sampling of deformable attention), processor and wall seconds of a clip at the model's own size, and
the peak memory of its process, weights included. Weights are random, which cost what trained ones do. Each figure is taken in
a process of its own: torch's through `optimize` as `sonomask segment` does, ONNX's by onnxruntime alone, from a file that
`export` wrote and compared with torch. What can't be exported is told below the table.
"""

import argparse
import multiprocessing
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from sonomask.errors import SonomaskError
from sonomask.export.runtime import load_onnx
from sonomask.export.write import export
from sonomask.models.catalog import create_model, list_models
from sonomask.models.optimize import optimize

ZOO = ("avsegformer_*", "combo_*", "vct_*")
COLUMNS = "| model | classes | size | M parameters | GMAC/frame | torch: s/clip | wall s | GiB | ONNX: s/clip | wall s | GiB |"


def inputs(model: Any, seconds: int) -> dict[str, Any]:
    shape = (1, seconds, 3, *model.config.image_size)
    made = {"images": torch.randn(shape), "logmel": torch.randn(1, seconds, 1, 96, 64)}
    return {**made, "regions": torch.randn(shape)} if model.config.regions else made


@torch.inference_mode()
def timed(model: Any, given: dict[str, Any]) -> list[float]:
    """Processor and wall seconds, and GiB of the process at its peak."""
    wall, processor = time.perf_counter(), time.process_time()
    model(**given)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return [processor, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]  # KiB to GiB


def in_torch(name: str, options: dict[str, Any], seconds: int, threads: int) -> tuple[int, float, float, list[float]]:
    """Size, millions of parameters, GMAC a frame, and what a clip costs."""
    torch.set_num_threads(threads)
    model: Any = optimize(create_model(name, **options), in_place=True)
    given = inputs(model, seconds)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:  # the first run warms up too
        model(**{key: value[:, :1] for key, value in given.items()})
    count = sum(p.numel() for p in model.parameters()) / 1e6
    return model.config.image_size[0], count, counter.get_total_flops() / 2e9, timed(model, given)


def written(name: str, options: dict[str, Any], folder: Path, threads: int) -> str:
    """What became of an export."""
    torch.set_num_threads(threads)
    try:
        made = export(create_model(name, **options), folder)
    except (SonomaskError, ValueError) as error:
        return str(error)
    return f"{made.megabytes:.0f} MB, {', '.join(made.free)} may vary, logits off by {made.difference:.0e} of {made.span:.0e}"


def in_onnx(folder: Path, seconds: int, threads: int) -> list[float]:
    """What a clip costs."""
    torch.set_num_threads(threads)
    model = load_onnx(folder / "model.onnx")
    model(**inputs(model, min(seconds, 1)))
    return timed(model, inputs(model, seconds))


def alone(function: Any, *args: Any) -> Any:
    """In a fresh process, so that memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=ZOO, help="shell patterns of catalogue names")
    parser.add_argument("--classes", type=int, nargs="+", default=[1, 71])
    parser.add_argument("--seconds", type=int, default=5, help="frames in the clip")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-onnx", action="store_true")
    args = parser.parse_args()
    print(
        f"{platform.machine()} CPU, {args.threads} thread(s), torch {torch.__version__}, {args.seconds} frames a clip"
    )
    print(f"\n{COLUMNS}\n|---|" + "--:|" * (COLUMNS.count("|") - 2))
    told = []
    for name in [name for pattern in args.models for name in list_models(pattern)]:
        for classes in args.classes:
            options = {} if classes == 1 else {"num_classes": classes}
            size, count, gmacs, cost = alone(in_torch, name, options, args.seconds, args.threads)
            cells = [str(size), f"{count:.1f}", f"{gmacs:.0f}", *(f"{value:.1f}" for value in cost)]
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder) / "onnx"
                if not args.no_onnx:
                    told.append(f"{name}, {classes}: {alone(written, name, options, place, args.threads)}")
                ran = place.is_dir()
                cells += [f"{v:.1f}" for v in alone(in_onnx, place, args.seconds, args.threads)] if ran else [""] * 3
            print(f"| {name} | {classes} | " + " | ".join(cells) + " |", flush=True)
    print("", *told, sep="\n")


if __name__ == "__main__":
    main()
