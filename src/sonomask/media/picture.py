"""A decoded picture that is kept in its decoded form and converted on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from jaxtyping import UInt8

from sonomask.media.colour import Colours, colours_of, to_stored
from sonomask.media.motion import grey

__all__ = ["Picture", "Yuv", "halved", "planes_of_rgb"]

Matrix: TypeAlias = Literal["bt601", "bt709", "bt2020"]

MATRICES: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
"""Matrix coefficients of ITU-T H.273 that are drawn with."""


@dataclass(frozen=True)
class Yuv:
    """A picture's own planes.

    Attributes:
        planes: Y at full size, U and V at half of it each way, rounded up.
        colours: Colour properties of the planes.
    """

    planes: tuple[UInt8[np.ndarray, "_h _w"], ...]
    colours: Colours

    @property
    def matrix(self) -> Matrix:
        """From RGB to Y, U and V."""
        return MATRICES[self.colours.matrix]


@dataclass(frozen=True)
class Picture:
    """A picture of a video at a moment.

    Attributes:
        time: Seconds.
        frame: Frame as it was decoded.
        convert: Function from a frame and a size to RGB as displayed.
        colours: Colours of the video that is written with it; None if the frame is displayed turned or stretched.
    """

    time: float
    frame: Any
    convert: Callable[[Any, tuple[int, int] | None], UInt8[np.ndarray, "H W 3"]]
    colours: Colours | None = None

    def image(self, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "H W 3"]:
        """RGB as displayed, at (height, width) if given."""
        return self.convert(self.frame, size)

    def grey(self, size: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
        """Brightness as displayed, at (height, width): about that of `motion.grey` of the picture at this size."""
        yuv = self.yuv()
        if yuv is None:
            return grey(self.image(size))
        small = cv2.resize(halved(yuv.planes[0], size), size[::-1], interpolation=cv2.INTER_AREA)
        return small if yuv.colours.full else cv2.convertScaleAbs(small, alpha=255 / 219, beta=-16 * 255 / 219)

    def yuv(self) -> Yuv | None:
        """The picture's own planes without a copy; None where they are not 8-bit 4:2:0, or not what is displayed."""
        if self.colours is None or self.frame.format.name not in ("yuv420p", "yuvj420p"):
            return None
        own = colours_of(self.frame)
        if own != self.colours or own.convertible or own.matrix not in MATRICES:
            return None
        return Yuv(_planes(self.frame), own)


def planes_of_rgb(image: UInt8[np.ndarray, "H W 3"], colours: Colours) -> tuple[UInt8[np.ndarray, "_h _w"], ...]:
    """Y, U and V of a picture of even size."""
    return _planes(to_stored(image, "yuv420p", colours))


def halved(plane: UInt8[np.ndarray, "_h _w"], size: tuple[int, int]) -> UInt8[np.ndarray, "_h2 _w2"]:
    """A plane scaled down by a power of two, by which OpenCV does that quickly, to no less than a size."""
    height, width = plane.shape
    while height % 2 == 0 and width % 2 == 0 and height >= 2 * size[0] and width >= 2 * size[1]:
        height, width = height // 2, width // 2
    if height == plane.shape[0]:
        return plane
    small: UInt8[np.ndarray, "_h2 _w2"] = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    return small


def _planes(frame: Any) -> tuple[UInt8[np.ndarray, "_h _w"], ...]:
    """Views of a frame's own memory, without the bytes that fill up its lines."""
    found = []
    for plane in frame.planes:
        lines = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
        found.append(lines[:, : plane.width])
    return tuple(found)
