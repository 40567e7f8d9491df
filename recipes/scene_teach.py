"""Teaches one scene reader of a `world` model what the mean of all its readers and machine-made label maps know.

    uv run python recipes/scene_teach.py --model world_duo.real --labelled scenes.csv players.csv \
      --cuts images.csv more.csv --steps 1500 --out runs/taught

A frame is a natural picture with its label map, cropped at random, with cut-outs pasted into some: a thing, or a person with an
instrument before the torso. The teacher, the readers as they were, sees the frame as it is; the student sees it dark, blurred,
moved, compressed or noisy. The loss is cross-entropy with the labels (255: not known) and with the teacher's shares, and the same
for salience. Stages before `--frozen` and all batch norms stay as they are. What is saved is a moving average, in the whole model.

A run that was stopped goes on from `OUT/state.pt`. Hardware: CPU; a frame of 288 × 288 takes some 0.6 s of processor time.
"""

import argparse
import copy
import csv
import math
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonomask.audio.categories import CATEGORIES, INSTRUMENTS
from sonomask.checkpoints.folder import load, save
from sonomask.models.nets.world import World
from sonomask.models.parts.scene import SceneReader

UNKNOWN = 255
ALIASES = {
    "clavichord": "piano", "concertina": "accordion", "mandolin": "banjo", "dulcimer": "harp", "bongo_drum": "hand_drum",
    "tabla": "hand_drum", "steel_drum": "hand_drum", "racing_car": "car", "truck": "car", "lion": "big_cat", "tiger": "big_cat",
    "leopard": "big_cat", "wild_cat": "big_cat", "zebra": "horse",
}  # fmt: skip
OTHER_ANIMALS = frozenset(
    "bear rhino rhino_black llama kangaroo insect fish frog wombat whale squirrel rat rabbit pig mouse koala hippopotamus "
    "gorilla goat donkey monkey otter orca sea_lion".split()
)
HELD = frozenset(
    "guitar violin accordion banjo saxophone flute clarinet trumpet sitar harmonica bagpipes harp trombone hand_drum".split()
)


@dataclass(frozen=True)
class Picture:
    """A picture of the tables.

    Attributes:
        image: File.
        labels: Label map (0 nothing, 1 + place in `CATEGORIES`, 255 not known) or mask of the category.
        category: 1 + place in `CATEGORIES`.
    """

    image: Path
    labels: Path
    category: int


def number(category: str) -> int:
    """1 + place of a picture's category among those of the model; things without one are "object"."""
    name = ALIASES.get(category, category)
    name = "other_animal" if name in OTHER_ANIMALS else name
    return 1 + CATEGORIES.index(name if name in CATEGORIES else "object")


def read_labelled(table: Path) -> list[Picture]:
    """Natural pictures with label maps."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    base = table.parent
    return [Picture(base / (r.get("image") or r["file"]), base / r["labels"], number(r["category"])) for r in rows]


def read_cuts(table: Path) -> list[Picture]:
    """Pictures whose mask holds the thing alone: no instruments whose mask may hold their player."""
    with table.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["mask"]]
    found = []
    for r in rows:
        kind = number(r["category"])
        alone = CATEGORIES[kind - 1] not in INSTRUMENTS or r.get("mask_by") == "white_background"
        if alone:
            found.append(Picture(table.parent / r["image"], table.parent / r["mask"], kind))
    return found


def weights(pictures: list[Picture], power: float) -> np.ndarray:
    """Probabilities by which rare categories come up more often."""
    counts = Counter(p.category for p in pictures)
    w = np.array([counts[p.category] ** -power for p in pictures])
    return w / w.sum()


class Frames:
    """Composed frames, drawn by number.

    Args:
        labelled: Natural pictures.
        cuts: Pictures to cut things out of.
        size: Height and width of a frame, in pixels.
        seed: Seed of the frames' composition.
    """

    def __init__(self, labelled: list[Picture], cuts: list[Picture], size: int, seed: int) -> None:
        self.labelled, self.cuts, self.size, self.seed = labelled, cuts, size, seed
        person = 1 + CATEGORIES.index("person")
        self.people = [p for p in cuts if p.category == person]
        self.held = [p for p in cuts if CATEGORIES[p.category - 1] in HELD]
        self.often = {id(pool): weights(pool, 0.5) for pool in (self.labelled, self.cuts, self.people, self.held)}

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The frame as it is and as the student sees it (uint8, S S 3), its labels (S S), and what is salient (S S)."""
        random = np.random.default_rng([self.seed, index])
        image, labels = self._natural(random)
        salient = (labels > 0) & (labels < UNKNOWN)
        kind = random.random()
        if kind < 0.2:
            self._player(image, labels, salient, random)
        elif kind < 0.55:
            for _ in range(random.integers(1, 3)):
                cut = self._draw(self.cuts, random)
                at = random.uniform(0.1, 0.9), random.uniform(0.2, 0.95)
                self._paste(
                    image, labels, salient, cut, at, math.exp(random.uniform(math.log(0.15), math.log(0.8))), random
                )
        return image, disturbed(image, random), labels, salient

    def _draw(self, pool: list[Picture], random: np.random.Generator) -> Picture:
        return pool[random.choice(len(pool), p=self.often[id(pool)])]

    def _natural(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        picture = self._draw(self.labelled, random)
        image, labels = read(picture.image), cv2.imread(str(picture.labels), cv2.IMREAD_GRAYSCALE)
        height, width = image.shape[:2]
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        scale = self.size * random.uniform(0.85, 1.9) / max(height, width)
        spare = np.maximum(0, np.array([width, height]) * scale - self.size * 0.9) / 2
        centre = np.array([width, height]) / 2 + random.uniform(-1, 1, 2) * (spare + 0.08 * self.size) / scale
        matrix = affine(centre, scale, random.uniform(-8, 8), random.random() < 0.5, np.full(2, self.size / 2), random)
        return self._warped(image, matrix, 0), self._warped(labels, matrix, UNKNOWN, nearest=True)

    def _warped(self, array: np.ndarray, matrix: np.ndarray, fill: int, *, nearest: bool = False) -> np.ndarray:
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        value = (fill,) * 3
        return cv2.warpAffine(array, matrix, (self.size, self.size), flags=how, borderValue=value)

    def _paste(
        self,
        image: np.ndarray,
        labels: np.ndarray,
        salient: np.ndarray,
        cut: Picture,
        at: tuple[float, float],
        long: float,
        random: np.random.Generator,
        turn: float = 15,
        holes: float = 0,
    ) -> tuple[float, float]:
        """Put a thing into a frame; its width and height as shares of the frame."""
        source, mask = read(cut.image), cv2.imread(str(cut.labels), cv2.IMREAD_GRAYSCALE)
        mask = cv2.resize(mask, source.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        rows, columns = np.flatnonzero((mask > 127).any(1)), np.flatnonzero((mask > 127).any(0))
        if not len(rows):
            return 0.0, 0.0
        extent = np.array([columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1])
        scale = long * self.size / extent.max()
        centre = np.array([columns[0], rows[0]]) + extent / 2
        matrix = affine(
            centre, scale, random.uniform(-turn, turn), random.random() < 0.5, np.array(at) * self.size, random
        )
        alpha = self._warped(mask, matrix, 0).astype(np.float32) / 255
        if holes:  # hands and straps lie in front
            blobs = cv2.resize(
                random.random((12, 12), dtype=np.float32), (self.size,) * 2, interpolation=cv2.INTER_CUBIC
            )
            alpha = np.where(blobs > holes, 0, alpha)
        colours = self._warped(source, matrix, 0) * random.uniform(0.75, 1.2) + random.uniform(-15, 15)
        soft = cv2.blur(alpha, (3, 3))[..., None]
        image[:] = np.clip(image * (1 - soft) + colours * soft, 0, 255)
        labels[alpha > 0.5] = cut.category
        salient |= alpha > 0.5
        return tuple(extent * scale / self.size)

    def _player(self, image: np.ndarray, labels: np.ndarray, salient: np.ndarray, random: np.random.Generator) -> None:
        x, y = random.uniform(0.25, 0.75), random.uniform(0.4, 0.8)
        wide, high = self._paste(
            image, labels, salient, self._draw(self.people, random), (x, y), random.uniform(0.5, 1.3), random
        )
        at = x + random.uniform(-0.3, 0.3) * wide, min(0.95, y + random.uniform(-0.2, 0.3) * high)
        long = random.uniform(0.4, 1.2) * min(0.9, max(wide, 0.45 * high))
        holes = random.uniform(0.75, 0.95) if random.random() < 0.6 else 0
        self._paste(
            image, labels, salient, self._draw(self.held, random), at, max(0.1, long), random, turn=45, holes=holes
        )


def affine(
    centre: np.ndarray, scale: float, degrees: float, mirrored: bool, to: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """The 2×3 matrix that brings `centre` to `to`, scaled, turned, squeezed a little, mirrored or not."""
    turn, squeeze = math.radians(degrees), math.exp(random.uniform(-0.15, 0.15))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    linear = rotation @ np.diag([scale * squeeze * (-1 if mirrored else 1), scale / squeeze])
    return np.concatenate([linear, (to - linear @ centre)[:, None]], 1)


def read(path: Path) -> np.ndarray:
    """A picture as RGB."""
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def disturbed(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The frame as a poor camera, a dark stage or a lossy codec would give it."""
    x = image.astype(np.float32) / 255
    size = len(x)
    x = x ** math.exp(random.uniform(-0.45, 0.45)) * random.uniform(0.7, 1.3) + random.uniform(-0.1, 0.1)
    grey = x.mean(-1, keepdims=True)
    x = grey + (x - grey) * (0 if random.random() < 0.06 else random.uniform(0.3, 1.5))
    x = x * (1 + 0.1 * random.standard_normal(3, dtype=np.float32))
    if random.random() < 0.15:
        across = np.linspace(-1, 1, size, dtype=np.float32)
        light = [np.square(across - random.uniform(-0.6, 0.6)) for _ in range(2)]
        spot = np.exp(-(light[0][:, None] + light[1][None]) / random.uniform(0.3, 1.2))[..., None]
        x = x * (0.15 + 0.85 * spot) * random.uniform(0.4, 1.2, 3).astype(np.float32)
    kind = random.random()
    if kind < 0.35:
        low = max(16, int(size * random.uniform(0.35, 0.9)))
        x = cv2.resize(
            cv2.resize(x, (low, low), interpolation=cv2.INTER_AREA), (size, size), interpolation=cv2.INTER_LINEAR
        )
    elif kind < 0.5:
        kernel = np.zeros((9, 9), np.float32)
        turn, long = random.uniform(0, math.pi), random.uniform(1.5, 4)
        end = np.array([math.cos(turn), math.sin(turn)]) * long
        cv2.line(kernel, tuple(np.round(4 - end).astype(int)), tuple(np.round(4 + end).astype(int)), 1.0)
        x = cv2.filter2D(x, -1, kernel / kernel.sum())
    x = x + random.uniform(0, 0.05) * random.standard_normal(x.shape, dtype=np.float32)
    out = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    if random.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(12, 60))]
        out = cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR)
    return out


def batch(frames: Frames, step: int, count: int, model: World) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clean and disturbed pictures as the readers take them, labels, what is salient."""
    clean, seen, labels, salient = (
        np.stack(a) for a in zip(*(frames.frame(step * count + i) for i in range(count)), strict=True)
    )
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (model.config.mean, model.config.std))

    def normal(a: np.ndarray) -> Tensor:
        x = (torch.from_numpy(a).permute(0, 3, 1, 2).float() - mean) / std
        return x.contiguous(memory_format=torch.channels_last)

    return normal(clean), normal(seen), torch.from_numpy(labels).long(), torch.from_numpy(salient)


def losses(
    category: Tensor, catches: Tensor, labels: Tensor, salient: Tensor, shares: Tensor, salience: Tensor
) -> dict[str, Tensor]:
    """Terms of the loss.

    Args:
        category: The student's logits (N, C, h, w).
        catches: Its logits of salience (N, 1, h, w).
        labels: Truth (N, H, W), 255 where it is not known.
        salient: True salience map (N, H, W).
        shares: Teacher's category probabilities (N, C, h, w).
        salience: Teacher's salience probabilities (N, 1, h, w).
    """
    few = labels[:, 2::4, 2::4]  # at the student's own stride
    known = few < UNKNOWN
    weight = torch.ones(category.shape[1])
    weight[0], weight[-1] = 0.5, 0.7
    hard = F.cross_entropy(category, few, weight, ignore_index=UNKNOWN, label_smoothing=0.05)
    truth, logit = salient[:, 2::4, 2::4].float(), catches[:, 0]
    bce = F.binary_cross_entropy_with_logits(logit[known], truth[known])
    p, t = logit.sigmoid() * known, truth * known
    both, either = (p * t).flatten(1).sum(1), (p + t - p * t).flatten(1).sum(1)
    iou = (1 - (both + 1) / (either + 1)).mean()
    count = 1 + 3 * (1 - shares[:, 0])  # what is seen counts more than what is not
    soft = (-(shares * category.log_softmax(1)).sum(1) * count).sum() / count.sum()
    soft_salience = F.binary_cross_entropy_with_logits(catches, salience)
    return {
        "hard": 0.7 * hard,
        "salience": 0.7 * bce,
        "iou": 0.35 * iou,
        "soft": 0.8 * soft,
        "soft salience": 0.8 * soft_salience,
    }


def groups_of(reader: SceneReader, frozen: int, rate: float) -> list[dict[str, Any]]:
    """Parameters that learn: the stages from `frozen` on at an eighth of the rate of the pyramid and the heads."""
    for part in [reader.stem, *list(reader.stages)[:frozen]]:
        part.requires_grad_(requires_grad=False)
    body = [p for s in list(reader.stages)[frozen:] for p in s.parameters()]
    if reader.evidence is not None:  # ImageNet's classifier stays
        for part in (reader.evidence.conv, reader.evidence.norm, reader.evidence.classifier):
            part.requires_grad_(requires_grad=False)
    chosen = {id(p) for p in body}
    rest = [p for p in reader.parameters() if p.requires_grad and id(p) not in chosen]
    return [{"params": body, "lr": rate / 8}, {"params": rest, "lr": rate}]


def teach(model: World, frames: Frames, args: argparse.Namespace) -> World:
    """The model with its taught reader; writes `OUT/state.pt` every five minutes."""
    teachers = [copy.deepcopy(r).eval().requires_grad_(requires_grad=False) for r in model.readers]
    teachers = [t.to(memory_format=torch.channels_last) for t in teachers]
    student = model.readers[args.reader].to(memory_format=torch.channels_last)
    assert isinstance(student, SceneReader)  # noqa: S101 - for the type checker
    optimiser = torch.optim.AdamW(groups_of(student, args.frozen, args.rate), weight_decay=0.02)
    rates = [g["lr"] for g in optimiser.param_groups]
    mean = {k: v.detach().clone() for k, v in student.state_dict().items() if v.is_floating_point()}
    first, state = 0, args.out / "state.pt"
    if state.exists():
        kept = torch.load(state, weights_only=True)
        first, mean = kept["step"], kept["mean"]
        student.load_state_dict(kept["student"])
        optimiser.load_state_dict(kept["optimiser"])
    saved = began = time.monotonic()
    for step in range(first, args.steps):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        student.train()
        for module in student.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        clean, seen, labels, salient = batch(frames, step, args.batch, model)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            told = [t(clean) for t in teachers]
        shares = torch.stack([t[0].float().softmax(1) for t in told]).mean(0)
        salience = torch.stack([t[1].float().sigmoid() for t in told]).mean(0)
        with torch.autocast("cpu", torch.bfloat16):
            category, catches = student(seen)
        terms = losses(category.float(), catches.float(), labels, salient, shares, salience)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(student.parameters(), 2.0)
        optimiser.step()
        part = 1 - min(0.995, (1 + step) / (10 + step))
        for k, v in student.state_dict().items():
            if k in mean:
                mean[k].lerp_(v.float(), part)
        if step % 10 == 0:
            told_terms = ", ".join(f"{k} {v.item():.3f}" for k, v in terms.items())
            print(f"{step} after {time.monotonic() - began:.0f} s: {told_terms}", flush=True)
        if time.monotonic() - saved > args.every or step + 1 == args.steps:
            saved = time.monotonic()
            kept = {
                "step": step + 1,
                "mean": mean,
                "student": student.state_dict(),
                "optimiser": optimiser.state_dict(),
            }
            torch.save(kept, state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)
    student.load_state_dict({**student.state_dict(), **mean})
    return model.eval()


def main() -> None:
    """Read the options, teach, save."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--model", default="world_duo.real", help="name or folder of a `world` model")
    options.add_argument("--reader", type=int, default=0, help="which of its readers learns")
    options.add_argument(
        "--labelled", required=True, type=Path, nargs="+", help="tables: image (or file), labels, category"
    )
    options.add_argument("--cuts", required=True, type=Path, nargs="+", help="tables: image, mask, category, mask_by")
    options.add_argument("--size", type=int, default=288)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=1500)
    options.add_argument("--frozen", type=int, default=3, help="stages that stay as they are")
    options.add_argument("--rate", type=float, default=4e-4)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--every", type=float, default=300, help="seconds between two saved states")
    options.add_argument("--bits", type=int, choices=[32, 16, 8], default=16, help="of each saved weight")
    options.add_argument("--out", required=True, type=Path)
    args = options.parse_args()
    cv2.setNumThreads(1)
    model = load(args.model)
    if not isinstance(model, World) or args.reader >= len(model.readers):
        raise SystemExit(f"--model {args.model}: expected a `world` model with a reader {args.reader}.")
    args.out.mkdir(parents=True, exist_ok=True)
    labelled = [p for table in args.labelled for p in read_labelled(table)]
    cuts = [p for table in args.cuts for p in read_cuts(table)]
    print(f"{len(labelled)} natural pictures, {len(cuts)} cut-outs", flush=True)
    taught = teach(model, Frames(labelled, cuts, args.size, args.seed), args)
    taught.config = replace(
        taught.config, about=f"{taught.config.about} Reader {args.reader} taught by the mean of all."
    )
    save(taught, args.out / "model", bits=args.bits)


if __name__ == "__main__":
    main()
