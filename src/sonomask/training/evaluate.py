"""Figures of a model on a data set, with everything that is needed to believe them."""

import csv
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sonomask.batches import Batch
from sonomask.checkpoints.folder import fingerprint
from sonomask.inference.torch_scorer import computing
from sonomask.metrics import metrics_of
from sonomask.metrics.protocols import SEMANTIC_PROTOCOLS, protocol
from sonomask.request import Precision
from sonomask.schemas import schema
from sonomask.structures import ModelConfig
from sonomask.training.callbacks import panel
from sonomask.training.clips import clip_scores, write_clips
from sonomask.training.own_metrics import OwnMetrics
from sonomask.training.robust import Offscreen, Share, Sound, alter, g_scores


@dataclass(frozen=True)
class Report:
    """A table of figures and how they came about.

    Attributes:
        rows: Protocol, metric, value (0..1 unless its name tells a unit), count of what was averaged.
        facts: Command, weights' hash, seed, hardware, versions.
        clips: Name, category, mIoU and F of each clip by itself, with its own sound.
    """

    rows: tuple[dict[str, Any], ...]
    facts: dict[str, str] = field(default_factory=dict)
    clips: tuple[dict[str, Any], ...] = ()

    def markdown(self) -> str:
        """A table and the facts below it."""
        lines = ["| protocol | metric | value | count |", "|---|---|--:|--:|"]
        lines += [f"| {r['protocol']} | {r['metric']} | {r['value']:.4f} | {r['count']} |" for r in self.rows]
        return "\n".join([*lines, "", *(f"- {key}: {value}" for key, value in self.facts.items())]) + "\n"

    def save(self, folder: Path) -> None:
        """Write `scores.json`, `scores.csv` and `scores.md`, and the clips' scores to `clips.csv`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scores.json").write_text(
            json.dumps({"schema": schema("scores"), "rows": self.rows, "facts": self.facts}, indent=2) + "\n"
        )
        (folder / "scores.md").write_text(self.markdown())
        with (folder / "scores.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["protocol", "metric", "value", "count"])
            writer.writeheader()
            writer.writerows(self.rows)
        if self.clips:
            write_clips(self.clips, folder / "clips.csv")


@torch.inference_mode()
def evaluate(
    model: torch.nn.Module,
    batches: Iterable[Batch],
    *,
    protocols: Sequence[str] | None = None,
    sounds: Sequence[Sound] = ("own",),
    device: str = "cpu",
    facts: dict[str, str] | None = None,
    save_masks: Path | None = None,
    worst: int = 0,
    out: Path | None = None,
    seed: int = 0,
    details: bool = False,
    precision: Precision = "float32",
    metrics: Sequence[str] = (),
) -> Report:
    """Score a model in one pass over the batches per kind of sound.

    With the clips' own sounds and others, figures of AVSBench-Robust follow (`robust.g_scores`).

    Args:
        model: Model in eval mode.
        batches: Batches in the order of the data set; may be gone through once per sound.
        protocols: Names of scoring protocols; the model's own unless given. A semantic model's are both of AVSS.
        sounds: "own" for the clips as they are; the others replace every clip's sound by silence, by noise, or by that of
            a clip of another category, drawn by the seed from all batches, with the truth then being empty.
        device: Device of the model.
        facts: Facts for the report.
        save_masks: Folder for a PNG of each frame.
        worst: Number of the worst clips to draw.
        out: Folder for pictures of the worst.
        seed: Seed of the noise and of whose sound comes from off screen.
        details: Boundary F and figures of each category too; of a semantic model, each class's IoU and the classes that
            are taken for one another.
        precision: Number format of matrix products, on devices that have several.
        metrics: Paths of metrics of one's own (`own_metrics.OwnMetrics`), with the clips' own sound.

    Raises:
        ValueError: A sound has no such name, or there is no clip of another category.
    """
    own = OwnMetrics(metrics).to(device)
    rows: list[dict[str, Any]] = []
    clips: list[dict[str, Any]] = []
    config: Any = model.config
    protocols = protocols or [config.protocol]
    drawn: list[tuple[float, str, Tensor]] = []
    pictures = ""
    against: dict[str, tuple[list[dict[str, Any]], float]] = {}  # figures against the own truth, share marked
    offscreen = Offscreen(batches, seed) if "offscreen" in sounds else None
    for sound in sounds:
        generator = torch.Generator().manual_seed(seed)
        scores = metrics_of(config, protocols, details=details and sound == "own")
        original, marked = metrics_of(config, protocols), Share()
        count = 0
        for whole in batches:
            batch = alter(whole, sound, generator, offscreen).to(device)
            pictures = _pictures(batch, config)
            with computing(precision, device):
                logits = fit(model(**batch.inputs(config)).logits.float(), batch.masks.shape[-2:])
            places = torch.arange(count, count + len(logits), device=device)
            count += len(logits)
            shown = logits if config.semantic else logits[:, :, 0]
            known: Any = {
                "labelled": batch.labelled,
                "valid": batch.valid,
                "indices": places,
                "categories": batch.categories,
            }
            scores.update(shown, batch.masks, **known)
            if len(sounds) > 1:
                original.update(shown, whole.masks.to(device), **known)
                marked.update(logits, batch.valid & batch.labelled)
            if sound == "own":
                clips += clip_scores(batch, logits)
                own.update(logits, batch)
            if sound == "own" and save_masks is not None:
                _save_masks(batch, logits, save_masks)
            if sound == "own" and worst:
                drawn = _keep_worst(drawn, batch, logits, worst)
        prefix = "" if sound == "own" else f"{sound}: "
        rows += [{**row, "metric": prefix + row["metric"]} for row in scores.table()]
        rows += own.rows(count) if sound == "own" else []
        if len(sounds) > 1:
            against[sound] = (original.table(), marked.value())
    rows += g_scores(against)
    if out is not None:
        for place, (iou, name, picture) in enumerate(drawn):
            (out / "worst").mkdir(parents=True, exist_ok=True)
            pixels = (picture * 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(out / "worst" / f"{place:02d}_{iou:.2f}_{Path(name).name or 'clip'}.png")
    scored = SEMANTIC_PROTOCOLS if config.semantic else {name: protocol(name).source for name in protocols}
    settings = {"pictures": pictures, "protocol": "; ".join(f"{name} ({source})" for name, source in scored.items())}
    settings |= {
        "weights": fingerprint(model),
        "torch": torch.__version__,
        "hardware": hardware(device),
        "precision": precision,
        "seed": str(seed),
        **({} if offscreen is None else {"off-screen sounds": offscreen.settings}),
    }
    return Report(tuple(rows), {**(facts or {}), **settings}, tuple(clips))


def _pictures(batch: Batch, config: ModelConfig) -> str:
    """Describe the model's input and the truth."""
    shown, truth, own = (f"{h}×{w}" for h, w in (batch.images.shape[-2:], batch.masks.shape[-2:], config.image_size))
    mean, std = (" ".join(f"{v:g}" for v in values) for values in (config.mean, config.std))
    text = shown + ("" if shown == own else f" (the model's own size is {own})")
    return f"{text}, mean {mean}, std {std}; truth {truth}"


def _clip(batch: Batch, i: int) -> Batch:
    values: dict[str, Any] = {k: v if v is None else v[i : i + 1] for k, v in vars(batch).items()}
    return Batch(**values)


def fit(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits at the size of the truth, which some protocols keep smaller than the pictures."""
    if logits.shape[-2:] == tuple(size):
        return logits
    small = F.interpolate(logits.flatten(0, 1), size=tuple(size), mode="bilinear", align_corners=False)
    return small.unflatten(0, logits.shape[:2])


def hardware(device: str) -> str:
    """Describe the hardware and software of an evaluation."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _save_masks(batch: Batch, logits: Tensor, folder: Path) -> None:
    labels = (logits[:, :, 0] > 0).byte() * 255 if logits.shape[2] == 1 else logits.argmax(2).byte()
    for name, clip in zip(batch.names, labels.cpu().numpy(), strict=True):
        place = folder / Path(name.replace("\\", "/")).name
        place.mkdir(parents=True, exist_ok=True)
        for second, mask in enumerate(clip):
            Image.fromarray(mask).save(place / f"{second + 1}.png")


def _keep_worst(
    drawn: list[tuple[float, str, Tensor]], batch: Batch, logits: Tensor, count: int
) -> list[tuple[float, str, Tensor]]:
    found = logits[:, :, 0] > 0 if logits.shape[2] == 1 else logits.argmax(2) > 0
    truth = batch.masks > 0
    ious = (found & truth).sum((1, 2, 3)) / (found | truth).sum((1, 2, 3)).clamp(min=1)
    for i, iou in enumerate(ious.tolist()):
        if len(drawn) < count or iou < drawn[-1][0]:
            one = _clip(batch, i)
            name = batch.names[i] if batch.names else str(i)
            drawn = sorted([*drawn, (iou, name, panel(one, logits[i : i + 1], 1))], key=lambda row: row[0])[:count]
    return drawn
