"""How the built-in model does on composed scenes of groups that it never saw.

    uv run python benchmarks/real_world.py --images images.csv --sounds sounds.csv --model avs_lite.real

Prints Markdown: mIoU of frames in which something seen sounds (single, two and more objects, uncomposed sequences, by
category), which of two objects is chosen, what is marked when nothing seen sounds, and what muting leaves.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sonomask.audio.logmel import OFFSET
from sonomask.data.composite import CompositeRules, CompositeScenes
from sonomask.data.library import Library
from sonomask.presence import evidence
from sonomask.weights import load

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
            found, strength = logits > 0, evidence(logits)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--sounds", required=True)
    parser.add_argument(
        "--model", default="avs_lite.real", help="name or folder; 'everything' and 'nothing' are guesses"
    )
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    guess = {"everything": True, "nothing": False}.get(args.model)
    model = load(args.model) if guess is None else None
    library = Library.read(args.images, args.sounds).split(args.split)
    print(f"model {args.model}, split {args.split}, {args.count} scenes each, seed 77, {args.size}×{args.size}\n")
    print("| on held-out groups | value | frames |\n|---|--:|--:|")
    found = {name: score(model, library, rules, args.count, args.size, guess) for name, rules in WORLDS.items()}
    for name in ("one object", "two and three objects", "uncomposed pictures"):
        rows = [r for r in found[name] if r["truth"]]
        print(f"| {name}: mIoU where one sounds | {np.mean([r['iou'] for r in rows]):.3f} | {len(rows)} |")
    by = defaultdict(list)
    for r in found["one object"]:
        if r["truth"]:
            by[r["heard"][0]].append(r["iou"])
    for category, values in sorted(by.items(), key=lambda kv: -len(kv[1])):
        print(f"| one object, {category}: mIoU | {np.mean(values):.3f} | {len(values)} |")
    sequences = replace(library, pictures=tuple(p for p in library.pictures if "davis" in str(Path(p.image).parent)))
    rows = [
        r for r in score(model, sequences, WORLDS["uncomposed pictures"], args.count, args.size, guess) if r["truth"]
    ]
    print(f"| DAVIS sequences: mIoU where one sounds | {np.mean([r['iou'] for r in rows]):.3f} | {len(rows)} |")
    pairs = [r for r in found["one of two chosen"] if r["truth"] and len(r["shares"]) == 2 and len(r["heard"]) == 1]
    right = [max(r["shares"], key=r["shares"].get) == r["heard"][0] and max(r["shares"].values()) > 0 for r in pairs]
    print(f"| the right one of two objects is marked more | {np.mean(right):.3f} | {len(right)} |")
    for name in ("silence", "foreign sounds"):
        values = [r["marked"] for r in found[name]]
        print(f"| {name}: share of the pixels marked | {np.mean(values):.3f} | {len(values)} |")
    rows = [r for r in found["one object"] if r["truth"] and r["area"] > 0]
    gone = 1 - sum(r["left"] * r["area"] for r in rows) / max(1, sum(r["area"] for r in rows))
    print(f"| share of the mask that goes when muted | {gone:.3f} | {len(rows)} |")
    every = [r for name in ("one object", "two and three objects", "silence", "foreign sounds") for r in found[name]]
    if guess is None and model.config.presence:
        scale, offset = model.config.presence
        p = 1 / (1 + np.exp(-(scale * np.array([r["evidence"] for r in every]) + offset)))
        truth = np.array([r["truth"] for r in every])
        hit = (p > 0.5) & truth
        print(f"| presence above ½: precision | {hit.sum() / max(1, (p > 0.5).sum()):.3f} | {len(every)} |")
        print(f"| presence above ½: recall | {hit.sum() / truth.sum():.3f} | {int(truth.sum())} |")


if __name__ == "__main__":
    main()
