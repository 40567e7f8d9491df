"""Rotate, mirror and crop stored pictures for display.

Cameras store pictures as the sensor gives them and add a display matrix; selfie cameras mirror with it. The result here is
what FFmpeg's automatic rotation shows.

Source: FFmpeg, `libavutil/display.h` (layout of the matrix) and the automatic rotation of its tools.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

__all__ = ["UPRIGHT", "Orientation", "orientation_of"]

MATRIX = struct.Struct("<9i")
LEAST_TILT = 1.0  # degrees; less is an inexact quarter turn


@dataclass(frozen=True)
class Orientation:
    """Operations on a stored picture, in this order.

    Attributes:
        transpose: Rows become columns.
        flip_x: Left and right are swapped.
        flip_y: Top and bottom are swapped.
        tilt: Degrees clockwise by which the picture is then turned within its frame.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False
    tilt: float = 0.0

    @property
    def mirrored(self) -> bool:
        """Whether the stored picture is mirrored."""
        return self.transpose ^ self.flip_x ^ self.flip_y

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise of the turn, apart from the mirroring."""
        if self.transpose:
            return 90 if self.flip_y else 270
        return 180 if self.flip_y else 0

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width as shown of a stored picture of that size; it is its own inverse."""
        return (width, height) if self.transpose else (height, width)

    def apply(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H2 W2 3"]:
        """The picture as shown."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        image = image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        if self.tilt:
            return np.asarray(
                Image.fromarray(np.ascontiguousarray(image)).rotate(-self.tilt, Image.Resampling.BILINEAR)
            )
        return np.ascontiguousarray(image)


UPRIGHT = Orientation()


def orientation_of(frame: Any) -> Orientation:
    """The orientation that a decoded frame of PyAV asks for."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            raw = bytes(data)
            return from_matrix(MATRIX.unpack(raw[: MATRIX.size])) if len(raw) >= MATRIX.size else UPRIGHT
    return UPRIGHT


def from_matrix(matrix: tuple[int, ...]) -> Orientation:
    """The orientation of a display matrix: nine numbers, row by row.

    A point (x, y), with y downwards, goes to (m0·x + m3·y, m1·x + m4·y).
    """
    a, b, c, d = (float(matrix[i]) for i in (0, 1, 3, 4))
    if not any((a, b, c, d)):
        return UPRIGHT
    angle = math.degrees(math.atan2(b, a))
    off = (angle + 45) % 90 - 45
    if a * d - b * c > 0 and abs(off) > LEAST_TILT:
        return Orientation(tilt=angle)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(flip_x=a < 0, flip_y=d < 0)
    return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
