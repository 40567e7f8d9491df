"""Composed scenes: real cut-outs that move over real backgrounds while real recordings sound, every label exact.

A scene is drawn in this order: what is seen (objects of different categories, unless told), what sounds in which second
(drawn with no regard to how anything looks), which recordings are heard. An object is labelled in the seconds in which a
recording of its own plays. Beside these play sounds that belong to nothing that is seen.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageFilter
from torch.utils.data import Dataset

from sonomask.audio.logmel import OFFSET, PATCH_FRAMES, SAMPLE_RATE, examples_at
from sonomask.data.library import Library, Picture, Recording, read_picture, read_recording
from sonomask.data.synthetic_picture import background
from sonomask.data.synthetic_sound import gate
from sonomask.structures import Clip

__all__ = ["Actor", "CompositeRules", "CompositeScene", "CompositeScenes", "compose"]

Box: TypeAlias = tuple[float, float, float, float]
Voice: TypeAlias = tuple[Recording, int, float, float, tuple[bool, ...]]

FAR = 40.0  # decibels between full scale and the quietest sound that a scene holds


@dataclass(frozen=True)
class CompositeRules:
    """What scenes are drawn from; probabilities unless told.

    Attributes:
        objects: Relative frequency of 0, 1, 2, 3 visible objects.
        whole: That a real picture with its own object, uncomposed, is the ground of the scene.
        plain: That a composed scene has a drawn texture as ground and not a background picture.
        same: That two objects are of one category, where none can tell which of them sounds.
        changes: That the set of sounding objects is drawn anew when a second begins.
        silence: That a set is empty.
        together: That a set is two objects (where two can sound) and not one.
        offscreen: That a sound plays that belongs to nothing seen.
        noise: That noise plays.
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


@dataclass(frozen=True)
class Actor:
    """An object of a scene and how it moves. Lengths are in parts of the scene's height and width.

    Attributes:
        picture: Whose object it is.
        height: Of the object.
        squeeze: Its width is that of the picture's object times this.
        home: Where its centre is at the middle of the scene, across and down.
        drift: How far its home moves a second.
        swing: Greatest distance from there, across and down.
        pace: Swings a second.
        phase: Of the swings, in radians.
        growth: Relative change of its height a second.
        angle: In degrees.
        spin: Degrees a second.
        flipped: Mirrored.
        light: Factor and offset of its brightness.
        match: How far its mean colour goes to that of the ground, 0 to 1.
        feather: Blur of its edge in pixels.
        blur: Blur of the object itself in pixels.
    """

    picture: Picture
    height: float
    squeeze: float
    home: tuple[float, float]
    drift: tuple[float, float]
    swing: tuple[float, float]
    pace: tuple[float, float]
    phase: tuple[float, float]
    growth: float
    angle: float
    spin: float
    flipped: bool
    light: tuple[float, float]
    match: float
    feather: float
    blur: float

    def place(self, time: float) -> tuple[float, float, float, float]:
        """Centre across and down, factor of its size, angle, `time` seconds from the middle of the scene."""
        x, y = (
            self.home[i] + self.drift[i] * time + self.swing[i] * math.sin(2 * math.pi * self.pace[i] * time + self.phase[i])
            for i in (0, 1)
        )  # fmt: skip
        return x, y, max(0.3, 1 + self.growth * time), self.angle + self.spin * time


@dataclass(frozen=True)
class Ground:
    """What lies behind the objects.

    Attributes:
        pictures: Frames that follow one another, a second apart; none for a drawn texture.
        boxes: What is seen of them at the beginning and the end: left, top, right, bottom in parts of a picture.
        flipped: Mirrored.
        light: Factor and offset of the brightness.
        owned: Their object is the first object of the scene.
    """

    pictures: tuple[Picture, ...]
    boxes: tuple[Box, Box]
    flipped: bool
    light: tuple[float, float]
    owned: bool


@dataclass(frozen=True)
class CompositeScene:
    """A few seconds of a composed world, at any frame rate; the interface is that of `synthetic.Scene`.

    Attributes:
        entropy: Seed of textures and noises.
        size: Height and width in pixels.
        ground: Behind everything.
        actors: Cut-outs, back to front.
        objects: Categories of all that is seen, the ground's own object first.
        classes: Class of each object, 1 or more.
        sounding: Which object sounds in which second.
        voices: What plays: a recording, its first sample, speed, root mean square, seconds in which it does.
        noise: Root mean square of the noise and the exponent of its colour (0 white, 1 pink, 2 brown).
    """

    entropy: tuple[int, ...]
    size: tuple[int, int]
    ground: Ground
    actors: tuple[Actor, ...]
    objects: tuple[str, ...]
    classes: tuple[int, ...]
    sounding: Bool[np.ndarray, "T M"]
    voices: tuple[Voice, ...]
    noise: tuple[float, float]

    @property
    def seconds(self) -> int:
        """How long it lasts."""
        return len(self.sounding)

    @property
    def category(self) -> str:
        """Of the first object that sounds, or ""."""
        return next((c for c, s in zip(self.objects, self.sounding.T, strict=True) if s.any()), "")

    def layers(self, time: float) -> tuple[UInt8[np.ndarray, "H W 3"], np.ndarray]:
        """What is seen at a time, and which object owns each pixel (-1 for none)."""
        picture, owner = self._ground_at(time)
        values = picture.astype(np.float32)
        for index, (actor, sprite) in enumerate(zip(self.actors, self._sprites, strict=True)):
            x, y, scale, angle = actor.place(time - self.seconds / 2)
            alpha_and_colour = _warp(sprite, self.size, (x, y), scale, angle)
            alpha = alpha_and_colour[..., 3:] / 255
            values += alpha * (alpha_and_colour[..., :3] - values)
            owner[alpha[..., 0] > 0.5] = index + self.ground.owned
        return (values + 0.5).astype(np.uint8), owner

    def frame(
        self, time: float
    ) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"]]:
        """What is seen at a time: the RGB picture, the mask of what sounds, and the classes of what sounds."""
        picture, owner = self.layers(time)
        labels = self.labels(owner, self.sounding[min(max(int(time), 0), self.seconds - 1)])
        return picture, (labels > 0).astype(np.uint8), labels

    def labels(self, owner: np.ndarray, chosen: Bool[np.ndarray, " M"]) -> UInt8[np.ndarray, "H W"]:
        """Classes of the pixels of the chosen objects, 0 elsewhere."""
        return np.array([*(c * bool(s) for c, s in zip(self.classes, chosen, strict=True)), 0], dtype=np.uint8)[owner]

    def waveform(self) -> Float32[np.ndarray, " S"]:
        """What is heard, at 16 kHz, -1 to 1."""
        samples = self.seconds * SAMPLE_RATE
        level, colour = self.noise
        total = level * _noise(samples, colour, np.random.default_rng([*self.entropy, 2]))
        for recording, start, speed, loudness, seconds in self.voices:
            track = read_recording(recording)
            steps = (start + np.arange(samples) * speed) % len(track)  # goes round until the scene is over
            total += loudness * gate(np.array(seconds)) * np.interp(steps, np.arange(len(track)), track)
        return np.asarray(np.clip(total, -1, 1), dtype=np.float32)

    @cached_property
    def _sprites(self) -> tuple[Image.Image, ...]:
        mean = self._ground_at(self.seconds / 2)[0].reshape(-1, 3).mean(0)
        return tuple(_sprite(actor, self.size[0], tuple(mean.tolist())) for actor in self.actors)

    @cached_property
    def _texture(self) -> UInt8[np.ndarray, "H W 3"]:
        texture = background(self.size, np.random.default_rng([*self.entropy, 1]))
        return np.asarray(texture * 255 + 0.5, dtype=np.uint8)

    def _ground_at(self, time: float) -> tuple[UInt8[np.ndarray, "H W 3"], np.ndarray]:
        ground = self.ground
        owner = np.full(self.size, -1, dtype=np.int8)
        if not ground.pictures:
            return self._texture.copy(), owner
        image, mask = read_picture(ground.pictures[min(max(int(time), 0), len(ground.pictures) - 1)])
        share = min(max(time / self.seconds, 0), 1)
        sides = np.tile([image.shape[1], image.shape[0]], 2)
        low, high = (np.array(box) * sides for box in ground.boxes)
        box = tuple(((1 - share) * low + share * high).tolist())
        size = (self.size[1], self.size[0])
        seen = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=box)
        picture = _lit(np.asarray(seen, dtype=np.float32), ground.light).astype(np.uint8)
        if ground.owned:
            owner[np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR, box=box)) > 127] = 0
        return (picture[:, ::-1], owner[:, ::-1].copy()) if ground.flipped else (picture, owner)


def _lit(colours: np.ndarray, light: tuple[float, float]) -> np.ndarray:
    return np.clip(colours * light[0] + light[1], 0, 255)


def _sprite(actor: Actor, height: int, ground: tuple[float, ...]) -> Image.Image:
    """The cut-out at the size at which it appears, RGB and opacity, on a margin that the feather needs."""
    image, mask = read_picture(actor.picture)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    colours, cover = image[part].astype(np.float32), mask[part]
    mean = colours[cover > 0].mean(0)
    colours = _lit(colours + actor.match * (np.array(ground) - mean), actor.light).astype(np.uint8)
    tall = max(4, round(actor.height * height))
    wide = max(4, round(tall * cover.shape[1] / cover.shape[0] * actor.squeeze))
    inner = [Image.fromarray(x).resize((wide, tall), Image.Resampling.BILINEAR) for x in (colours, cover)]
    if actor.flipped:
        inner = [x.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for x in inner]
    inner = [x.filter(ImageFilter.GaussianBlur(b)) for x, b in zip(inner, (actor.blur, actor.feather), strict=True)]
    sprite = inner[0].convert("RGBA")
    sprite.putalpha(inner[1])
    return sprite


def _warp(
    sprite: Image.Image, size: tuple[int, int], centre: tuple[float, float], scale: float, angle: float
) -> Float32[np.ndarray, "H W 4"]:
    """The sprite turned, scaled and moved onto an empty picture."""
    cos, sin = math.cos(math.radians(angle)) / scale, math.sin(math.radians(angle)) / scale
    x, y = centre[0] * size[1], centre[1] * size[0]
    half = (sprite.width / 2, sprite.height / 2)
    matrix = (cos, sin, half[0] - cos * x - sin * y, -sin, cos, half[1] + sin * x - cos * y)
    moved = sprite.transform((size[1], size[0]), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(moved, dtype=np.float32)


def _noise(samples: int, colour: float, rng: np.random.Generator) -> Float32[np.ndarray, " S"]:
    white = rng.standard_normal(samples)
    if colour:
        frequency = np.arange(samples // 2 + 1) + 8.0
        white = np.fft.irfft(np.fft.rfft(white) * frequency ** (-colour / 2), samples)
    return np.asarray(white / np.sqrt(np.square(white).mean()), dtype=np.float32)


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
        library: What to compose.
        seed: One number, or several, from 0.
        size: Height and width in pixels, 16 or more.
        seconds: Length, 1 or more.
        rules: What to draw from.

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
) -> tuple[Ground, list[Picture]]:
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
def _by_category(pictures: tuple[Picture, ...]) -> dict[str, list[Picture]]:
    found: dict[str, list[Picture]] = {}
    for picture in pictures:
        found.setdefault(picture.category, []).append(picture)
    return found


def _draw(library: Library, rng: np.random.Generator) -> Picture:
    """A category by the root of its number of pictures, so that rare ones are seen and large ones not worn out."""
    found = _by_category(library.pictures)
    weights = np.sqrt([len(p) for p in found.values()]) * [1.0 if library.matches.get(c) else 0.5 for c in found]
    pictures = list(found.values())[int(rng.choice(len(found), p=weights / weights.sum()))]
    return pictures[int(rng.integers(len(pictures)))]


def _follow(library: Library, picture: Picture, seconds: int) -> tuple[Picture, ...]:
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


def _actor(picture: Picture, rng: np.random.Generator) -> Actor:
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


class CompositeScenes(Dataset[Clip]):
    """Clips of composed scenes, made when asked for; clip `i` depends only on the arguments and `i`.

    Args:
        library: Of the split that is wanted.
        count: Number of clips.
        seed: Of the whole set.
        size: Height and width in pixels.
        seconds: Frames in a clip (T), each in the middle of its second.
        truth: "sounding" for the mask of what sounds; "sounding classes" and "classes" for 1 + index in
            `library.categories` of what sounds, or of all that is seen (and no sound: `logmel` is that of silence).
        rules: What to draw from.
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
