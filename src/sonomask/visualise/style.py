"""Colours and letters of all pictures.

The colours are those of Okabe and Ito, which stay apart for colour-blind eyes.
Source: Okabe & Ito, "Color universal design", 2008.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import UInt8
from PIL import ImageFont

__all__ = ["COLOURS", "class_colours", "clock", "font"]

COLOURS = np.array(
    [(230, 159, 0), (86, 180, 233), (204, 121, 167), (240, 228, 66), (0, 158, 115), (213, 94, 0), (0, 114, 178)],
    np.uint8,
)
GROUND, DIM, BRIGHT, WHITE = (16, 18, 22), (74, 82, 94), (174, 186, 200), (255, 255, 255)  # of pictures on black
PAPER, INK, GRID, SOUND, PEAK = (
    WHITE,
    (40, 44, 52),
    (225, 228, 232),
    (110, 118, 130),
    (200, 205, 212),
)  # of those on white


def class_colours(count: int) -> UInt8[np.ndarray, "{count} 3"]:
    """RGB of each class: black for the background, then seven colours in turn."""
    return np.concatenate([np.zeros((1, 3), np.uint8), COLOURS[np.arange(max(0, count - 1)) % len(COLOURS)]])[:count]


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that Pillow brings, `size` pixels high."""
    return ImageFont.load_default(size)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
