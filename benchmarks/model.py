"""Time and peak memory of our forms beside the written-out ones, in one run.

    uv run python benchmarks/model.py [--rounds 5] [--bf16]

Prints Markdown: TPAVI per level (inference and training step), the whole ResNet-50 model, log-mel. Both sides take
turns in the same process; times are medians. Peak memory is measured in a fresh process for each, as resident bytes above
those before the call.
"""

import argparse
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable

import torch
import written_out
from torch import Tensor

from sonomask.audio import logmel
from sonomask.models.catalog import create_model
from sonomask.models.optimize import optimize
from sonomask.models.parts.tpavi import TPAVI

MIB = 2**20


def race(rounds: int, *contenders: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Median seconds of each, taking turns."""
    for run in contenders:
        run()
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for run, row in zip(contenders, seconds):
            start = clock()
            run()
            row.append(clock() - start)
    return [statistics.median(row) for row in seconds]


def peak(job: Callable[[str], Callable[[], object]], name: str) -> float:
    """MiB that a call needs above what is there before it, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (job, name))


def _peak(job: Callable[[str], Callable[[], object]], name: str) -> float:
    run = job(name)
    with open("/proc/self/clear_refs", "w") as file:  # resets the high-water mark
        file.write("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / MIB


def _status(key: str) -> int:
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))
    except OSError:  # not Linux: the most ever, which is what ru_maxrss gives
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def block(seconds: int, side: int) -> tuple[TPAVI, Tensor, Tensor]:
    """A TPAVI of the paper's width with something to do."""
    generator = torch.Generator().manual_seed(0)
    module = TPAVI(256)
    torch.nn.init.normal_(module.bn.weight, generator=generator)
    x = torch.randn(seconds, 256, side, side, generator=generator).contiguous(memory_format=torch.channels_last)
    return module, x[None], torch.randn(1, seconds, 128, generator=generator)


def inference(name: str) -> Callable[[], object]:
    """One call of a TPAVI; `name` is "ours|plain T side"."""
    who, seconds, side = name.split()
    module, x, sound = block(int(seconds), int(side))
    module.eval()
    plain = who == "plain"

    def run() -> object:
        with torch.inference_mode():
            return written_out.tpavi(module, x, sound) if plain else module(x, sound)

    return run


def training(name: str) -> Callable[[], object]:
    """Forward and backward of a TPAVI in training mode."""
    who, seconds, side = name.split()
    module, x, sound = block(int(seconds), int(side))
    x.requires_grad_()
    plain = who == "plain"

    def run() -> object:
        z, _ = written_out.tpavi(module, x, sound) if plain else module(x, sound)
        return z.square().mean().backward()

    return run


def whole(name: str) -> Callable[[], object]:
    """The ResNet-50 model on one clip of 5 s at 224×224; `name` is plain, ours or bf16."""
    torch.manual_seed(0)
    model = create_model("avs_resnet50", audio=None).eval()
    images, sound = torch.randn(1, 5, 3, 224, 224), torch.relu(torch.randn(1, 5, 128))
    fast = None if name == "plain" else optimize(model, torch.bfloat16 if name == "bf16" else torch.float32)

    def run() -> object:
        with torch.inference_mode():
            return written_out.decode(model, images, sound) if fast is None else fast.decode(images, sound)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bf16", action="store_true", help="also bfloat16; sensible on a CPU that has it")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, {args.rounds} rounds\n")
    print("| what | written out | ours | ratio | memory written out | ours | ratio |\n|---|--:|--:|--:|--:|--:|--:|")
    for seconds, side in ((5, 56), (5, 28), (5, 14), (5, 7), (10, 56)):
        show(f"TPAVI, T={seconds}, {side}×{side}", inference, f"{seconds} {side}", args.rounds)
    for seconds, side in ((5, 56), (5, 28)):
        show(f"TPAVI training step, T={seconds}, {side}×{side}", training, f"{seconds} {side}", args.rounds)
    plain, *fast = race(args.rounds, *(whole(name) for name in ("plain", "ours", *["bf16"] * args.bf16)))
    memory = peak(whole, "plain")
    for name, seconds in zip(("ours", "bf16"), fast):
        row(
            f"whole ResNet-50 model, {'float32' if name == 'ours' else name}", plain, seconds, memory, peak(whole, name)
        )
    wave = torch.randn(16_000 * 60, generator=torch.Generator().manual_seed(0))
    row("log-mel of 60 s", *race(args.rounds, lambda: written_out.log_mel(wave), lambda: logmel.log_mel(wave)))
    memory_by_length()
    drift(args.bf16)


def show(title: str, job: Callable[[str], Callable[[], object]], size: str, rounds: int) -> None:
    names = [f"{who} {size}" for who in ("plain", "ours")]
    row(title, *race(rounds, *(job(name) for name in names)), *(peak(job, name) for name in names))


def row(title: str, plain: float, ours: float, *memory: float) -> None:
    cells = [f"{plain * 1e3:.1f} ms", f"{ours * 1e3:.1f} ms", f"{plain / ours:.1f}×"]
    if memory:
        cells += [f"{memory[0]:.0f} MiB", f"{memory[1]:.0f} MiB", f"{memory[0] / max(memory[1], 1):.1f}×"]
    print(f"| {title} | " + " | ".join(cells + [""] * (6 - len(cells))) + " |", flush=True)


def memory_by_length() -> None:
    """That a clip's memory grows with its length, not with its square."""
    print("\n| TPAVI at 28×28, T = | 5 | 50 | 300 |\n|---|--:|--:|--:|")
    print("| ours, MiB | " + " | ".join(f"{peak(inference, f'ours {t} 28'):.0f}" for t in (5, 50, 300)) + " |")


def drift(bf16: bool) -> None:
    """How far the optimised forms are from the written-out logits."""
    plain = whole("plain")().logits
    for name in ("ours", *["bf16"] * bf16):
        away = (whole(name)().logits - plain).abs().max()
        print(
            f"\nlargest difference of the logits, {name}: {away:.1e} (they span {plain.min():.2f} to {plain.max():.2f})"
        )


if __name__ == "__main__":
    main()
