"""The overlay drawn on a decoded frame's own planes: no way to RGB and back.

Y is at full size, U and V at half of it each way (4:2:0). All that is drawn is linear in the colours, so it can be said in Y,
U and V as well: darken by `SHADE` around black, mix with `OPACITY`, set a line. Only the box around the mask is drawn in; the
rest is one look-up for each plane. What depends on the mask alone is made once and serves every frame that shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from sonomask.visualise.overlay import LINE, OPACITY, SHADE
from sonomask.visualise.style import class_colours

__all__ = ["Marks", "PlaneColours", "Planes", "overlay_planes"]

Planes: TypeAlias = Sequence[UInt8[np.ndarray, "_h _w"]]

LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}  # of red and blue
DARK = 1 / 6  # brightness that is left under the dark line around a mask


@dataclass(frozen=True)
class PlaneColours:
    """The colour properties of a video.

    Attributes:
        matrix: Matrix from RGB to Y, U and V.
        full: Whether Y runs from 0 to 255, not from 16 to 235.
    """

    matrix: Literal["bt601", "bt709", "bt2020"] = "bt709"
    full: bool = False

    @property
    def black(self) -> int:
        """Y of black."""
        return 0 if self.full else 16

    def of(self, rgb: UInt8[np.ndarray, "3"]) -> tuple[float, float, float]:
        """Y, U and V of a colour."""
        red, green, blue = (float(value) / 255 for value in rgb)
        kr, kb = LUMA[self.matrix]
        y = kr * red + (1 - kr - kb) * green + kb * blue
        u, v = (blue - y) / (2 - 2 * kb), (red - y) / (2 - 2 * kr)
        luma, chroma = (255, 255) if self.full else (219, 224)
        return self.black + luma * y, 128 + chroma * u, 128 + chroma * v


class Marks:
    """Precomputed masks of an overlay's parts.

    Args:
        labels: A mask, or the class of each pixel, 0 where nothing sounds.
        colours: Colours of the video.
    """

    def __init__(self, labels: UInt8[np.ndarray, "H W"] | Bool[np.ndarray, "H W"], colours: PlaneColours) -> None:
        labels = labels.view(np.uint8) if labels.dtype == bool else labels
        self.size = labels.shape
        width = max(1, round(min(labels.shape) / LINE))
        self.boxes: tuple[tuple[slice, slice], ...] = ()
        x, y, across, down = cv2.boundingRect(labels)
        if not across:
            return
        top, left = (max(0, first - width) // 2 * 2 for first in (y, x))
        bottom, right = (min(n, last + width) for n, last in zip(labels.shape, (y + down, x + across), strict=True))
        bottom, right = min(labels.shape[0], bottom + bottom % 2), min(labels.shape[1], right + right % 2)
        part = np.ascontiguousarray(labels[top:bottom, left:right])
        half = slice(top // 2, (bottom + 1) // 2), slice(left // 2, (right + 1) // 2)
        self.boxes = ((slice(top, bottom), slice(left, right)), half, half)
        self.layers = _layers(part, width, colours)
        self.room = [np.empty_like(layers[0][0]) for layers in self.layers]


def _layers(
    part: UInt8[np.ndarray, "h w"], width: int, colours: PlaneColours
) -> list[list[tuple[np.ndarray, np.ndarray | int]]]:
    """For each plane (look-up table or value, where it is drawn as 0 and 255), in the order of drawing."""
    layers: list[list[tuple[np.ndarray, np.ndarray | int]]] = [[], [], []]

    def add(where: np.ndarray, tables: list[np.ndarray | int]) -> None:
        small = _halved(where)
        for plane, table in enumerate(tables):
            layers[plane].append((where if plane == 0 else small, table))

    most, inside = int(part.max()), cv2.threshold(part, 0, 255, cv2.THRESH_BINARY)[1]
    palette, values = class_colours(most + 1), np.arange(256)
    for label in (1,) if most == 1 else (np.flatnonzero(np.bincount(part.ravel())[1:]) + 1).tolist():
        own = inside if most == 1 else np.where(part == label, np.uint8(255), np.uint8(0))
        fill, light = palette[label], (255 + palette[label].astype(np.uint16)) // 2
        add(own, [_table(values * (1 - OPACITY) + OPACITY * value) for value in colours.of(fill)])
        inner = cv2.subtract(own, _shrunk(own, width))
        add(inner, [round(value) for value in colours.of(light.astype(np.uint8))])
    outer = cv2.subtract(_grown(inside, width), inside)
    black = (colours.black, 128, 128)
    add(outer, [_table(start + (values - start) * SHADE * DARK) for start in black])
    return layers


def _table(values: np.ndarray) -> UInt8[np.ndarray, "256"]:
    return np.asarray(values.round().clip(0, 255), np.uint8)


def _shrunk(mask: np.ndarray, width: int) -> np.ndarray:
    """Without the pixels that have another one within `width` in their row or column."""
    across, down = (cv2.erode(mask, np.ones(size, np.uint8)) for size in ((1, 2 * width + 1), (2 * width + 1, 1)))
    return cv2.min(across, down)


def _grown(mask: np.ndarray, width: int) -> np.ndarray:
    across, down = (cv2.dilate(mask, np.ones(size, np.uint8)) for size in ((1, 2 * width + 1), (2 * width + 1, 1)))
    return cv2.max(across, down)


def _halved(mask: np.ndarray) -> np.ndarray:
    """Reduce a mask to half its size: set where at least two of four pixels are."""
    height, width = mask.shape
    if height % 2 or width % 2:
        mask = cv2.copyMakeBorder(mask, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    small = cv2.resize(mask, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    return cv2.threshold(small, 127, 255, cv2.THRESH_BINARY)[1]


def overlay_planes(source: Planes, target: Planes, marks: Marks, colours: PlaneColours) -> None:
    """Write a frame with what sounds filled and outlined, and the rest darker, into other planes of the same size.

    Args:
        source: Y, U and V of the frame, which stays as it is.
        target: Y, U and V that are written.
        marks: Marks of the mask that the frame shows.
        colours: Colours of the video.

    Raises:
        ValueError: The sizes differ.
    """
    if source[0].shape != marks.size or target[0].shape != marks.size:
        raise ValueError(f"`marks`: expected a mask of {source[0].shape} like the picture, got {marks.size}.")
    for plane, (before, after, black) in enumerate(zip(source, target, (colours.black, 128, 128), strict=True)):
        shade = _table(black + (np.arange(256) - black) * SHADE)
        cv2.LUT(before, shade, dst=after)
        if not marks.boxes:
            continue
        box = marks.boxes[plane]
        part, view, drawn = before[box], after[box], marks.room[plane]
        for where, table in marks.layers[plane]:
            if isinstance(table, int):
                drawn.fill(table)
            else:
                cv2.LUT(part, table, dst=drawn)
            cv2.copyTo(drawn, where, view)
