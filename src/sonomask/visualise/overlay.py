"""Masks on a picture: a fill and an outline.

The outline is a light line with a dark one around it, so that it shows on any picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw

from sonomask.visualise.style import GROUND, WHITE, class_colours, font

__all__ = ["captions", "layer", "overlay"]

OPACITY = 0.4  # of the fill: the thing below stays recognisable
SHADE = 0.65  # brightness of all that does not sound, so that the rest stands out for any eye
LINE = 140  # pixels of the picture's shorter side for one of the outline's width
_SHADED = (np.arange(256) * SHADE).astype(np.uint8)


def overlay(
    image: UInt8[np.ndarray, "H W 3"],
    labels: UInt8[np.ndarray, "H W"] | Bool[np.ndarray, "H W"],
    names: Sequence[str] = (),
) -> UInt8[np.ndarray, "H W 3"]:
    """A copy of the picture with what sounds filled and outlined, and the rest darker.

    Args:
        image: RGB.
        labels: A mask, or the class of each pixel, 0 where nothing sounds.
        names: Names of the classes, background first, written on the areas.

    Raises:
        ValueError: The sizes differ.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"`labels`: expected {image.shape[:2]} like the picture, got {labels.shape}.")
    result = _SHADED[image]
    labels = labels.astype(np.uint8, copy=False)
    rows, columns = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
    if not len(rows):
        return result
    width = max(1, round(min(labels.shape) / LINE))
    box = tuple(slice(max(0, i[0] - width), i[-1] + 1 + width) for i in (rows, columns))
    part, view = labels[box], result[box]
    inside, edge = part > 0, _edges(part, width)
    colours = class_colours(int(part.max()) + 1)
    mixed = image[box][inside] * (1 - OPACITY) + colours[part[inside]] * OPACITY
    view[inside] = mixed.astype(np.uint8)
    view[edge & inside] = (255 + colours[part[edge & inside]].astype(np.uint16)) // 2
    view[edge & ~inside] //= 6
    return _named(result, labels, names) if names else result


def layer(labels: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 4"]:
    """The fill and outline of `overlay` as an RGBA layer, transparent elsewhere."""
    edge = _edges(labels, max(1, round(min(labels.shape) / LINE)))
    inside = labels > 0
    table = np.zeros((int(labels.max(initial=0)) + 3, 4), np.uint8)
    table[1:-2, :3], table[1:-2, 3] = class_colours(len(table) - 2)[1:], round(255 * OPACITY)
    table[-2], table[-1] = (255, 255, 255, 255), (0, 0, 0, 210)
    return table[np.where(edge, np.where(inside, np.uint8(len(table) - 2), np.uint8(len(table) - 1)), labels)]


def captions(
    image: UInt8[np.ndarray, "H W 3"], boxes: Sequence[tuple[tuple[int, int, int, int], str]]
) -> UInt8[np.ndarray, "H W 3"]:
    """A copy of the picture with a small word above each box, or inside its upper edge where there is no room.

    Args:
        image: RGB.
        boxes: (top, left, bottom, right) in pixels, and the word.
    """
    canvas = Image.fromarray(image)
    size = max(10, min(image.shape[:2]) // 26)
    draw, letters = ImageDraw.Draw(canvas), font(size)
    for (top, left, _, _), word in boxes:
        left = max(2, min(left, image.shape[1] - round(draw.textlength(word, letters)) - 4))
        place = (left, top - size - 4 if top > size + 4 else top + 2)
        draw.text(place, word, WHITE, letters, stroke_width=2, stroke_fill=GROUND)
    return np.asarray(canvas)


def _edges(labels: np.ndarray, width: int) -> Bool[np.ndarray, "H W"]:
    """Pixels with another label within `width` rows or columns."""
    edge = np.zeros(labels.shape, bool)
    for shift in range(1, width + 1):
        down, right = labels[shift:] != labels[:-shift], labels[:, shift:] != labels[:, :-shift]
        edge[shift:] |= down
        edge[:-shift] |= down
        edge[:, shift:] |= right
        edge[:, :-shift] |= right
    return edge


def _named(image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    canvas = Image.fromarray(image)
    draw, letters = ImageDraw.Draw(canvas), font(max(10, min(labels.shape) // 22))
    areas = np.bincount(labels.ravel(), minlength=1)
    for label in (np.flatnonzero(areas[1:] > labels.size / 1000) + 1).tolist():
        rows, columns = np.nonzero(labels == label)
        name = names[label] if label < len(names) else str(label)
        place = (int(np.median(columns)), int(np.median(rows)))
        draw.text(place, name, WHITE, letters, anchor="mm", stroke_width=2, stroke_fill=GROUND)
    return np.asarray(canvas)
