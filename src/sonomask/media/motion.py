"""Estimate motion between two pictures, and carry maps along with it."""

from __future__ import annotations

from functools import cache
from threading import local

import cv2
import numpy as np
from jaxtyping import Float32, Shaped, UInt8

__all__ = ["carried", "grey", "motion", "unlike"]

SMALLEST = 16  # pixels of the shorter side, below which nothing is followed
NEIGHBOURS = 9  # pixels each way over which two pictures are compared

_own = local()  # a flow keeps pyramids between calls, so each thread has one


def grey(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
    """Brightness of an RGB picture."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def motion(now: UInt8[np.ndarray, "H W"], before: UInt8[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W 2"]:
    """Displacement of each pixel from one picture to another, in pixels to the right and down.

    The same on any number of threads.

    Source: Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016, by OpenCV.
    """
    if min(now.shape) < SMALLEST:
        return np.zeros((*now.shape, 2), np.float32)
    if not hasattr(_own, "flow"):
        _own.flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        _own.flow.setUseSpatialPropagation(False)  # it would make results depend on how rows are shared among threads
    found: Float32[np.ndarray, "H W 2"] = _own.flow.calc(now, before, None)
    return found


def carried(values: Shaped[np.ndarray, "H W"], moved: Float32[np.ndarray, "H W 2"]) -> Shaped[np.ndarray, "H W"]:
    """A map of one picture as it lies on another.

    Args:
        values: Values of the picture before; float32 or uint8.
        moved: Motion from `motion`.
    """
    places = np.ascontiguousarray(np.moveaxis(_places(*moved.shape[:2]) + moved, -1, 0))
    return cv2.remap(values, places[0], places[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def unlike(
    now: UInt8[np.ndarray, "H W"], before: UInt8[np.ndarray, "H W"], moved: Float32[np.ndarray, "H W 2"]
) -> UInt8[np.ndarray, "H W"]:
    """Difference of each neighbourhood from the place that the motion gives, 0 to 255 levels of brightness."""
    found: UInt8[np.ndarray, "H W"] = cv2.blur(cv2.absdiff(carried(before, moved), now), (NEIGHBOURS, NEIGHBOURS))
    return found


@cache
def _places(height: int, width: int) -> Float32[np.ndarray, "height width 2"]:
    """Column and row of each pixel."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
