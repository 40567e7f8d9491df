"""What a GPU is worth: one table for each part, ours beside the plain form in the same run.

    uv run python benchmarks/gpu.py --part PART [--small] [--device auto]

Parts: kernels, training, inference, recipes, equality, precision, video; or all.

The plain form is the model as one would write it from the paper (`written_out`): the whole attention matrix of TPAVI, whole
convolutions, attention of the backbone without a fused kernel, channels apart, Adam weight by weight. `--small` runs every part
on a CPU within minutes; such times say nothing about a GPU, but the counts of operations do.

Wheels beyond `sonomask[train]`: none; `video` needs PyAV, `recipes` needs Lightning and jsonargparse.
"""

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import written_out
from cuda_autocast import CudaAutocast, Tf32
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from sonomask.batches import Batch
from sonomask.inference.replay import Replay
from sonomask.inference.torch_scorer import choose_device, computing
from sonomask.models.catalog import create_model, list_models, record_of
from sonomask.models.optimize import optimize

VIDEO = Path(__file__).parents[1] / "examples" / "three_things.mp4"
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")


class Bench:
    """The device, the sizes and the precisions that the parts measure.

    Args:
        device: Device of every model and tensor.
        small: Use small networks and pictures, so that a CPU can run every part.
        rounds: Number of timed rounds; their median is reported.
    """

    def __init__(self, device: torch.device, *, small: bool, rounds: int) -> None:
        self.device, self.small, self.rounds = device, small, rounds
        self.side = 64 if small else 224
        self.models = {
            "ResNet-50": ("avs_resnet50", {"backbone": "resnet18", "width": 32} if small else {}),
            "PVT-v2-B5": ("avs_pvt_v2_b5", {"backbone": "pvt_v2_b0", "width": 32} if small else {}),
        }
        self.precisions = ("float32", "tf32", "bf16") if device.type == "cuda" else ("float32", "bf16")

    def model(self, name: str, *, plain: bool = False) -> Any:
        """One of `models`; the plain one without fused attention in its backbone."""
        kind, options = self.models[name]
        torch.manual_seed(0)
        model: Any = create_model(kind, audio=None, **options).to(self.device)
        for module in model.modules():
            if plain and hasattr(module, "fused_attn"):
                module.fused_attn = False
        return model

    def clips(self, count: int) -> tuple[Tensor, Tensor]:
        """Pictures and embeddings of the sound."""
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(count, 5, 3, self.side, self.side, generator=generator)
        return images.to(self.device), torch.randn(count, 5, 128, generator=generator).relu().to(self.device)

    def sync(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def race(self, *runs: Callable[[], object]) -> list[float]:
        """Median milliseconds of each, taking turns; on a CPU of processor time, which other work does not lengthen."""
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        for run in runs:
            run()
        rows: list[list[float]] = [[] for _ in runs]
        for _ in range(self.rounds):
            for run, row in zip(runs, rows):
                self.sync()
                began = clock()
                run()
                self.sync()
                row.append(1e3 * (clock() - began))
        return [statistics.median(row) for row in rows]

    def peak(self, run: Callable[[], object]) -> str:
        """MiB above what was there; only a GPU tells."""
        if self.device.type != "cuda":
            return "—"
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return f"{(torch.cuda.max_memory_allocated() - before) / 2**20:.0f}"

    def profiled(self, run: Callable[[], object]) -> tuple[int, list[tuple[str, float]]]:
        """Launches of kernels (on a CPU, calls of operations that call no other), and what took longest, in ms."""
        run()
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device.type == "cuda" else [])]
        with profile(activities=kinds) as seen:
            run()
            self.sync()
        events = list(seen.events())
        if self.device.type == "cuda":
            count = sum(event.name in LAUNCHES for event in events)
            longest = [(e.key, e.self_device_time_total / 1e3) for e in seen.key_averages()]
        else:
            count = sum(event.name.startswith("aten::") and not event.cpu_children for event in events)
            longest = [(e.key, e.self_cpu_time_total / 1e3) for e in seen.key_averages()]
        return count, sorted(longest, key=lambda pair: -pair[1])[:3]


def stepper(bench: Bench, name: str, precision: str, *, plain: bool, clips: int) -> Callable[[], object]:
    """A training step: forward, cross-entropy, backward, Adam."""
    model = bench.model(name, plain=plain).train()
    if not plain:
        model = model.to(memory_format=torch.channels_last)
    fused = {"foreach": False, "fused": False} if plain else {"fused": True}
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, **fused)
    images, sound = bench.clips(clips)
    truth = torch.ones(clips, 5, bench.side, bench.side, device=bench.device)

    def run() -> None:
        optimizer.zero_grad()
        with computing(precision, bench.device):
            output = written_out.decode(model, images, sound) if plain else model.decode(images, sound)
        F.binary_cross_entropy_with_logits(output.logits[:, :, 0].float(), truth).backward()
        optimizer.step()

    return run


def caller(bench: Bench, name: str, precision: str, form: str, clips: int) -> Callable[[], object]:
    """A call for inference; `form` is plain, ours, optimised, or that replayed as a CUDA graph."""
    model = bench.model(name, plain=form == "plain").eval()
    images, sound = bench.clips(clips)
    run = {"plain": lambda: written_out.decode(model, images, sound), "ours": lambda: model.decode(images, sound)}
    if form in ("optimised", "replayed"):
        fast = optimize(model)
        replay = Replay(fast.decode)
        run["optimised"] = lambda: fast.decode(images, sound)
        run["replayed"] = lambda: replay(images=images, sound=sound)

    def call() -> object:
        with torch.inference_mode(), computing(precision, bench.device):
            return run[form]()

    return call


def kernels(bench: Bench) -> None:
    print("| what | precision | launches plain | ours | ratio | longest of ours |\n|---|---|--:|--:|--:|---|")
    for name in bench.models:
        for precision in bench.precisions:
            calls = [caller(bench, name, precision, form, 1) for form in ("plain", "optimised")]
            steps = [stepper(bench, name, precision, plain=plain, clips=2) for plain in (True, False)]
            for what, (plain, ours) in (("inference", calls), ("training step", steps)):
                (before, _), (after, longest) = bench.profiled(plain), bench.profiled(ours)
                note = ", ".join(f"{key[:40]} {ms:.1f} ms" for key, ms in longest)
                print(
                    f"| {name}, {what} | {precision} | {before} | {after} | {before / after:.2f}× | {note} |",
                    flush=True,
                )


def training(bench: Bench) -> None:
    print(
        "| model | precision | plain ms | ours ms | ratio | MiB plain | ours |\n|---|---|--:|--:|--:|--:|--:|",
        flush=True,
    )
    for name in bench.models:
        for precision in bench.precisions:
            runs = [
                stepper(bench, name, precision, plain=plain, clips=4 if bench.device.type == "cuda" else 1)
                for plain in (True, False)
            ]
            plain, ours = bench.race(*runs)
            memory = " | ".join(bench.peak(run) for run in runs)
            print(f"| {name} | {precision} | {plain:.1f} | {ours:.1f} | {plain / ours:.2f}× | {memory} |", flush=True)


def inference(bench: Bench) -> None:
    print(
        "| model | clips | precision | plain ms | ours | optimised | replayed | plain / best | MiB plain | optimised |"
    )
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in bench.models:
        for clips in (1,) if bench.small else (1, 4):
            for precision in bench.precisions:
                forms = ("plain", "ours", "optimised", *(("replayed",) if bench.device.type == "cuda" else ()))
                runs = [caller(bench, name, precision, form, clips) for form in forms]
                plain, ours, fast, *more = bench.race(*runs)
                memory = " | ".join(bench.peak(run) for run in (runs[0], runs[2]))
                best = min([fast, *more])
                replayed = f"{more[0]:.1f}" if more else "—"
                row = f"{plain:.1f} | {ours:.1f} | {fast:.1f} | {replayed} | {plain / best:.2f}× | {memory}"
                print(f"| {name} | {clips} | {precision} | {row} |", flush=True)


def batch(bench: Bench, side: int, maskige: bool) -> Batch:
    masks = torch.zeros(2, 3, side, side, dtype=torch.long)
    masks[:, :, side // 4 : side // 2, side // 4 : side // 2] = 1
    true = torch.ones(2, 3, dtype=torch.bool)
    images = torch.randn(2, 3, 3, side, side, generator=torch.Generator().manual_seed(1))
    sound = torch.randn(2, 3, 1, 96, 64, generator=torch.Generator().manual_seed(2))
    made = Batch(
        images=images, logmel=sound, masks=masks, labelled=true, valid=true, names=("a", "b"), categories=("dog", "car"),
        maskige=images.flip(-1) if maskige else None,
    )  # fmt: skip
    return made.to(bench.device)


def first_presets() -> list[str]:
    """A name for each network that needs weights."""
    firsts: dict[int, str] = {}
    for name in list_models():
        record = record_of(name)
        if record.needs_weights and name == next(iter(record.presets)):
            firsts.setdefault(id(record), name)
    return list(firsts.values())


def recipes(bench: Bench) -> None:
    """A training step of each network in bfloat16; without a GPU under the rules of CUDA's autocast."""
    from sonomask.training.module import AVSModule

    cuda = bench.device.type == "cuda"
    print("| network | step under autocast | ms | MiB |\n|---|---|--:|--:|", flush=True)
    for name in first_presets():
        torch.manual_seed(0)
        module = AVSModule(name, record_of(name).small if bench.small else {}, dice_weight=0.1).to(bench.device).train()
        clips = batch(bench, 64 if bench.small else module.model.config.image_size[0], module.model.config.maskige)

        def step(module: Any = module, clips: Batch = clips) -> None:
            with torch.autocast("cuda", torch.bfloat16) if cuda else CudaAutocast():
                terms = module.model.objective(clips) or module.terms(module(clips), clips)
            torch.stack([term.float() for term in terms.values()]).sum().backward()

        try:
            (ms,) = bench.race(step)
            note = f"taken | {ms:.0f} | {bench.peak(step)}"
        except (RuntimeError, ValueError) as error:
            note = f"failed: {str(error).splitlines()[0][:100]} | — | —"
        print(f"| {name} | {note} |", flush=True)


def equality(bench: Bench) -> None:
    """Logits on the device against those of the CPU, relative to their span; within inference mode as a whole."""
    print("| network | largest difference |\n|---|--:|")
    host = Bench(torch.device("cpu"), small=bench.small, rounds=1)
    for name in first_presets():
        torch.manual_seed(0)
        model = create_model(name, **(record_of(name).small if bench.small else {})).eval()
        side = 64 if bench.small else model.config.image_size[0]
        with torch.inference_mode(), computing("float32", bench.device):
            wanted = model(**batch(host, side, model.config.maskige).inputs(model.config)).logits
            moved = copy.deepcopy(model).to(bench.device)
            found = moved(**batch(bench, side, model.config.maskige).inputs(model.config)).logits.cpu()
        print(f"| {name} | {float((found - wanted).abs().max() / (wanted.max() - wanted.min())):.1e} |", flush=True)


def precision(bench: Bench) -> None:
    """Masks of the built-in models in each precision against float32, on the example; TF32 is acted out on a CPU."""
    from sonomask.checkpoints.folder import load
    from sonomask.checkpoints.places import built_in
    from sonomask.inference.segmenter import Segmenter

    print("| model | precision | mean IoU with float32 | frames | ms a frame |\n|---|---|--:|--:|--:|")
    device, end = str(bench.device), 3 if bench.small else 10
    for name in built_in():
        wanted: list[Tensor] = []
        for kind in ("float32", "tf32", "bf16"):
            segmenter = Segmenter(load(name, device), rate=2.0, device=device, precision=kind, end=end)
            acted = Tf32() if kind == "tf32" and device == "cpu" else nullcontext()
            began = time.perf_counter()
            with acted:
                found = [torch.from_numpy(masks.mask) for masks in segmenter(str(VIDEO))]
            spent = 1e3 * (time.perf_counter() - began) / len(found)
            wanted = wanted or found
            scores = [
                float((a & b).sum() / (a | b).sum()) if (a | b).any() else 1.0
                for a, b in zip(wanted, found, strict=True)
            ]
            print(f"| {name} | {kind} | {statistics.mean(scores):.5f} | {len(found)} | {spent:.0f} |", flush=True)


def video(bench: Bench) -> None:
    """`Segmenter` on the example: decoding alone, the model alone on as many frames, and both."""
    from sonomask.inference.segmenter import Segmenter
    from sonomask.media.reader import VideoReader

    model = optimize(create_model("avs_mini", fusion="add"), in_place=True).to(bench.device)
    rate = 2.0 if bench.small else "native"
    size = model.config.image_size

    def decode() -> int:
        with VideoReader(str(VIDEO)) as reader:
            return sum(1 for _ in reader.frames(rate=rate, size=size))

    frames = decode()
    images = torch.randn(1, 5, 3, *size, device=bench.device)
    logmel = torch.randn(1, 5, 1, 96, 64, device=bench.device)

    def score() -> None:
        with torch.inference_mode():
            for _ in range(-(-frames // 5)):
                model(images, logmel)

    segmenter = Segmenter(model, rate=rate, device=str(bench.device))
    alone, scored, whole = bench.race(decode, score, lambda: sum(1 for _ in segmenter(str(VIDEO))))
    print("| frames | decoding ms | model ms | both | both / slower |\n|--:|--:|--:|--:|--:|")
    print(f"| {frames} | {alone:.0f} | {scored:.0f} | {whole:.0f} | {whole / max(alone, scored):.2f} |")


PARTS = {f.__name__: f for f in (kernels, training, inference, recipes, equality, precision, video)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", required=True, choices=[*PARTS, "all"])
    parser.add_argument("--small", action="store_true", help="small networks and pictures, for a CPU")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    device = choose_device(given.device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    print(f"{card}, torch {torch.__version__}, {given.rounds} rounds, {'small' if given.small else 'full'} sizes\n")
    for name in PARTS if given.part == "all" else [given.part]:
        began = time.perf_counter()
        print(f"## {name}\n" * (given.part == "all"))
        try:
            PARTS[name](Bench(device, small=given.small, rounds=given.rounds))
        except Exception as error:  # the other parts are wanted all the same
            if given.part != "all":
                raise
            print(f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        print(f"\n({name}: {time.perf_counter() - began:.0f} s)\n", flush=True)


if __name__ == "__main__":
    main()
