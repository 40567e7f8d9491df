"""How the built-in model does on composed scenes of groups that it never saw.

    uv run python benchmarks/real_world.py --images images.csv --sounds sounds.csv --models world_duo.real

Prints Markdown, a column for each model: mIoU of frames in which something seen sounds (single, two and more objects,
uncomposed sequences, by category), which of two objects is chosen, what is marked when nothing seen sounds, and what
muting leaves.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sonomask.audio.logmel import OFFSET
from sonomask.batches import Batch
from sonomask.benchmark.figures import clip_figure
from sonomask.checkpoints.folder import load
from sonomask.data.composed.compose import CompositeRules, CompositeScenes
from sonomask.data.composed.library import Library
from sonomask.inference.presence import evidence

BASE = CompositeRules()
WORLDS = {  # what is asked, the rules of its scenes
    "one object": replace(BASE, objects=(0, 1), offscreen=0.1),
    "two and three objects": replace(BASE, objects=(0, 0, 0.7, 0.3), same=0, together=0.2),
    "uncomposed pictures": replace(BASE, objects=(0, 1), whole=1.0, offscreen=0.1),
    "one of two chosen": replace(BASE, objects=(0, 0, 1), same=0, together=0, silence=0, offscreen=0),
    "silence": replace(BASE, objects=(0, 0.6, 0.4), silence=1, offscreen=0, noise=0.5),
    "foreign sounds": replace(BASE, objects=(0, 0.6, 0.4), silence=1, offscreen=1),
}


@torch.inference_mode()
def score(model, library, rules, count, size, guess=None):
    """Per frame: IoU, share marked, category, whether something is to be marked, evidence, what muting leaves."""
    scenes = CompositeScenes(library, count, seed=77, size=(size, size), rules=rules)
    rows = []
    for index in range(count):
        clip, made = scenes[index], scenes.scene(index)
        if guess is not None:
            found = torch.full(clip.masks.shape, guess, dtype=torch.bool)
            strength = torch.zeros(len(found))
        else:
            logits = model(clip.images[None], clip.logmel[None] if model.config.listens else None).logits[0, :, 0]
            found, strength = logits > 0, torch.from_numpy(evidence(logits.numpy()))
            mute = torch.full_like(clip.logmel, np.log(OFFSET))
            muted = model(clip.images[None], mute[None] if model.config.listens else None).logits[0, :, 0] > 0
        for t in range(len(found)):
            truth = clip.masks[t] > 0
            _, owner = made.layers(t + 0.5)
            shares = {
                c: float(found[t][owner == i].float().mean()) for i, c in enumerate(made.objects) if (owner == i).any()
            }
            heard = [c for c, s in zip(made.objects, made.sounding[t], strict=True) if s]
            area = int(found[t].sum())
            rows.append({
                "iou": float((found[t] & truth).sum() / (found[t] | truth).sum().clamp(min=1)),
                "marked": area / found[t].numel(), "truth": bool(truth.any()), "heard": heard, "shares": shares,
                "evidence": float(strength[t]), "left": int((muted[t] & found[t]).sum()) / max(area, 1) if guess is None else 1,
                "area": area,
            })  # fmt: skip
    return rows


def summary(found, sequences, presence):
    """What the table tells: name to (value, frames)."""
    lines = {}

    def line(name, values):
        lines[name] = (float(np.mean(values)) if len(values) else float("nan"), len(values))

    for name in ("one object", "two and three objects", "uncomposed pictures"):
        line(f"{name}: mIoU where one sounds", [r["iou"] for r in found[name] if r["truth"]])
    by = defaultdict(list)
    for r in found["one object"]:
        if r["truth"]:
            by[r["heard"][0]].append(r["iou"])
    for category, values in sorted(by.items(), key=lambda kv: (-len(kv[1]), kv[0])):
        line(f"one object, {category}: mIoU", values)
    line("DAVIS sequences: mIoU where one sounds", [r["iou"] for r in sequences if r["truth"]])
    pairs = [r for r in found["one of two chosen"] if r["truth"] and len(r["shares"]) == 2 and len(r["heard"]) == 1]
    right = [max(r["shares"], key=r["shares"].get) == r["heard"][0] and max(r["shares"].values()) > 0 for r in pairs]
    line("the right one of two objects is marked more", right)
    for name in ("silence", "foreign sounds"):
        line(f"{name}: share of the pixels marked", [r["marked"] for r in found[name]])
    rows = [r for r in found["one object"] if r["truth"] and r["area"] > 0]
    gone = 1 - sum(r["left"] * r["area"] for r in rows) / max(1, sum(r["area"] for r in rows))
    lines["share of the mask that goes when muted"] = (gone, len(rows))
    every = [r for name in ("one object", "two and three objects", "silence", "foreign sounds") for r in found[name]]
    if presence:
        p = 1 / (1 + np.exp(-(presence[0] * np.array([r["evidence"] for r in every]) + presence[1])))
        truth = np.array([r["truth"] for r in every])
        line("presence above ½: precision", truth[p > 0.5])
        line("presence above ½: recall", p[truth] > 0.5)
    return lines


def panels(model, library, found, count, size, folder):
    """The best, the median and the worst scene of three worlds, by mean IoU of the frames in which one sounds."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("one object", "two and three objects", "uncomposed pictures"):
        scenes = CompositeScenes(library, count, seed=77, size=(size, size), rules=WORLDS[name])
        clips = defaultdict(list)
        for place, r in enumerate(found[name]):
            if r["truth"]:
                clips[place // 5].append(r["iou"])
        order = sorted((i for i in clips if len(clips[i]) >= 3), key=lambda i: -np.mean(clips[i]))
        for word, index in (("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])):
            batch = Batch.collate([scenes[index]])
            clip_figure(batch, 0, {"model": model}).save(folder / f"{name.replace(' ', '_')}_{word}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--sounds", required=True)
    parser.add_argument(
        "--models", nargs="+", default=["world_duo.real"], help="names or folders; 'everything', 'nothing' are guesses"
    )
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--size", type=int, help="side of the pictures; that of each model unless given")
    parser.add_argument("--panels", type=Path, help="folder for pictures of the first model's best, median and worst")
    args = parser.parse_args()
    library = Library.read(args.images, args.sounds).split(args.split)
    davis = replace(library, pictures=tuple(p for p in library.pictures if "davis" in str(Path(p.image).parent)))
    columns, sizes = {}, []
    for name in args.models:
        guess = {"everything": True, "nothing": False}.get(name)
        model = load(name) if guess is None else None
        size = args.size or (model.config.image_size[0] if model else 128)
        sizes.append(f"{size}×{size}")
        found = {k: score(model, library, rules, args.count, size, guess) for k, rules in WORLDS.items()}
        sequences = score(model, davis, WORLDS["uncomposed pictures"], args.count, size, guess)
        columns[Path(name).name] = summary(found, sequences, model.config.presence if guess is None else None)
        if args.panels and name == args.models[0]:
            panels(model, library, found, args.count, size, args.panels)
    print(f"split {args.split}, {args.count} scenes of each kind, seed 77, {', '.join(sizes)}\n")
    print("| on held-out groups | " + " | ".join(columns) + " | frames |\n|---|" + "--:|" * (len(columns) + 1))
    first = next(iter(columns.values()))
    for key, (_, frames) in first.items():
        values = [f"{c[key][0]:.3f}" if key in c else "" for c in columns.values()]
        print(f"| {key} | " + " | ".join(values) + f" | {frames} |")


if __name__ == "__main__":
    main()
