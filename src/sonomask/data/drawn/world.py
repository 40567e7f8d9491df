"""A synthetic world of moving things that sound, made from seeds: nothing to download, every truth known.

What is labelled follows from what can be perceived: a scene never holds a kind twice, so its timbre points at one
thing at most, and a thing that is only heard labels nothing. Which things sound is drawn independently of the
picture, so that in a scene of several kinds no model can know it without listening.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int8, UInt8
from torch.utils.data import Dataset

from sonomask.audio.logmel import SAMPLE_RATE, examples, fit
from sonomask.batches import Clip
from sonomask.data.drawn.picture import KINDS, Thing, background, paint
from sonomask.data.drawn.sound import gate, timbre

__all__ = ["FRAME", "KINDS", "RULES", "Kind", "Rules", "Scene", "Split", "SyntheticScenes", "scene"]

Kind = Literal["single", "multi", "semantic"]
Split = Literal["train", "val", "test"]

FRAME = 15 / 16  # AVSBench's point in each second
HUM = 0.001  # root mean square of the noise that every recording has
LOUD = 0.05  # … of the background noise of some scenes


@dataclass(frozen=True)
class Rules:
    """Rules by which scenes are drawn; numbers are probabilities unless stated otherwise.

    Attributes:
        visible: Least and greatest number of visible things, each of another kind.
        changes: Probability that the set of sounding things is drawn again when a second begins.
        silence: Probability that a set is empty.
        together: Probability that a set has two things (if two are visible) instead of one.
        offscreen: Probability that a kind which isn't visible sounds too, in about half of the seconds.
        noise: Probability of loud background noise throughout the scene.
        lookalikes: Probability that the first two things are of kinds that look similar, in one colour.
    """

    visible: tuple[int, int] = (2, 3)
    changes: float = 0.35
    silence: float = 0.12
    together: float = 0.3
    offscreen: float = 0.12
    noise: float = 0.15
    lookalikes: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what no scene can be drawn from."""
        if not 1 <= self.visible[0] <= self.visible[1] < len(KINDS):
            raise ValueError(f"`visible`: expected 1 <= least <= greatest < {len(KINDS)}, got {self.visible}.")
        for name in ("changes", "silence", "together", "offscreen", "noise", "lookalikes"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}`: expected a probability, 0 to 1, got {getattr(self, name)}.")


RULES: dict[Kind, Rules] = {
    "single": Rules(visible=(1, 2), changes=0, silence=0, together=0, offscreen=0, lookalikes=0),
    "multi": Rules(),
    "semantic": Rules(visible=(1, 3)),
}
"""Of S4 (one thing that sounds throughout, at times a silent one beside it), MS3 and AVSS."""


@dataclass(frozen=True)
class Scene:
    """A few seconds of the world, at any frame rate.

    Attributes:
        entropy: Seed of its textures and noises.
        size: Height and width in pixels.
        things: Back to front; those that are only heard come last.
        sounding: Things that sound in each second.
        noise: Root mean square of the background noise.
    """

    entropy: tuple[int, ...]
    size: tuple[int, int]
    things: tuple[Thing, ...]
    sounding: Bool[np.ndarray, "T M"]
    noise: float = HUM

    @property
    def seconds(self) -> int:
        """Length in seconds."""
        return len(self.sounding)

    @property
    def category(self) -> str:
        """The kind of the first visible thing that sounds, or "" when none does."""
        heard = (t for t, seconds in zip(self.things, self.sounding.T, strict=True) if t.visible and seconds.any())
        return next((KINDS[t.kind] for t in heard), "")

    @cached_property
    def _background(self) -> Float32[np.ndarray, "H W 3"]:
        return background(self.size, np.random.default_rng([*self.entropy, 1]))

    def frame(
        self, time: float
    ) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"]]:
        """Render the picture at a time.

        Args:
            time: Time in seconds; beyond either end the first or last second's things sound.

        Returns:
            The RGB picture; the mask, 1 where something that sounds is seen; the classes, 1 + kind there and else 0.
        """
        picture, owner = self._painted(time)
        heard = self._heard(time)
        classes = np.array([*(h * (1 + t.kind) for h, t in zip(heard, self.things, strict=True)), 0], dtype=np.uint8)
        labels = classes[owner]  # owner -1 reads the last entry, background
        return (picture * 255 + 0.5).astype(np.uint8), (labels > 0).astype(np.uint8), labels

    def instances(self, time: float) -> UInt8[np.ndarray, "H W"]:
        """1 + the place in `things` of what is seen and sounds at a time, else 0."""
        _, owner = self._painted(time)
        numbers = np.array([*((i + 1) * h for i, h in enumerate(self._heard(time))), 0], dtype=np.uint8)
        return numbers[owner]

    def _painted(self, time: float) -> tuple[Float32[np.ndarray, "H W 3"], Int8[np.ndarray, "H W"]]:
        """The picture, 0 to 1, and which thing is seen at each place, -1 for none."""
        picture, owner = self._background.copy(), np.full(self.size, -1, dtype=np.int8)
        for index, thing in enumerate(self.things):
            if thing.visible:
                paint(picture, owner, index, thing, time)
        return picture, owner

    def _heard(self, time: float) -> Bool[np.ndarray, " M"]:
        return self.sounding[min(max(int(time), 0), self.seconds - 1)]

    def waveform(self) -> Float32[np.ndarray, " S"]:
        """Render the sound, 16 kHz, -1 to 1."""
        samples = self.seconds * SAMPLE_RATE
        rng = np.random.default_rng([*self.entropy, 2])
        total = self.noise * rng.standard_normal(samples, dtype=np.float32)
        for thing, seconds in zip(self.things, self.sounding.T, strict=True):
            if seconds.any():
                total += thing.gain * gate(seconds) * timbre(KINDS[thing.kind], thing.pitch, samples, rng)
        peak = float(np.abs(total).max())
        return np.asarray(total / max(peak, 1.0), dtype=np.float32)


def _thing(kind: int, home: tuple[float, float], rng: np.random.Generator) -> Thing:
    return Thing(
        kind=kind,
        hue=(kind / len(KINDS) + rng.uniform(-0.15, 0.15)) % 1,
        radius=rng.uniform(0.11, 0.19),
        home=home,
        swing=(rng.uniform(0.04, 0.16), rng.uniform(0.04, 0.16)),
        pace=(rng.uniform(0.05, 0.25), rng.uniform(0.05, 0.25)),
        phase=(rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi)),
        angle=rng.uniform(-0.5, 0.5),
        spin=rng.uniform(-0.3, 0.3),
        pitch=2 ** rng.uniform(-0.25, 0.25),
        gain=10 ** rng.uniform(-0.25, 0.25),
    )


def _homes(count: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Places apart from one another, so that occlusion passes."""
    best = rng.uniform(0.22, 0.78, (12, count, 2))
    gaps = np.linalg.norm(best[:, :, None] - best[:, None], axis=-1) + 9 * np.eye(count)
    return [(float(x), float(y)) for x, y in best[gaps.min(axis=(1, 2)).argmax()]]


def _things(rules: Rules, rng: np.random.Generator) -> tuple[Thing, ...]:
    count = int(rng.integers(rules.visible[0], rules.visible[1] + 1))
    kinds = [int(k) for k in rng.permutation(len(KINDS))]
    alike = count > 1 and rng.random() < rules.lookalikes
    if alike:  # kinds 2i and 2i + 1 look similar
        kinds.remove(kinds[0] ^ 1)
        kinds.insert(1, kinds[0] ^ 1)
    things = [_thing(k, home, rng) for k, home in zip(kinds, _homes(count, rng), strict=False)]
    if alike:
        things[1] = replace(things[1], hue=things[0].hue, radius=things[0].radius)
    if rng.random() < rules.offscreen:
        things.append(replace(_thing(kinds[count], (0.5, 0.5), rng), visible=False))
    front_last = [int(i) for i in rng.permutation(count)]  # so that look-alikes aren't always the rearmost
    return tuple(things[i] for i in front_last) + tuple(things[count:])


def _sounding(things: Sequence[Thing], seconds: int, rules: Rules, rng: np.random.Generator) -> Bool[np.ndarray, "T M"]:
    """Draw which thing sounds when, independently of how anything looks."""
    visible = sum(t.visible for t in things)
    sounding = np.zeros((seconds, len(things)), dtype=bool)
    for second in range(seconds):
        if second and rng.random() >= rules.changes:
            sounding[second, :visible] = sounding[second - 1, :visible]
        elif rng.random() >= rules.silence:
            count = 2 if visible > 1 and rng.random() < rules.together else 1
            sounding[second, rng.permutation(visible)[:count]] = True
        sounding[second, visible:] = rng.random(len(things) - visible) < 0.5
    return sounding


def scene(
    seed: int | Sequence[int], *, size: tuple[int, int] = (224, 224), seconds: int = 5, rules: Rules | None = None
) -> Scene:
    """Draw a scene; the same arguments give the same scene anywhere.

    Args:
        seed: One number, or several, from 0.
        size: Height and width in pixels, 16 or more; it changes no thing's place, only its pixels.
        seconds: Length, 1 or more.
        rules: Rules to draw by; those of "multi" if None.

    Raises:
        ValueError: Size or length is out of range.
    """
    if min(size) < 16 or seconds < 1:
        raise ValueError(f"A scene: expected sides of 16 or more and at least 1 second, got {size} and {seconds}.")
    rules = rules or RULES["multi"]
    entropy = (seed,) if isinstance(seed, int) else tuple(seed)
    rng = np.random.default_rng([*entropy, 0])
    things = _things(rules, rng)
    sounding = _sounding(things, seconds, rules, rng)
    noise = LOUD * rng.uniform(0.4, 1.0) if rng.random() < rules.noise else HUM
    return Scene(entropy, size, things, sounding, noise)


class SyntheticScenes(Dataset[Clip]):
    """Clips of the synthetic world in the form of AVSBench's subsets, made on demand.

    Clip `i` depends only on the seed, the kind, the split and `i`.

    Args:
        count: Number of clips.
        seed: Seed of the whole set.
        size: Height and width in pixels.
        seconds: Frames in a clip (T).
        kind: "single" is like S4, where only the first frame of a training clip is labelled; "multi" like MS3;
            "semantic" like AVSS: masks hold 1 + the index into `KINDS`.
        split: Splits share no scene.
        mean: Per RGB channel, subtracted from images in 0..1.
        std: Per RGB channel, divides the difference.
        rules: Rules to draw by; those of the kind if None.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        size: tuple[int, int] = (224, 224),
        seconds: int = 5,
        kind: Kind = "multi",
        split: Split = "train",
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        rules: Rules | None = None,
    ) -> None:
        if count < 1 or kind not in RULES or split not in ("train", "val", "test"):
            raise ValueError(
                f"Synthetic scenes: expected a count of 1 or more, a kind of {sorted(RULES)} and a split of train, val "
                f"or test, got {count}, {kind!r} and {split!r}."
            )
        self.count, self.seed, self.size, self.seconds = count, seed, size, seconds
        self.kind, self.split, self.rules = kind, split, rules or RULES[kind]
        self._mean, self._std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def __len__(self) -> int:
        return self.count

    def scene(self, index: int) -> Scene:
        """The scene of a clip."""
        if not 0 <= index < self.count:
            raise IndexError(f"Clip {index} of {self.count}.")
        entropy = (self.seed, *(zlib.crc32(word.encode()) for word in (self.kind, self.split)), index)
        return scene(entropy, size=self.size, seconds=self.seconds, rules=self.rules)

    def __getitem__(self, index: int) -> Clip:
        made = self.scene(index)
        frames = [made.frame(second + FRAME) for second in range(self.seconds)]
        images = torch.from_numpy(np.stack([f[0] for f in frames])).permute(0, 3, 1, 2).float() / 255
        masks = torch.from_numpy(np.stack([f[2 if self.kind == "semantic" else 1] for f in frames])).long()
        labelled = torch.ones(self.seconds, dtype=torch.bool)
        if self.kind == "single" and self.split == "train":
            labelled[1:], masks[1:] = False, 0
        return Clip(
            images=(images - self._mean) / self._std,
            logmel=fit(examples(torch.from_numpy(made.waveform())), self.seconds, "repeat"),
            masks=masks,
            labelled=labelled,
            valid=torch.ones(self.seconds, dtype=torch.bool),
            name=f"{self.split}_{index:05d}",
            category=made.category if self.kind == "single" else "",
        )
