"""Joint augmentation of clips: picture and mask together, and the sound in the log-mel domain.

The mel magnitudes are linear in the loudness of a track, so a change of gain is exact there: ln(g·(e^x − 0.01) + 0.01).
Noise is added to magnitudes as powers add. That way one class serves wav, pickles and the cached form alike.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from sonomask.audio.logmel import OFFSET, PATCH_SAMPLES, examples
from sonomask.batches import Clip

__all__ = ["Augment", "Augmented", "gain", "with_noise"]

MEAN, STD = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@dataclass(frozen=True)
class Augment:
    """Augmentations of a clip, all off by default. All frames of a clip are changed in the same way.

    Attributes:
        flip: Probability of a mirror image.
        crop: Least share of each side that a random cut keeps, brought back to full size; 1 for no cut.
        colour: Greatest relative change of brightness and of contrast.
        gain: Greatest change of loudness in decibels.
        noise: Greatest loudness of white noise, root mean square of the waveform.
        silence: Probability that the sound becomes silence and the masks become empty.
        offscreen: Probability that the sound is that of a clip of another category and the masks become empty; without
            categories it can't be known to be foreign, and nothing happens.
    """

    flip: float = 0.0
    crop: float = 1.0
    colour: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    silence: float = 0.0
    offscreen: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        for name in (f.name for f in fields(self)):
            value, most = getattr(self, name), 60 if name == "gain" else 1
            if not 0 <= value <= most or (name == "crop" and value < 0.1):
                raise ValueError(f"`{name}`: expected {0.1 if name == 'crop' else 0} to {most}, got {value}.")

    def __call__(self, clip: Clip, generator: torch.Generator, foreign: Clip | None = None) -> Clip:
        """A changed copy.

        Args:
            clip: Normalised as ImageNet's.
            generator: Generator of all random choices.
            foreign: A clip whose sound may replace that of this one.
        """

        def draw(low: float = 0.0, high: float = 1.0) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        images, masks, logmel, maskige = clip.images, clip.masks, clip.logmel, clip.maskige
        if draw() < self.flip:
            images, masks = images.flip(-1), masks.flip(-1)
            maskige = None if maskige is None else maskige.flip(-1)
        share, down, across = draw(self.crop), draw(), draw()
        if share < 1:
            maskige = None if maskige is None else _nearest(maskige, share, down, across)
            images, masks = _cut(images, masks, share, down, across)
        brightness, contrast = (draw(1 - self.colour, 1 + self.colour) for _ in range(2))
        if self.colour:
            images = _colour(images, brightness, contrast)
        mute, swap = draw(), draw()
        if mute < self.silence:
            logmel, masks = torch.full_like(logmel, OFFSET).log(), torch.zeros_like(masks)
        elif swap < self.offscreen and foreign is not None and _known_foreign(clip, foreign):
            logmel, masks = foreign.logmel, torch.zeros_like(masks)
        decibels, level = draw(-self.gain, self.gain), draw(0, self.noise)
        if self.gain:
            logmel = gain(logmel, 10 ** (decibels / 20))
        if self.noise:
            logmel = with_noise(logmel, level, generator)
        return replace(clip, images=images, masks=masks, logmel=logmel, maskige=maskige)


def _known_foreign(clip: Clip, other: Clip) -> bool:
    return bool(clip.category and other.category and clip.category != other.category)


def gain(logmel: Float[Tensor, "*n 96 64"], factor: float) -> Float[Tensor, "*n 96 64"]:
    """The log-mel of the same track `factor` times as loud."""
    return (factor * (logmel.exp() - OFFSET).clamp(min=0) + OFFSET).log()


def with_noise(
    logmel: Float[Tensor, "T 1 96 64"], level: float, generator: torch.Generator
) -> Float[Tensor, "T 1 96 64"]:
    """The log-mel with white noise of that root mean square in its waveform; powers are added, as if out of phase."""
    noise = level * torch.randn(len(logmel) * PATCH_SAMPLES, generator=generator)
    extra = examples(noise)[: len(logmel)]
    extra = F.pad(extra.exp() - OFFSET, (0, 0, 0, 0, 0, 0, 0, len(logmel) - len(extra)))
    own = (logmel.exp() - OFFSET).clamp(min=0)
    return ((own.square() + extra.square()).sqrt() + OFFSET).log()


def _cut(images: Tensor, masks: Tensor, share: float, down: float, across: float) -> tuple[Tensor, Tensor]:
    size, part = images.shape[-2:], _part(images, share, down, across)
    images = F.interpolate(images[part], size=size, mode="bilinear", align_corners=False, antialias=True)
    return images, _nearest(masks[:, None].float(), share, down, across)[:, 0].long()


def _nearest(values: Tensor, share: float, down: float, across: float) -> Tensor:
    """Scale a cut back to full size by nearest neighbours."""
    part = _part(values, share, down, across)
    return F.interpolate(values[part], size=values.shape[-2:], mode="nearest-exact")


def _part(values: Tensor, share: float, down: float, across: float) -> tuple[Any, slice, slice]:
    height, width = values.shape[-2:]
    high, wide = max(1, round(share * height)), max(1, round(share * width))
    top, left = round(down * (height - high)), round(across * (width - wide))
    return (..., slice(top, top + high), slice(left, left + wide))


def _colour(images: Tensor, brightness: float, contrast: float) -> Tensor:
    pixels = images * STD + MEAN
    grey = pixels.mean(dim=(-3, -2, -1), keepdim=True)
    pixels = ((pixels - grey) * contrast + grey) * brightness
    return (pixels.clamp(0, 1) - MEAN) / STD


class Augmented(Dataset[Clip]):
    """A data set whose clips change from epoch to epoch, by (seed, epoch, index) alone.

    A key is `epoch * len(self) + index`, which `EpochBatches` gives, so that neither workers nor a resumed run matter.

    Args:
        dataset: Data set of clips.
        augment: Augmentations.
        seed: Seed of the choices.
    """

    def __init__(self, dataset: Any, augment: Augment, seed: int = 0) -> None:
        self.dataset, self.augment, self.seed = dataset, augment, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int) -> Clip:
        index = key % len(self)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + key) % 2**63)
        foreign = None
        if self.augment.offscreen:
            foreign = self.dataset[int(torch.randint(len(self), (), generator=generator))]
        return self.augment(self.dataset[index], generator, foreign)
