"""The paper's figures: clips with the masks of every system, heat beside mask, attention by level."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sonomask.batches import Batch
from sonomask.benchmark.curves import curves
from sonomask.benchmark.plan import Plan
from sonomask.benchmark.rows import ROWS
from sonomask.benchmark.run import _batches, trained
from sonomask.visualise.overlay import overlay
from sonomask.visualise.sheets import grid, heated, same_second
from sonomask.workspace import atomic_path

SIDE = 160  # pixels of a frame in a figure
MARGIN = 150  # for the labels
HEAT = ("LVS", "MSSL", "Pixels that Sound")  # drawn as heat: they give no more than a place
PAIRS = {
    "heat_and_mask": ("LVS", "MSSL", "AVS, TPAVI"),
    "with_and_without": ("AVS, no audio", "AVS, A+V addition", "AVS, TPAVI"),
}
"""Figures of a few systems beside one another, as the paper has them."""


def draw(plan: Plan, subsets: Sequence[str], models: Sequence[str]) -> list[Path]:
    """Write the figures of a benchmark that was run into `out/figures`."""
    folder = plan.out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for subset in subsets:
        batch = next(iter(_batches(plan, subset, 0)))
        nets = {_label(name): net for name in models if (net := trained(plan, name, subset)) is not None}
        for clip in range(min(3, len(batch.images))):
            path = folder / f"{subset}_clip{clip + 1}.png"
            _saved(clip_figure(batch, clip, nets), path)
            written.append(path)
        listens = next((net for label, net in nets.items() if "TPAVI" in label), None)
        if listens is not None:
            path = folder / f"{subset}_attention.png"
            _saved(attention_figure(batch, 0, listens), path)
            written.append(path)
        for part, wanted in PAIRS.items():
            chosen = {label: nets[label] for label in wanted if label in nets}
            if len(chosen) > 1:
                path = folder / f"{subset}_{part}.png"
                _saved(clip_figure(batch, 0, chosen), path)
                written.append(path)
        path = folder / f"{subset}_curves.pdf"
        if curves(plan, subset, models, path):
            written += [path, path.with_suffix(".png")]
    return written


def _label(name: str) -> str:
    return ROWS[name].label if name in ROWS else Path(name).name


@torch.inference_mode()
def clip_figure(batch: Batch, clip: int, nets: dict[str, Any]) -> Image.Image:
    """Frames, truth, the mask of every net, and the loudness: seconds from left to right."""
    images, truth = _pixels(batch.images[clip]), batch.masks[clip] > 0
    rows = [("frames", images), ("truth", _marked(images, truth))]
    one = slice(clip, clip + 1)
    for label, net in nets.items():
        logits = net(batch.images[one], batch.logmel[one] if net.config.listens else None).logits[0, :, 0]
        heat = label in HEAT
        rows.append((label, _heated(images, logits.sigmoid()) if heat else _marked(images, logits > 0)))
    loud = (batch.logmel[clip, :, 0].exp() - 0.01).clamp(min=0).mean(-1)  # seconds, 96
    return _grid(rows, loud.numpy())


@torch.no_grad()
def attention_figure(batch: Batch, clip: int, net: Any) -> Image.Image:
    """TPAVI's attention of each level to the sound of the same second, and the mask."""
    one = slice(clip, clip + 1)
    images = _pixels(batch.images[clip])
    rows = [("frames", images)]
    for level, map_ in enumerate(net.attention(batch.images[one], batch.logmel[one])):
        if map_ is not None:
            rows.append(
                (
                    f"attention, level {level + 1}",
                    [heated(i, h) for i, h in zip(images, same_second(map_[0].numpy()), strict=True)],
                )
            )
    logits = net(batch.images[one], batch.logmel[one]).logits[0, :, 0]
    return _grid(
        [*rows, ("mask", _marked(images, logits > 0)), ("truth", _marked(images, batch.masks[clip] > 0))], None
    )


def _saved(picture: Image.Image, path: Path) -> None:
    with atomic_path(path, overwrite=True) as fresh:
        picture.save(fresh)


def _pixels(images: Tensor) -> list[np.ndarray]:
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = ((images * std + mean).clamp(0, 1) * 255).byte().permute(0, 2, 3, 1)
    return [np.asarray(Image.fromarray(p.numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for p in pixels]


def _to_side(values: Tensor) -> np.ndarray:
    return np.asarray(Image.fromarray(values.float().numpy()).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _marked(images: Sequence[np.ndarray], masks: Tensor) -> list[np.ndarray]:
    return [overlay(image, (_to_side(mask) > 0.5).astype(np.uint8)) for image, mask in zip(images, masks, strict=True)]


def _heated(images: Sequence[np.ndarray], heat: Tensor) -> list[np.ndarray]:
    return [heated(image, values.float().numpy()) for image, values in zip(images, heat, strict=True)]


def _grid(rows: Sequence[tuple[str, Sequence[np.ndarray]]], loud: np.ndarray | None) -> Image.Image:
    sound = None if loud is None else np.stack([loud.ravel()] * 2)
    return Image.fromarray(grid(rows, sound=sound, margin=MARGIN))
