"""Cut out what sounds: on black, on transparency, or with the rest dimmed or blurred."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageFilter

__all__ = ["blur", "cutout", "dim", "grey_matte", "matte", "transparent"]

FEATHER = 240  # pixels of the picture's shorter side for one of the edge's softness
DIMMED = 0.25  # brightness of the rest
BLUR = 28  # pixels of the picture's shorter side for one of the blur's radius


def matte(
    labels: UInt8[np.ndarray, "H W"] | Bool[np.ndarray, "H W"], feather: float | None = None
) -> Float32[np.ndarray, "H W 1"]:
    """Soft mask, 0 to 1.

    Args:
        labels: Mask or classes; 0 where nothing sounds.
        feather: Radius of the softness in pixels, 0 for a hard edge; by the size of the picture if None.
    """
    hard = Image.fromarray((labels > 0).astype(np.uint8) * 255)
    radius = max(0.5, min(labels.shape) / FEATHER) if feather is None else feather
    return np.asarray(hard.filter(ImageFilter.GaussianBlur(radius)), np.float32)[..., None] / 255


def grey_matte(_: np.ndarray, labels: np.ndarray, feather: float | None = None) -> UInt8[np.ndarray, "H W 1"]:
    """The mask as a grey picture, white where something sounds, by default with a hard edge."""
    return (matte(labels, feather or 0.0) * 255).round().astype(np.uint8)


def cutout(
    image: UInt8[np.ndarray, "H W 3"], labels: np.ndarray, feather: float | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Show what sounds on black."""
    return (image * matte(labels, feather)).round().astype(np.uint8)


def transparent(
    image: UInt8[np.ndarray, "H W 3"], labels: np.ndarray, feather: float | None = None
) -> UInt8[np.ndarray, "H W 4"]:
    """Show what sounds on transparency: straight colours (not multiplied by alpha), black where alpha is 0."""
    alpha = (matte(labels, feather) * 255).round().astype(np.uint8)
    return np.concatenate([np.where(alpha > 0, image, 0).astype(np.uint8), alpha], axis=2)


def dim(
    image: UInt8[np.ndarray, "H W 3"], labels: np.ndarray, feather: float | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Show the rest grey and dark."""
    grey = image.mean(2, keepdims=True) * DIMMED
    return _mixed(image, np.broadcast_to(grey, image.shape), labels, feather)


def blur(
    image: UInt8[np.ndarray, "H W 3"], labels: np.ndarray, feather: float | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Show the rest out of focus."""
    radius = max(2.0, min(labels.shape) / BLUR)
    return _mixed(image, np.asarray(Image.fromarray(image).filter(ImageFilter.BoxBlur(radius))), labels, feather)


def _mixed(
    image: np.ndarray, rest: np.ndarray, labels: np.ndarray, feather: float | None
) -> UInt8[np.ndarray, "H W 3"]:
    share = matte(labels, feather)
    return (image * share + rest * (1 - share)).round().astype(np.uint8)
