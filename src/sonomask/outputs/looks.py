"""Compare the appearance of things, and of shots, by small colour pictures."""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from sonomask.outputs.regions import Region

__all__ = ["distance", "is_cut", "looks_of", "may_be"]

ALIKE = 0.4  # distance of looks up to which a region may be a track of its place
CUT = 27.0  # mean change of hue, saturation and brightness from picture to picture: that of PySceneDetect's detector
CUT_LIKENESS = 0.6  # correlation of the two pictures' colours below which such a change is a cut and no motion
BINS = (8, 12, 12)  # of lightness and the two colours


def looks_of(
    region: Region, size: tuple[int, ...], colours: UInt8[np.ndarray, "h w 3"] | None
) -> Float32[np.ndarray, " bins"] | None:
    """Square roots of the shares of each lightness and colour within a region, smoothed."""
    if colours is None:
        return None
    view, own = [], []
    for i in range(2):  # the small picture's pixels whose centres lie in the box, and the mask's pixels there
        scale, low, high = colours.shape[i] / size[i], region.box[i], region.box[i + 2]
        first = min(math.ceil(low * scale - 0.5), colours.shape[i] - 1)
        last = max(math.ceil(high * scale - 0.5), first + 1)
        view.append(slice(first, last))
        own.append(np.clip((np.arange(first, last) + 0.5) / scale - low, 0, high - low - 1).astype(int))
    part = cv2.cvtColor(colours[view[0], view[1]], cv2.COLOR_RGB2LAB)
    inside = region.mask[np.ix_(*own)].astype(np.uint8)
    core = cv2.erode(inside, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    chosen = core if core.any() else inside if inside.any() else np.ones_like(inside)  # edges show what is behind too
    found = []
    for channel, bins in enumerate(BINS):
        span = [0, 256] if channel == 0 else [64, 192]
        counts = cv2.calcHist([part], [channel], np.asarray(chosen), [bins], span).ravel()
        smooth = np.convolve(counts, (0.25, 0.5, 0.25), "same")
        found.append(np.sqrt(smooth / max(smooth.sum(), 1e-6)))
    return np.concatenate(found).astype(np.float32)


def distance(a: Float32[np.ndarray, " bins"], b: Float32[np.ndarray, " bins"]) -> float:
    """Hellinger's, 0 to 1, root mean square over the histograms."""
    return float(np.sqrt(np.square(a - b).sum() / (2 * len(BINS))))


def may_be(a: Float32[np.ndarray, " bins"] | None, b: Float32[np.ndarray, " bins"] | None) -> bool:
    """Whether two appearances may belong to the same thing."""
    return a is None or b is None or distance(a, b) < ALIKE


def is_cut(before: UInt8[np.ndarray, "h w 3"], now: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether two small pictures are of different shots.

    Source: PySceneDetect's content detector: the mean change of hue, saturation and brightness; and the colours of the
    whole, which motion leaves as they are.
    """
    if before.shape != now.shape:
        return True
    one, two = (cv2.cvtColor(picture, cv2.COLOR_RGB2HSV) for picture in (before, now))
    if cv2.absdiff(one, two).mean() < CUT:
        return False
    shares = [cv2.calcHist([p], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256]).ravel() for p in (one, two)]
    return float(cv2.compareHist(shares[0], shares[1], cv2.HISTCMP_CORREL)) < CUT_LIKENESS
