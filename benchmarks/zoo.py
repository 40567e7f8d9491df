"""What each model of the zoo costs on this machine, in torch and as ONNX.

    uv run python benchmarks/zoo.py [--models 'avsegformer_*' …] [--classes 1 71] [--seconds 5] [--rounds 2] [--no-onnx]

Prints Markdown: parameters, multiply-adds of a frame (`torch.utils.flop_counter`, which counts matrix products and
convolutions, not the sampling of deformable attention), processor and wall seconds of a clip at the model's own size, and
the peak memory of its process, weights included. Weights are random, which cost what trained ones do. Torch runs through
`optimize` as `sonomask segment` does, ONNX by onnxruntime alone, from a file that `export` wrote and compared with torch.
Each has a process of its own, and they take turns; times are those of the round with the fewest processor seconds. What the
export itself took is told below the table, or why there is none.
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
from onnx_net import OnnxNet
from torch.utils.flop_counter import FlopCounterMode

from sonomask.errors import SonomaskError
from sonomask.export.write import export
from sonomask.models.catalog import create_model, list_models
from sonomask.models.optimize import optimize

ZOO = ("avsegformer_*", "combo_*", "vct_*")
COLUMNS = (
    "| model | classes | size | M parameters | GMAC/frame "
    "| torch: s/clip | wall s | GiB | ONNX: s/clip | wall s | GiB | ONNX/torch |"
)


def inputs(model: Any, seconds: int) -> dict[str, Any]:
    shape = (1, seconds, 3, *model.config.image_size)
    made = {"images": torch.randn(shape), "logmel": torch.randn(1, seconds, 1, 96, 64)}
    return {**made, "maskige": torch.randn(shape)} if model.config.maskige else made


def peak() -> float:
    """GiB of this process at its highest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB to GiB


def written(name: str, options: dict[str, Any], folder: Path, threads: int) -> str:
    """What became of an export."""
    torch.set_num_threads(threads)
    try:
        made = export(create_model(name, **options), folder)
    except (SonomaskError, ValueError) as error:
        return str(error)
    return (
        f"{made.megabytes:.0f} MB, {', '.join(made.free)} may vary, logits off by {made.difference:.0e} of {made.span:.0e}; "
        f"made in {time.process_time():.0f} processor s, {peak():.1f} GiB"
    )


class Runner:
    """A form of a model in a process of its own, so that memory is its own."""

    model: Any

    def __init__(self) -> None:
        self.pool = multiprocessing.get_context("spawn").Pool(1)

    def __call__(self, function: Any, *args: Any) -> Any:
        """What the function gives there."""
        return self.pool.apply(function, args)

    def close(self) -> None:
        """End the process."""
        self.pool.close()
        self.pool.join()


def start_torch(name: str, options: dict[str, Any], threads: int) -> tuple[int, float, float]:
    """Size, millions of parameters, GMAC a frame; the counting warms up too."""
    torch.set_num_threads(threads)
    Runner.model = model = optimize(create_model(name, **options), in_place=True)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(**inputs(model, 1))
    count = sum(p.numel() for p in model.parameters()) / 1e6
    return model.config.image_size[0], count, counter.get_total_flops() / 2e9


def start_onnx(folder: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    Runner.model = OnnxNet(folder / "model.onnx")
    Runner.model(**inputs(Runner.model, 1))


@torch.inference_mode()
def timed(seconds: int) -> tuple[float, float, float]:
    """Processor and wall seconds of a clip, and the peak memory so far."""
    given = inputs(Runner.model, seconds)
    wall, processor = time.perf_counter(), time.process_time()
    Runner.model(**given)
    return time.process_time() - processor, time.perf_counter() - wall, peak()


def row(name: str, classes: int, args: argparse.Namespace, place: Path) -> tuple[list[str], str]:
    """Cells of the table, and what became of the export."""
    options = {} if classes == 1 else {"num_classes": classes}
    note = ""
    if not args.no_onnx:
        exporter = Runner()
        note = exporter(written, name, options, place, args.threads)
        exporter.close()
    forms = [Runner()]
    size, count, gmacs = forms[0](start_torch, name, options, args.threads)
    if place.is_dir():
        forms.append(Runner())
        forms[1](start_onnx, place, args.threads)
    rounds = [[form(timed, args.seconds) for form in forms] for _ in range(args.rounds)]
    for form in forms:
        form.close()
    best = [[*min(turn)[:2], max(turn, key=lambda t: t[2])[2]] for turn in zip(*rounds)]
    cells = [str(size), f"{count:.1f}", f"{gmacs:.0f}", *(f"{value:.1f}" for cost in best for value in cost)]
    ratio = [f"{best[1][0] / best[0][0]:.2f}"] if len(best) > 1 else [""] * 4
    return cells + ratio, note


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=ZOO, help="shell patterns of catalogue names")
    parser.add_argument("--classes", type=int, nargs="+", default=[1, 71])
    parser.add_argument("--seconds", type=int, default=5, help="frames in the clip")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-onnx", action="store_true")
    args = parser.parse_args()
    print(
        f"{platform.machine()} CPU, {args.threads} thread(s), torch {torch.__version__}, {args.seconds} frames a clip"
    )
    print(f"\n{COLUMNS}\n|---|" + "--:|" * (COLUMNS.count("|") - 2))
    notes = []
    for name in [name for pattern in args.models for name in list_models(pattern)]:
        for classes in args.classes:
            with tempfile.TemporaryDirectory() as folder:
                cells, note = row(name, classes, args, Path(folder) / "onnx")
            print(f"| {name} | {classes} | " + " | ".join(cells) + " |", flush=True)
            notes.append(f"{name}, {classes}: {note}")
    if not args.no_onnx:
        print("", *notes, sep="\n")


if __name__ == "__main__":
    main()
