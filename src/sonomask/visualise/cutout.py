"""Cut out what sounds: on black, on transparency, or with the rest dimmed or blurred."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

from sonomask.structures import opacity

__all__ = ["blur", "cutout", "dim", "grey_matte", "transparent"]

DIMMED = 0.25  # brightness of the rest
BLUR = 28  # pixels of the picture's shorter side for one of the blur's radius


def grey_matte(_: np.ndarray, labels: np.ndarray, feather: float | None = None) -> UInt8[np.ndarray, "H W 1"]:
    """The mask as a grey picture, white where something sounds, by default with a hard edge."""
    return opacity(labels, feather or 0.0)[..., None]


def cutout(
    image: UInt8[np.ndarray, "H W 3"], labels: np.ndarray, feather: float | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Show what sounds on black."""
    return _mixed(image, 0, labels, feather)


def transparent(
    image: UInt8[np.ndarray, "H W 3"], labels: np.ndarray, feather: float | None = None
) -> UInt8[np.ndarray, "H W 4"]:
    """Show what sounds on transparency: straight colours (not multiplied by alpha), black where alpha is 0."""
    alpha = opacity(labels, feather)[..., None]
    return np.concatenate([np.where(alpha > 0, image, 0).astype(np.uint8), alpha], axis=2)


def dim(
    image: UInt8[np.ndarray, "H W 3"], labels: np.ndarray, feather: float | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Show the rest grey and dark."""
    grey = image.mean(2, keepdims=True) * DIMMED
    return _mixed(image, grey, labels, feather)


def blur(
    image: UInt8[np.ndarray, "H W 3"], labels: np.ndarray, feather: float | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Show the rest out of focus."""
    radius = max(2.0, min(labels.shape) / BLUR)
    return _mixed(image, np.asarray(Image.fromarray(image).filter(ImageFilter.BoxBlur(radius))), labels, feather)


def _mixed(
    image: np.ndarray, rest: np.ndarray | int, labels: np.ndarray, feather: float | None
) -> UInt8[np.ndarray, "H W 3"]:
    share = opacity(labels, feather)[..., None].astype(np.float32) / 255
    return (image * share + rest * (1 - share)).round().astype(np.uint8)
