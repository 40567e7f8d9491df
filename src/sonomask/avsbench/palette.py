"""The colours of the classes in semantic masks."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

__all__ = ["palette"]


def palette(classes: int = 71) -> UInt8[np.ndarray, "{classes} 3"]:
    """RGB of each class by the bit scheme of PASCAL VOC: black is class 0, the background.

    The three lowest bits of the index are the top bits of red, green and blue, the next three the bits below, …

    Args:
        classes: Number of classes with the background, 1 to 256.

    Raises:
        ValueError: `classes` is out of range.

    Source: PASCAL VOC development kit (`VOClabelcolormap`); AVSBench-semantic uses its first 71 colours.
    """
    if not 1 <= classes <= 256:
        raise ValueError(f"`classes`: expected 1 to 256, got {classes}.")
    index = np.arange(classes)
    colours = np.zeros((classes, 3), dtype=np.int64)
    for bit in range(8):
        triple = index >> (3 * bit)
        colours |= (np.stack([triple, triple >> 1, triple >> 2], axis=1) & 1) << (7 - bit)
    return colours.astype(np.uint8)
