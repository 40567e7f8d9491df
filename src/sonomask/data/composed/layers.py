"""A composed scene: real cut-outs that move over a real ground while recordings sound; how it looks and how it is heard."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageFilter

from sonomask.audio.logmel import SAMPLE_RATE
from sonomask.data.composed.library import LibraryPicture, Recording, read_picture, read_recording
from sonomask.data.drawn.picture import background
from sonomask.data.drawn.sound import gate

__all__ = ["Actor", "Box", "CompositeScene", "Ground", "Voice"]

Box: TypeAlias = tuple[float, float, float, float]
Voice: TypeAlias = tuple[Recording, int, float, float, tuple[bool, ...]]


@dataclass(frozen=True)
class Actor:
    """An object of a scene and how it moves. Lengths are in parts of the scene's height and width.

    Attributes:
        picture: Picture that contains the object.
        height: Height of the object.
        squeeze: Its width is that of the picture's object times this.
        home: Position of its centre at the middle of the scene, across and down.
        drift: Distance that its home position moves per second.
        swing: Greatest distance from there, across and down.
        pace: Swings a second.
        phase: Phase of the swings, in radians.
        growth: Relative change of its height a second.
        angle: Angle in degrees.
        spin: Degrees a second.
        flipped: Mirrored.
        light: Factor and offset of its brightness.
        match: Degree to which its mean colour is moved to that of the background, 0 to 1.
        feather: Blur of its edge in pixels.
        blur: Blur of the object itself in pixels.
    """

    picture: LibraryPicture
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
    """The background behind the objects.

    Attributes:
        pictures: Frames that follow one another, a second apart; none for a drawn texture.
        boxes: Visible part at the beginning and the end: left, top, right, bottom as fractions of the picture.
        flipped: Mirrored.
        light: Factor and offset of the brightness.
        owned: Their object is the first object of the scene.
    """

    pictures: tuple[LibraryPicture, ...]
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
        sounding: Objects that sound in each second.
        voices: Sounds: a recording, its first sample, speed, root mean square, and the seconds in which it plays.
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
        """Length in seconds."""
        return len(self.sounding)

    @property
    def category(self) -> str:
        """Category of the first object that sounds, or ""."""
        return next((c for c, s in zip(self.objects, self.sounding.T, strict=True) if s.any()), "")

    def layers(self, time: float) -> tuple[UInt8[np.ndarray, "H W 3"], np.ndarray]:
        """Render the picture at a time, and the index of the object at each pixel (-1 for none)."""
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
        """Render a moment: the RGB picture, the mask of sounding pixels, and their classes."""
        picture, owner = self.layers(time)
        labels = self.labels(owner, self.sounding[min(max(int(time), 0), self.seconds - 1)])
        return picture, (labels > 0).astype(np.uint8), labels

    def labels(self, owner: np.ndarray, chosen: Bool[np.ndarray, " M"]) -> UInt8[np.ndarray, "H W"]:
        """Classes of the pixels of the chosen objects, 0 elsewhere."""
        return np.array([*(c * bool(s) for c, s in zip(self.classes, chosen, strict=True)), 0], dtype=np.uint8)[owner]

    def waveform(self) -> Float32[np.ndarray, " S"]:
        """Render the sound, 16 kHz, -1 to 1."""
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
    if not mask.any():  # a sequence whose object is out of sight: nothing to be seen here either
        return Image.new("RGBA", (4, 4))
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
