"""The look of the synthetic world: backgrounds, and ten kinds of things that move over them.

A kind is a shape and a pattern; its hue only leans to one side, so that colour alone doesn't tell it. Kinds 0 and 1,
2 and 3, … look alike, the more so when they share their hue. A shape is a signed distance: below 0 inside, 1 = radius.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int8
from PIL import Image

__all__ = ["KINDS", "Thing", "background", "paint"]

Plane = Float32[np.ndarray, "_h _w"]


@dataclass(frozen=True)
class Thing:
    """A thing of the synthetic world: its kind, motion and sound.

    Attributes:
        kind: Index into `KINDS`.
        hue: Hue of its main colour, 0 to 1.
        radius: Fraction of the picture's short side.
        home: Middle of its path as a fraction of width and height.
        swing: Half the width and height of its path, likewise.
        pace: Swings a second in x and y.
        phase: Phase of the two swings, in radians.
        angle: Angle in radians at time 0.
        spin: Radians a second.
        pitch: Factor on the frequencies of its sound.
        gain: Factor on the amplitude of its sound.
        visible: False for a thing that is only heard.
    """

    kind: int
    hue: float
    radius: float
    home: tuple[float, float]
    swing: tuple[float, float]
    pace: tuple[float, float]
    phase: tuple[float, float]
    angle: float
    spin: float
    pitch: float
    gain: float
    visible: bool = True

    def centre(self, time: float) -> tuple[float, float]:
        """Position as a fraction of width and height."""
        x, y = (
            h + s * float(np.sin(2 * np.pi * p * time + f))
            for h, s, p, f in zip(self.home, self.swing, self.pace, self.phase, strict=True)
        )
        return x, y


class _Place(NamedTuple):
    """Points in a thing's own coordinates: rightwards, downwards, from its middle, clockwise from the top."""

    u: Plane
    v: Plane
    rho: Plane
    theta: Plane


Field = Callable[[_Place], Any]  # a value for each point


def _cross(at: _Place) -> Plane:
    u, v = np.abs(at.u), np.abs(at.v)
    return np.asarray(np.minimum(np.maximum(u - 0.32, v - 0.92), np.maximum(u - 0.92, v - 0.32)))


def _star(at: _Place) -> Plane:
    """Ten straight edges, folded onto one."""
    fold = np.abs((at.theta + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    return np.asarray(at.rho * (0.3945 * np.cos(fold) + 0.9189 * np.sin(fold)) - 0.3866)


def _gear(at: _Place) -> Plane:
    teeth = at.rho - 0.8 - 0.13 * np.clip(3 * np.cos(9 * at.theta), -1, 1)
    return np.asarray(np.maximum(teeth, 0.25 - at.rho))


def _drop(at: _Place) -> Plane:
    tip = np.maximum(0.877 * np.abs(at.u) - 0.48 * (at.v + 0.95), at.v)
    return np.asarray(np.minimum(np.hypot(at.u, at.v - 0.3) - 0.6, tip))


# Shape, and the pattern: how much of the second colour each point takes.
_LOOKS: dict[str, tuple[Field, Field]] = {
    "disc": (lambda at: at.rho - 0.85, lambda at: np.sin(9 * at.u) > 0),
    "ring": (lambda at: np.abs(at.rho - 0.66) - 0.24, lambda at: np.sin(6 * at.theta) > 0),
    "square": (
        lambda at: np.maximum(np.abs(at.u), np.abs(at.v)) - 0.74,
        lambda at: (np.sin(6.5 * at.u) > 0) ^ (np.sin(6.5 * at.v) > 0),
    ),
    "cross": (_cross, lambda at: np.cos(11 * at.u) + np.cos(11 * at.v) > 0.5),
    "triangle": (
        lambda at: np.maximum(at.v, 0.866 * np.abs(at.u) - 0.5 * at.v) - 0.5,
        lambda at: np.sin(14 * np.hypot(at.u, at.v - 0.1)) > 0,
    ),
    "star": (_star, lambda at: np.clip(1.1 - 1.5 * at.rho, 0, 1)),
    "flower": (lambda at: at.rho - 0.74 - 0.19 * np.cos(6 * at.theta), lambda at: at.rho < 0.36),
    "gear": (_gear, lambda at: at.rho > 0.58),
    "crescent": (
        lambda at: np.maximum(at.rho - 0.9, 0.7 - np.hypot(at.u - 0.45, at.v)),
        lambda at: np.sin(9 * (at.u + at.v)) > 0.3,
    ),
    "drop": (_drop, lambda at: np.clip(0.6 - 0.8 * at.v, 0, 1)),
}
KINDS = tuple(_LOOKS)
"""Names of the kinds; class 1 of a semantic mask is the first, 0 is background."""


def _colour(hue: float, saturation: float, value: float) -> Float32[np.ndarray, "3"]:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), dtype=np.float32)


def _clouds(size: tuple[int, int], cells: int, rng: np.random.Generator) -> Plane:
    """Smooth noise, 0 to 1, with about `cells` blobs a side."""
    grid = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    smooth = np.asarray(grid.resize(size[::-1], Image.Resampling.BICUBIC), dtype=np.float32)
    return np.asarray(np.clip(smooth, 0, 1))


def background(size: tuple[int, int], rng: np.random.Generator) -> Float32[np.ndarray, "H W 3"]:
    """A dull textured picture, 0 to 1: clouds, a gradient, stripes or tiles between two colours, with grain."""
    height, width = size
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    angle, waves = rng.uniform(0, 2 * np.pi), rng.uniform(3, 9)
    along = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    across = np.float32(np.cos(angle)) * y - np.float32(np.sin(angle)) * x
    style = rng.integers(4)
    if style == 0:
        blend = _clouds(size, int(rng.integers(3, 9)), rng)
    elif style == 1:
        blend = along / 2 + 0.5
    elif style == 2:
        blend = np.sin(2 * np.pi * waves * along) / 2 + 0.5
    else:
        blend = np.clip(4 * np.sin(np.pi * waves * along) * np.sin(np.pi * waves * across), -1, 1) / 2 + 0.5
    blend = 0.75 * blend + 0.25 * _clouds(size, 12, rng)
    hue, light = rng.random(), rng.uniform(0.3, 0.75)
    first = _colour(hue, rng.uniform(0.05, 0.35), light)
    second = _colour(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.05, 0.35), light + rng.uniform(0.1, 0.25))
    picture = first + blend[..., None] * (second - first)
    picture += rng.normal(0, 0.015, (height, width, 1)).astype(np.float32)
    return np.asarray(np.clip(picture, 0, 1), dtype=np.float32)


def _window(thing: Thing, time: float, size: tuple[int, int]) -> tuple[slice, slice, _Place, float]:
    """The pixels a thing may cover, their place in its own coordinates, and its radius in pixels."""
    height, width = size
    radius = thing.radius * min(size)
    x, y = thing.centre(time)
    x, y = x * width - 0.5, y * height - 0.5  # pixel 0 has its centre half a pixel from the edge
    rows = slice(max(0, int(y - radius)), max(0, min(height, int(y + radius) + 2)))
    columns = slice(max(0, int(x - radius)), max(0, min(width, int(x + radius) + 2)))
    dy = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(y)) / np.float32(radius)
    dx = (np.arange(columns.start, columns.stop, dtype=np.float32)[None] - np.float32(x)) / np.float32(radius)
    turn = thing.angle + thing.spin * time
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u, v = cosine * dx + sine * dy, cosine * dy - sine * dx
    return rows, columns, _Place(u, v, np.hypot(u, v), np.arctan2(u, -v)), radius


def paint(
    picture: Float32[np.ndarray, "H W 3"], owner: Int8[np.ndarray, "H W"], index: int, thing: Thing, time: float
) -> None:
    """Draw a thing over a picture, and its index into `owner` where it covers more than half of a pixel."""
    rows, columns, at, radius = _window(thing, time, owner.shape)
    shape, pattern = _LOOKS[KINDS[thing.kind]]
    depth = shape(at) * np.float32(radius)  # pixels to the outline, negative inside
    alpha = np.clip(0.5 - depth, 0, 1)[..., None]
    main, second = _colour(thing.hue, 0.85, 0.95), _colour(thing.hue + 0.08, 0.35, 1.0)
    colour = main + pattern(at)[..., None].astype(np.float32) * (second - main)
    outline = np.clip((depth + 0.07 * np.float32(radius) + 0.5), 0, 1)[..., None]
    colour = colour * (1 - 0.75 * outline)
    patch = picture[rows, columns]
    patch += alpha * (colour - patch)
    owner[rows, columns][alpha[..., 0] > 0.5] = index
