"""What 20 corrections of one clip teach the built-in model, about that clip and at whose cost.

    uv run python benchmarks/corrections.py --data FOLDER --clips 6 --count 20 --seed 0 [--save FOLDER]

FOLDER has `labels.csv` (clip, time, mask, sounding), `masks` and `videos`. A person is acted out by the masks: of the marks at
a labelled frame (one mask a second) the largest errors are pointed at, one after the other over all frames: a thing that is
missing (`sounds`), a region that is wrong (`never`) or a part of one (`silent`), marks where nothing sounds (`nothing`). Then
the model learns (`sonomask.teaching`), and the clip's IoU is measured again at the same rate: over all its labelled frames,
and, with `--apart`, over the one frame of which nothing was said. Prints Markdown. With `--save`, each model is written there.

    uv run python benchmarks/corrections.py --cost FOLDER … --images images.csv --sounds sounds.csv --scenes 24

What models that were saved so cost on composed scenes of held-out groups (those of `benchmarks/real_world.py`). They share the
weights of the model that they began from, so that each scene is looked at once for all of them.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from real_world import WORLDS

from sonomask.benchmark.labelled import iou, mark, read_labels
from sonomask.checkpoints.folder import load, save
from sonomask.data.composed.compose import CompositeScenes
from sonomask.data.composed.library import Library
from sonomask.inference.segmenter import Segmenter
from sonomask.safe_reading.corrections import Correction, Corrections
from sonomask.teaching import Lesson, teach

WRONG = 0.1  # share of a region that sounds, up to which the whole of it is wrong
LEAST = 3.0  # pixels between the middle of an error and its edge, below which nobody points at it


def middle(area):
    """The place deepest in an area, and how deep it is."""
    depth = cv2.distanceTransform(np.pad(area, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = divmod(int(depth.argmax()), area.shape[1])
    return float(depth.max()), row, column


def corrections(found, labels, count):
    """What a person says: the deepest error of all frames, then the next one."""
    wrong = [mask ^ label.truth() for mask, label in zip(found, labels, strict=True)]
    items = []
    while len(items) < count:
        deep = [middle(area) for area in wrong]
        i = int(np.argmax([depth for depth, *_ in deep]))
        depth, row, column = deep[i]
        if depth < LEAST:
            break
        at, truth, mask = labels[i].time, labels[i].truth(), found[i]
        place = {"time": at, "x": (column + 0.5) / truth.shape[1], "y": (row + 0.5) / truth.shape[0]}
        _, numbered = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
        region = numbered == numbered[row, column]
        if not truth.any():
            items.append(Correction("nothing", start=max(0.0, at - 0.45), end=at + 0.45))
            wrong[i][:] = False
        elif truth[row, column]:
            items.append(Correction("sounds", **place))
        elif (truth & region).sum() <= WRONG * region.sum():
            items.append(Correction("never", **place, start=max(0.0, at - 0.45), end=at + 0.45))
            wrong[i] &= ~region
        else:
            items.append(Correction("silent", **place))
        cv2.circle(shown := wrong[i].view(np.uint8), (column, row), round(depth), 0, -1)
        wrong[i] = shown > 0
    return items


@torch.inference_mode()
def cost(base, models, library, count):
    """Mean IoU of the frames in which something sounds, by world, of a model and of others that share its weights."""
    size = base.config.image_size[0]
    for name in ("one object", "two and three objects", "uncomposed pictures"):
        scenes = CompositeScenes(library, count, seed=77, size=(size, size), rules=WORLDS[name])
        rows = []
        for index in range(count):
            clip = scenes[index]
            images, logmel = clip.images[None], clip.logmel[None]
            seen, heard = base.look(images.flatten(0, 1)), base.hear(logmel, base.start())
            truths = [truth > 0 for truth in clip.masks]
            for model in (base, *models.values()):
                model.look, model.hear = (lambda *_, seen=seen: seen), (lambda *_, heard=heard: heard)
            found = [model(images, logmel).logits[0, :, 0] > 0 for model in (base, *models.values())]
            for model in (base, *models.values()):
                del model.look, model.hear
            rows += [
                [iou(masks[t].numpy(), truth.numpy()) for masks in found]
                for t, truth in enumerate(truths)
                if truth.any()
            ]
        mean = np.mean(rows, 0)
        told = " | ".join(f"{value:.4f}" for value in mean)
        print(f"| {name} | {len(rows)} | {told} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="world_duo.real")
    parser.add_argument("--clips", nargs="*", help="names; all unless given")
    parser.add_argument("--below", type=float, default=0.75, help="only clips whose IoU is less")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--apart", action="store_true", help="say nothing of the last labelled frame, and measure that one"
    )
    parser.add_argument("--save", type=Path)
    parser.add_argument("--cost", nargs="+", type=Path, help="folders of models that were taught")
    parser.add_argument("--images")
    parser.add_argument("--sounds")
    parser.add_argument("--scenes", type=int, default=24)
    given = parser.parse_args()
    model = load(given.model)
    if given.cost:
        models = {path.name: load(path) for path in given.cost}
        print(
            "| on held-out groups | frames | before | " + " | ".join(models) + " |\n|---|" + "--:|" * (len(models) + 2)
        )
        cost(model, models, Library.read(given.images, given.sounds).split("test"), given.scenes)
        return
    clips = read_labels(given.data, sounding=False)
    gains = []
    print("| clip | corrections | IoU before | after | gain | seconds |\n|---|--:|--:|--:|--:|--:|", flush=True)
    for clip in given.clips or clips:
        rows, video = clips[clip], given.data / "videos" / f"{clip}.mp4"
        if given.apart and len(rows) < 2:
            continue
        before = mark(Segmenter(model, rate=1.0, device="cpu"), video, rows)
        score = np.mean([iou(mask, label.truth()) for mask, label in zip(before, rows, strict=True)])
        if score >= given.below:
            continue
        told = slice(-1) if given.apart else slice(None)
        measured = slice(-1, None) if given.apart else slice(None)
        items = corrections([mask.copy() for mask in before[told]], rows[told], given.count)
        if not items:
            continue
        began = time.monotonic()
        taught = teach(model, [Lesson(video, Corrections(items))], seed=given.seed)
        seconds = time.monotonic() - began
        after = mark(Segmenter(taught.model, rate=1.0, device="cpu"), video, rows)
        first, second = (
            np.mean([iou(mask, label.truth()) for mask, label in zip(found[measured], rows[measured], strict=True)])
            for found in (before, after)
        )
        gains.append(second - first)
        print(
            f"| {clip} | {len(items)} | {first:.3f} | {second:.3f} | {second - first:+.3f} | {seconds:.0f} |",
            flush=True,
        )
        if given.save:
            save(taught.model, given.save / clip)
    print(
        f"\nmean gain of {len(gains)} clips {np.mean(gains):+.3f}; {np.mean(np.array(gains) >= 0.1):.0%} gain 0.1 or more"
    )


if __name__ == "__main__":
    main()
