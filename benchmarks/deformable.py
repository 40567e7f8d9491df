"""Our deformable attention beside the references' pure-PyTorch one, in one run.

    uv run python benchmarks/deformable.py [--rounds 5] [--memory]

Prints Markdown. The plain side (`written_out`) is the form that AVSegFormer, COMBO and VCT fall back to without their
compiled operator: a grid sample of each level, stacked. Both take turns in one process; times are medians of processor
seconds of one thread, which other work on the machine hardly moves. Weights are random, places some cells away. With
`--memory` the peak of a fresh process for each, above what is there before the call.
"""

import argparse
import platform
import time
from collections.abc import Callable

import torch
import written_out
from model import peak, race

from sonomask.models.parts.deformable import Cells, DeformableAttention, DeformableEncoder, sample_rows

SIZES = {
    "AVSegFormer, 1 frame of 512×512": (1, [(64, 64), (32, 32), (16, 16)], 2048),
    "AVSegFormer, 5 frames of 224×224": (5, [(28, 28), (14, 14), (7, 7)], 2048),
    "VCT, 1 frame of 384×384": (1, [(12, 12), (24, 24), (48, 48)], 1024),
}


def job(name: str) -> Callable[[], object]:
    """A call by "side|part|size", built anew wherever it runs."""
    side, part, size = name.split("|")
    count, sizes, hidden = SIZES[size]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if part == "encoder":
        return _encoder(side, count, sizes, hidden)
    if part == "core":
        return _core(side, count, sizes)
    attention = DeformableAttention()
    torch.nn.init.normal_(attention.sampling_offsets.weight, std=1 / 16)
    torch.nn.init.normal_(attention.attention_weights.weight, std=1 / 16)
    tokens = torch.randn(count, sum(h * w for h, w in sizes), 256)
    cells = Cells.of(sizes, attention.heads, attention.points)

    def run() -> torch.Tensor:
        if side == "plain":
            return written_out.deformable(attention, tokens, tokens, sizes)
        return attention(tokens, tokens, cells)

    if part == "attention":
        return torch.inference_mode()(run)

    def step() -> None:
        attention.zero_grad()
        run().square().mean().backward()

    return step


def _core(side: str, count: int, sizes: list[tuple[int, int]]) -> Callable[[], object]:
    """Sampling and weighting alone, without the linear maps around them."""
    cells = Cells.of(sizes, heads=8, points=4)
    value = torch.randn(count, len(cells.x), 8, 32)
    offsets = 1.5 * torch.randn(count, *cells.x.shape, 2)
    weights = torch.rand(count, *cells.x.shape)
    if side == "ours":
        return torch.inference_mode()(
            lambda: sample_rows(value, cells.x + offsets[..., 0], cells.y + offsets[..., 1], weights, cells)
        )
    places = torch.stack([(cells.x + 0.5) / cells.width, (cells.y + 0.5) / cells.height], -1)
    places = places + offsets / torch.stack([cells.width, cells.height], -1)
    axes = (8, len(sizes), 4)
    places = places.unflatten(2, axes)
    return torch.inference_mode()(lambda: written_out.sample(value, places, weights.unflatten(2, axes), sizes))


def _encoder(side: str, count: int, sizes: list[tuple[int, int]], hidden: int) -> Callable[[], object]:
    encoder = DeformableEncoder(depth=2, hidden=hidden).eval()
    maps = [torch.randn(count, 256, *size) for size in sizes]
    run = (lambda: written_out.encode(encoder, maps)) if side == "plain" else (lambda: encoder(maps))
    return torch.inference_mode()(run)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["core", "attention", "training step", "encoder"])
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()} CPU, 1 thread, torch {torch.__version__}; medians of {args.rounds} rounds\n")
    print("| what | plain | ours | ratio | plain MiB | ours MiB | furthest apart |\n|---|--:|--:|--:|--:|--:|--:|")
    for size in SIZES:
        for part in args.parts:
            names = [f"{side}|{part}|{size}" for side in ("plain", "ours")]
            plain, ours = race(args.rounds, *map(job, names), clock=time.process_time)
            cells = [f"{plain * 1e3:.0f} ms", f"{ours * 1e3:.0f} ms", f"{plain / ours:.1f}×"]
            cells += [f"{peak(job, name):.0f}" if args.memory else "" for name in names] + [apart(*names)]
            print(f"| {part}, {size} | " + " | ".join(cells) + " |", flush=True)


def apart(plain: str, ours: str) -> str:
    """Largest difference of the results; a training step has none to show."""
    if "training" in plain:
        return ""
    pairs = [x if isinstance(x, list) else [x] for x in (job(plain)(), job(ours)())]
    return f"{max(float((a - b).abs().max()) for a, b in zip(*pairs)):.0e}"


if __name__ == "__main__":
    main()
