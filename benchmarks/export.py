"""Speed, size and drift of exported models beside torch's, and what int8 does to the masks.

    uv run python benchmarks/export.py --models avs_mini.synthetic
    uv run python benchmarks/export.py --models avs_mini.synthetic --images images.csv --sounds sounds.csv

One clip of the model's own length and size, one thread, the best of some rounds that take turns, so that a busy machine
disturbs all alike; times are ratios to torch's optimised form. `int8` is onnxruntime's dynamic quantisation of matrix
products and convolutions. The mean IoU of torch, ONNX and int8 over the same held-out scenes: of the synthetic world for a
model of that world; for others of groups that no training saw, composed from the two tables (`data.library`), if given.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from onnx_net import OnnxNet

from sonomask.checkpoints.folder import load
from sonomask.data.composed.compose import CompositeRules, CompositeScenes
from sonomask.data.composed.library import Library
from sonomask.data.drawn.world import SyntheticScenes
from sonomask.export.write import export
from sonomask.models.optimize import optimize


def quantised(folder, operators):
    """A copy of an export whose products are in int8, with scales found as it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out = folder.parent / f"int8_{'_'.join(operators)}"
    out.mkdir()
    files = folder / "model.onnx", out / "model.onnx"
    quantize_dynamic(*files, weight_type=QuantType.QUInt8, op_types_to_quantize=operators)
    (out / "config.json").write_bytes((folder / "config.json").read_bytes())
    return OnnxNet(out / "model.onnx"), (out / "model.onnx").stat().st_size / 1e6


@torch.inference_mode()
def seconds(forms, inputs, rounds):
    """Best time of each form; the forms take turns."""
    best = dict.fromkeys(forms, float("inf"))
    for place in range(rounds + 1):
        for name, form in forms.items():
            start = time.perf_counter()
            form(*inputs)
            if place:  # the first warms up
                best[name] = min(best[name], time.perf_counter() - start)
    return best


@torch.inference_mode()
def iou(forms, scenes, count):
    """Mean IoU of each form over the frames in which something seen sounds."""
    sums, frames = dict.fromkeys(forms, 0.0), 0
    for index in range(count):
        clip = scenes[index]
        truth = clip.masks > 0
        sounding = truth.any(2).any(1)
        frames += int(sounding.sum())
        for name, form in forms.items():
            found = form(clip.images[None], clip.logmel[None]).logits[0, :, 0] > 0
            both, either = (found & truth).sum((1, 2)), (found | truth).sum((1, 2)).clamp(min=1)
            sums[name] += float((both / either)[sounding].sum())
    return {name: value / max(frames, 1) for name, value in sums.items()}, frames


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["avs_mini.synthetic"])
    parser.add_argument("--images")
    parser.add_argument("--sounds")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = "| model | form | MB | time, torch = 1 | largest difference of a logit (span) | mIoU where one sounds |"
    print(head + "\n|---|---|--:|--:|--:|--:|")
    for name in args.models:
        row(name, args)


def held_out(name, size, args):
    """Scenes that the model was not trained on; None without tables."""
    if name.endswith(".synthetic"):
        return SyntheticScenes(args.count, seed=77, size=size, kind="multi", split="test")
    if not args.images:
        return None
    library = Library.read(args.images, args.sounds).split("test")
    rules = replace(CompositeRules(), objects=(0, 1), offscreen=0.1)
    return CompositeScenes(library, args.count, seed=77, size=size, rules=rules)


def row(name, args):
    model = load(name)
    config = model.config
    images = torch.randn(1, config.clip_length, 3, *config.image_size, generator=torch.Generator().manual_seed(0))
    logmel = torch.randn(1, config.clip_length, 1, 96, 64, generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as folder:
        made = export(model, Path(folder) / "onnx")
        forms = {"torch": optimize(model), "ONNX": OnnxNet(made.folder / "model.onnx")}
        sizes = {"torch": sum(p.numel() for p in model.parameters()) * 4e-6, "ONNX": made.megabytes}
        for label, operators in (
            ("ONNX int8, products", ["MatMul", "Gemm"]),
            ("ONNX int8, all", ["MatMul", "Gemm", "Conv"]),
        ):
            forms[label], sizes[label] = quantised(made.folder, operators)
    with torch.inference_mode():
        logits = {label: form(images, logmel).logits for label, form in forms.items()}
    best = seconds(forms, (images, logmel), args.rounds)
    scenes = held_out(name, config.image_size, args)
    scores, frames = iou(forms, scenes, args.count) if scenes is not None else ({}, 0)
    span = float(np.ptp(logits["torch"].numpy()))
    for label in forms:
        drift = float((logits[label] - logits["torch"]).abs().max())
        note = f"{scores[label]:.3f} ({frames} frames)" if scores else ""
        ratio = best[label] / best["torch"]
        print(
            f"| {name} | {label} | {sizes[label]:.1f} | {ratio:.2f} | {drift:.1e} ({span:.1f}) | {note} |", flush=True
        )


if __name__ == "__main__":
    main()
