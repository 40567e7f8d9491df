"""COCO's segmentations from an untrusted file.

COCO's C code is given nothing that it does not check itself: far corners crash it, and run lengths that end early leave a
mask with whatever lay in memory.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

__all__ = ["decode_shape", "unpack_lengths"]

LONGEST_EDGES = 2**22  # pixels along all edges of a shape, for each of which some 50 bytes are taken
TOGETHER = 8  # polygons that are joined at once; one after the other would take time that grows with their square


def decode_shape(shape: Any, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """The mask of one object.

    Args:
        shape: Polygons (lists of x, y, x, y …), or a table of `size` [height, width] and `counts`, run lengths down the
            columns from zeros on, as numbers or packed as text.
        height: Height of the picture.
        width: Width of the picture.

    Raises:
        ValueError: It is none of these, or does not fit the picture.
    """
    if isinstance(shape, list):
        return _polygons([_corners(polygon, height, width) for polygon in shape], height, width)
    if not isinstance(shape, dict) or shape.get("size") != [height, width]:
        raise ValueError(f"expected polygons, or run lengths of a picture of {[height, width]}")
    counts = shape.get("counts")
    lengths = unpack_lengths(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(type(n) is int and n >= 0 for n in lengths):
        raise ValueError("expected run lengths that are whole numbers from 0 on")
    if sum(lengths) != height * width:
        raise ValueError(f"run lengths of {sum(lengths)} pixels, the picture has {height * width}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape((height, width), order="F")


def unpack_lengths(text: str) -> list[int]:
    """Run lengths from COCO's text: five bits a letter; from the third on, differences to the last but one.

    Raises:
        ValueError: A letter is none of the code, or the text ends inside of a number.
    """
    lengths: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("expected COCO's packed run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits >> 4 & 1) << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("packed run lengths that end inside of a number")
    return lengths


def _corners(polygon: Any, height: int, width: int) -> list[float]:
    fine = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
    if not fine or not all(type(n) in (int, float) and math.isfinite(n) for n in polygon):
        raise ValueError("expected polygons of at least three corners: x, y, x, y …")
    sides = (width, height)
    return [min(max(float(n), -1.0), sides[i % 2] + 1.0) for i, n in enumerate(polygon)]


def _polygons(polygons: Sequence[list[float]], height: int, width: int) -> Bool[np.ndarray, "H W"]:
    from pycocotools import mask as rle

    edges = sum(float(np.abs(np.diff(np.reshape([*p, *p[:2]], (-1, 2)), axis=0)).sum()) for p in polygons)
    if not polygons or edges > LONGEST_EDGES:
        raise ValueError("expected at least one polygon, and not millions of corners")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its arrays are not yet NumPy 2's
        shapes = rle.frPyObjects(list(polygons), height, width)
        while len(shapes) > 1:
            shapes = [rle.merge(shapes[i : i + TOGETHER]) for i in range(0, len(shapes), TOGETHER)]
        return np.asarray(rle.decode(shapes[0])) > 0
