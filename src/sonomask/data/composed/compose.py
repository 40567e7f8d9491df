"""Composed scenes: real cut-outs that move over real backgrounds while real recordings sound, every label exact.

A scene is drawn in this order: what is seen (objects of different categories, unless told), what sounds in which second
(drawn independently of how anything looks), which recordings are heard. An object is labelled in the seconds in which a
recording of its own plays. Beside these play sounds that belong to nothing that is seen.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool
from torch.utils.data import Dataset

from sonomask.audio.logmel import OFFSET, PATCH_FRAMES, examples_at
from sonomask.batches import Clip
from sonomask.data.composed.layers import Actor, Box, CompositeScene, Ground, Voice
from sonomask.data.composed.library import Library, LibraryPicture, Recording, Split
from sonomask.errors import DatasetError

__all__ = ["CompositeRules", "CompositeScenes", "compose", "tree_scene"]

FAR = 40.0  # decibels between full scale and the quietest sound that a scene holds


@dataclass(frozen=True)
class CompositeRules:
    """Rules by which scenes are composed; numbers are probabilities unless stated otherwise.

    Attributes:
        objects: Relative frequency of 0, 1, 2, 3 visible objects.
        whole: Probability that a real, uncomposed picture with its own object is the background.
        plain: Probability that a composed scene has a drawn texture as background instead of a picture.
        same: Probability that two objects are of one category, so that none can tell which of them sounds.
        changes: Probability that the set of sounding objects is drawn again when a second begins.
        silence: Probability that a set is empty.
        together: Probability that a set has two objects (if two can sound) instead of one.
        offscreen: Probability of a sound that belongs to nothing in sight.
        noise: Probability of background noise.
        loudness: Range of each sound's root mean square in decibels of full scale.
    """

    objects: tuple[float, ...] = (0.04, 0.5, 0.34, 0.12)
    whole: float = 0.45
    plain: float = 0.15
    same: float = 0.04
    changes: float = 0.35
    silence: float = 0.22
    together: float = 0.25
    offscreen: float = 0.3
    noise: float = 0.3
    loudness: tuple[float, float] = (-32.0, -14.0)

    def __post_init__(self) -> None:
        """Refuse what no scene can be drawn from."""
        if not 1 <= len(self.objects) <= 6 or min(self.objects) < 0 or not sum(self.objects) > 0:
            raise ValueError(f"`objects`: expected 1 to 6 relative frequencies, got {self.objects}.")
        for name in ("whole", "plain", "same", "changes", "silence", "together", "offscreen", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}`: expected a probability, 0 to 1, got {getattr(self, name)}.")
        if not -FAR <= self.loudness[0] <= self.loudness[1] <= 0:
            raise ValueError(f"`loudness`: expected decibels from -{FAR:.0f} to 0, low to high, got {self.loudness}.")


def compose(
    library: Library,
    seed: int | Sequence[int],
    *,
    size: tuple[int, int] = (224, 224),
    seconds: int = 5,
    rules: CompositeRules | None = None,
) -> CompositeScene:
    """Draw a scene; the same arguments give the same scene anywhere.

    Args:
        library: Pictures and sounds to compose.
        seed: One number, or several, from 0.
        size: Height and width in pixels, 16 or more.
        seconds: Length, 1 or more.
        rules: Rules to draw by.

    Raises:
        ValueError: Size or length is out of range.
    """
    if min(size) < 16 or seconds < 1:
        raise ValueError(f"A scene: expected sides of 16 or more and at least 1 second, got {size} and {seconds}.")
    rules = rules or CompositeRules()
    entropy = (seed,) if isinstance(seed, int) else tuple(seed)
    rng = np.random.default_rng([*entropy, 0])
    ground, pictures = _cast(library, rules, seconds, rng)
    actors = tuple(_actor(p, rng) for p in pictures[ground.owned :])
    objects = tuple(p.category for p in pictures)
    index = {c: i + 1 for i, c in enumerate(library.categories)}
    sounding = _sounding(library, objects, seconds, rules, rng)
    level = 10 ** (rng.uniform(-50, -22) / 20) if rng.random() < rules.noise else 10 ** (rng.uniform(-80, -55) / 20)
    return CompositeScene(
        entropy=entropy, size=size, ground=ground, actors=actors, objects=objects,
        classes=tuple(index[c] for c in objects), sounding=sounding,
        voices=_voices(library, objects, sounding, rules, rng), noise=(float(level), float(rng.choice([0, 1, 1, 2]))),
    )  # fmt: skip


def _cast(
    library: Library, rules: CompositeRules, seconds: int, rng: np.random.Generator
) -> tuple[Ground, list[LibraryPicture]]:
    """The ground and what is seen."""
    shares = np.array(rules.objects, dtype=float)
    count = int(rng.choice(len(shares), p=shares / shares.sum()))
    chosen = [_draw(library, rng) for _ in range(count)]
    for i in range(1, count):
        others = {p.category for p in chosen[:i]}
        while (chosen[i].category in others) != (rng.random() < rules.same) and len(library.matches) > count:
            chosen[i] = _draw(library, rng)
    owned = count > 0 and rng.random() < rules.whole
    if owned:
        pictures = _follow(library, chosen[0], seconds)
        chosen[0] = pictures[0]
    elif library.backgrounds and rng.random() >= rules.plain:
        pictures = (library.backgrounds[int(rng.integers(len(library.backgrounds)))],)
    else:
        pictures = ()
    light = (rng.uniform(0.75, 1.25), rng.uniform(-20, 20))
    ground = Ground(pictures, _boxes(owned, rng), bool(rng.random() < 0.5), light, bool(owned))
    return ground, chosen


@lru_cache(maxsize=8)
def _by_category(pictures: tuple[LibraryPicture, ...]) -> dict[str, list[LibraryPicture]]:
    found: dict[str, list[LibraryPicture]] = {}
    for picture in pictures:
        found.setdefault(picture.category, []).append(picture)
    return found


def _draw(library: Library, rng: np.random.Generator) -> LibraryPicture:
    """A category by the root of its number of pictures, so that rare ones are seen and large ones not worn out."""
    found = _by_category(library.pictures)
    weights = np.sqrt([len(p) for p in found.values()]) * [1.0 if library.matches.get(c) else 0.5 for c in found]
    pictures = list(found.values())[int(rng.choice(len(found), p=weights / weights.sum()))]
    return pictures[int(rng.integers(len(pictures)))]


def _follow(library: Library, picture: LibraryPicture, seconds: int) -> tuple[LibraryPicture, ...]:
    """The pictures of a sequence (GROUP_00042.jpg …, as DAVIS has them) from this one on, as if a second apart."""
    stem = picture.image.stem.rpartition("_")
    if not (len(stem[2]) == 5 and stem[2].isdigit()) or stem[0] != picture.group.split("/")[-1]:
        return (picture,)
    group = [p for p in _by_category(library.pictures)[picture.category] if p.group == picture.group]
    group.sort(key=lambda p: p.image.name)
    first = min(group.index(picture), max(0, len(group) - seconds))
    return tuple(group[first : first + seconds])


def _boxes(owned: bool, rng: np.random.Generator) -> tuple[Box, Box]:
    """A slow move of the camera; less is cut off where the picture's own object must stay in sight."""

    def one(centre: np.ndarray, sides: np.ndarray) -> Box:
        low = np.clip(centre - sides / 2, 0, 1 - sides)
        return (float(low[0]), float(low[1]), float(low[0] + sides[0]), float(low[1] + sides[1]))

    sides = rng.uniform(0.7 if owned else 0.5, 1.0, 2)
    centre = rng.uniform(0.35, 0.65, 2)
    return one(centre, sides), one(centre + rng.uniform(-0.1, 0.1, 2), np.clip(sides * rng.uniform(0.9, 1.1), 0.4, 1))


def _actor(picture: LibraryPicture, rng: np.random.Generator) -> Actor:
    height = float(rng.uniform(0.28, 0.95) if rng.random() < 0.75 else rng.uniform(0.15, 0.4))
    return Actor(
        picture=picture,
        height=height,
        squeeze=float(rng.uniform(0.6, 1.1)),  # videos are wide and models' pictures square
        home=(float(rng.uniform(0.15, 0.85)), float(min(rng.uniform(0.3, 0.8), 1.15 - height / 2))),
        drift=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.01))),
        swing=(float(rng.uniform(0, 0.08)), float(rng.uniform(0, 0.04))),
        pace=(float(rng.uniform(0.05, 0.4)), float(rng.uniform(0.05, 0.4))),
        phase=(float(rng.uniform(0, 6.28)), float(rng.uniform(0, 6.28))),
        growth=float(rng.normal(0, 0.03)),
        angle=float(rng.normal(0, 6)),
        spin=float(rng.normal(0, 2)),
        flipped=bool(rng.random() < 0.5),
        light=(float(rng.uniform(0.7, 1.3)), float(rng.uniform(-25, 25))),
        match=float(rng.uniform(0, 0.5)),
        feather=float(rng.uniform(0.2, 1.2)),
        blur=float(rng.choice([0.0, 0.0, rng.uniform(0, 1.2)])),
    )


def _sounding(
    library: Library, objects: Sequence[str], seconds: int, rules: CompositeRules, rng: np.random.Generator
) -> Bool[np.ndarray, "T M"]:
    able = np.array([i for i, c in enumerate(objects) if _by_sound(library.recordings, library.matches.get(c, ()))])
    sounding = np.zeros((seconds, len(objects)), dtype=bool)
    for second in range(seconds):
        if second and rng.random() >= rules.changes:
            sounding[second] = sounding[second - 1]
        elif len(able) and rng.random() >= rules.silence:
            count = 2 if len(able) > 1 and rng.random() < rules.together else 1
            sounding[second, rng.permutation(able)[:count]] = True
    return sounding


@lru_cache(maxsize=256)
def _by_sound(recordings: tuple[Recording, ...], categories: tuple[str, ...]) -> tuple[Recording, ...]:
    return tuple(r for r in recordings if r.category in categories)


def _voices(
    library: Library, objects: Sequence[str], sounding: np.ndarray, rules: CompositeRules, rng: np.random.Generator
) -> tuple[Voice, ...]:
    def voice(recordings: Sequence[Recording], low: float, high: float, seconds: np.ndarray) -> Voice:
        recording = recordings[int(rng.integers(len(recordings)))]
        loudness = 10 ** (rng.uniform(low, high) / 20)
        return (
            recording,
            int(rng.integers(1 << 20)),
            float(rng.uniform(0.9, 1.1)),
            float(loudness),
            tuple(map(bool, seconds)),
        )

    found = [
        voice(_one_kind(library, library.matches[c], rng), *rules.loudness, s)
        for c, s in zip(objects, sounding.T, strict=True)
        if s.any()
    ]
    if rng.random() < rules.offscreen:
        seen = {s for c in objects for s in library.matches.get(c, ())}
        foreign = tuple(sorted({r.category for r in library.recordings} - seen))
        on = rng.random(len(sounding)) < 0.75
        if foreign and on.any():
            quieter = 6 * bool(found)
            found.append(
                voice(_one_kind(library, foreign, rng), rules.loudness[0] - 6, rules.loudness[1] - quieter, on)
            )
    return tuple(found)


def _one_kind(library: Library, categories: tuple[str, ...], rng: np.random.Generator) -> tuple[Recording, ...]:
    """The recordings of one of several categories of sound, each as likely as the others."""
    present = sorted({r.category for r in _by_sound(library.recordings, categories)})
    return _by_sound(library.recordings, (present[int(rng.integers(len(present)))],))


@lru_cache(maxsize=4)
def _library(images: str, sounds: str, split: Split) -> Library:
    return Library.read(images, sounds).split(split)


def tree_scene(
    tables: tuple[str, str], kind: Literal["single", "multi"], split: Split, seed: int, index: int, size: int
) -> CompositeScene:
    """A scene of a tree on disk: "multi" by the rules, "single" with one thing that sounds throughout, as in S4.

    Args:
        tables: Paths of `images.csv` and `sounds.csv`.
        kind: Setting.
        split: Split whose groups are taken.
        seed: Seed of the tree.
        index: Index of the clip.
        size: Side in pixels.

    Raises:
        DatasetError: The tables can't be used, or nothing in this split sounds.
    """
    library = _library(*tables, split)
    rules = CompositeRules() if kind == "multi" else CompositeRules(objects=(0, 1), silence=0, changes=0, offscreen=0.1)
    for attempt in range(200):
        made = compose(
            library, (seed, zlib.crc32(f"{kind}/{split}".encode()), index, attempt), size=(size, size), rules=rules
        )
        if kind == "multi" or (made.category and made.frame(0.5)[1].any()):
            return made
    raise DatasetError(f"{tables[0]}: nothing in the split {split} can be heard and seen. Add pictures and sounds.")


class CompositeScenes(Dataset[Clip]):
    """Clips of composed scenes, made on demand; clip `i` depends only on the arguments and `i`.

    Args:
        library: Library of the split that is wanted.
        count: Number of clips.
        seed: Seed of the whole set.
        size: Height and width in pixels.
        seconds: Frames in a clip (T), each in the middle of its second.
        truth: "sounding" for the mask of what sounds; "sounding classes" and "classes" for 1 + index in
            `library.categories` of what sounds, or of all that is seen (and no sound: `logmel` is that of silence).
        rules: Rules to draw by.
        mean: Per RGB channel, subtracted from images in 0..1.
        std: Per RGB channel, divides the difference.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        library: Library,
        count: int,
        *,
        seed: int = 0,
        size: tuple[int, int] = (224, 224),
        seconds: int = 5,
        truth: Literal["sounding", "sounding classes", "classes"] = "sounding",
        rules: CompositeRules | None = None,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
    ) -> None:
        if count < 1 or truth not in ("sounding", "sounding classes", "classes"):
            raise ValueError(f"Composed scenes: expected a count of 1 or more and a truth, got {count} and {truth!r}.")
        self.library, self.count, self.seed, self.size, self.seconds = library, count, seed, size, seconds
        self.truth, self.rules = truth, rules or CompositeRules()
        self._mean, self._std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def __len__(self) -> int:
        return self.count

    def scene(self, index: int) -> CompositeScene:
        """The scene of a clip."""
        if not 0 <= index < self.count:
            raise IndexError(f"Clip {index} of {self.count}.")
        entropy = (self.seed, zlib.crc32(b"composite"), index)
        return compose(self.library, entropy, size=self.size, seconds=self.seconds, rules=self.rules)

    def __getitem__(self, index: int) -> Clip:
        made = self.scene(index)
        layers = [made.layers(second + 0.5) for second in range(self.seconds)]
        images = torch.from_numpy(np.stack([picture for picture, _ in layers])).permute(0, 3, 1, 2).float() / 255
        everything = np.ones(len(made.objects), dtype=bool)
        masks = np.stack([
            made.labels(owner, everything if self.truth == "classes" else heard)
            for (_, owner), heard in zip(layers, made.sounding, strict=True)
        ])  # fmt: skip
        truth = torch.from_numpy(masks).long()
        return Clip(
            images=(images - self._mean) / self._std,
            logmel=self._logmel(made),
            masks=(truth > 0).long() if self.truth == "sounding" else truth,
            labelled=torch.ones(self.seconds, dtype=torch.bool),
            valid=torch.ones(self.seconds, dtype=torch.bool),
            name=f"composed_{index:05d}",
            category=made.category,
        )

    def _logmel(self, made: CompositeScene) -> torch.Tensor:
        if self.truth == "classes":
            return torch.full((self.seconds, 1, PATCH_FRAMES, 64), math.log(OFFSET))
        times = [second + 0.5 for second in range(self.seconds)]
        return examples_at(torch.from_numpy(made.waveform()), times, align="centre")
