"""A frame's maskige: the second picture, coloured by region, that COMBO and VCT read beside the frame.

The authors' pictures come from Semantic-SAM. Any class-agnostic segmentation gives such a picture: every region has a colour of
ADE20K's palette, by its rank from the smallest up, and where two overlap the smaller is seen. Three makers:

    superpixels        regions of like colour (Felzenszwalb's graph, scikit-image): needs no weights, nor the net
    maskrcnn:FILE      objects of COCO: torchvision's Mask R-CNN with the weights that you name
    sam:FOLDER         whatever SAM or SAM 2 finds: a folder, or the name of a hub repository, for transformers
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from sonomask.errors import MissingExtraError, WeightsError
from sonomask.safe_reading.tensors import load_tensors

__all__ = ["MAKERS", "PALETTE", "Maker", "MaskRCNN", "Sam", "Superpixels", "make", "paint"]

_COLOURS = """
787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 ff0652 8fff8c
ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0 ffb806 0aff47
ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00
1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300
ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8
001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff
a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00
ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc
2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""
PALETTE: UInt8[np.ndarray, "150 3"] = np.frombuffer(bytes.fromhex(_COLOURS), np.uint8).reshape(150, 3)
"""Colours of ADE20K's classes; the first, grey, is for what belongs to no region."""

MOST = len(PALETTE) - 1
SCORE = 0.5  # of a detection, below which it is no region


@runtime_checkable
class Maker(Protocol):
    """Turns pictures into maskiges."""

    name: str

    def __call__(self, images: UInt8[np.ndarray, "N H W 3"]) -> UInt8[np.ndarray, "N H W 3"]:
        """The maskige of each picture."""
        ...


def paint(masks: Bool[np.ndarray, "M H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Regions in colours: the smallest gets colour 1 and lies on top, what none covers colour 0.

    Beyond the 149 smallest, colours come again from the first on.
    """
    order = masks.sum((1, 2)).argsort(kind="stable")
    index = np.zeros(masks.shape[1:], np.int64)
    for rank in range(len(order) - 1, -1, -1):
        index[masks[order[rank]]] = 1 + rank % MOST
    return PALETTE[index]


class Superpixels:
    """Regions of like colour, by Felzenszwalb's graph: as large as the picture is plain, and cheap.

    Args:
        scale: The larger, the larger the regions.
        smallest: Share of the picture below which a region joins its neighbour.

    Raises:
        MissingExtraError: scikit-image is not installed.

    Source: Felzenszwalb and Huttenlocher, "Efficient graph-based image segmentation", IJCV 2004.
    """

    name = "superpixels"

    def __init__(self, scale: float = 200, smallest: float = 0.005) -> None:
        try:
            from skimage.segmentation import felzenszwalb
        except ImportError as error:
            raise MissingExtraError("A maskige by superpixels", "maskige") from error
        self._segment: Callable[..., np.ndarray] = felzenszwalb
        self.scale, self.smallest = scale, smallest

    def __call__(self, images: UInt8[np.ndarray, "N H W 3"]) -> UInt8[np.ndarray, "N H W 3"]:
        """The maskige of each picture."""
        return np.stack([self._one(image) for image in images])

    def _one(self, image: np.ndarray) -> np.ndarray:
        smallest = max(1, round(self.smallest * image.shape[0] * image.shape[1]))
        labels = self._segment(image, scale=self.scale, sigma=0.8, min_size=smallest)
        return paint(labels == np.arange(labels.max() + 1)[:, None, None])


class MaskRCNN:
    """Objects that torchvision's Mask R-CNN finds, whatever their class.

    Args:
        weights: torchvision's file of `maskrcnn_resnet50_fpn` or `…_v2`, as its download gives it.
        device: Device to run on.

    Raises:
        WeightsError: It is no such file.
    """

    def __init__(self, weights: str | Path, device: str | torch.device = "cpu") -> None:
        from torchvision.models import detection

        try:
            tensors: dict[str, Tensor] = load_tensors(Path(weights))
            v2 = "backbone.fpn.inner_blocks.0.1.weight" in tensors
            build: Any = detection.maskrcnn_resnet50_fpn_v2 if v2 else detection.maskrcnn_resnet50_fpn
            self.model = build(weights=None, weights_backbone=None)
            self.model.load_state_dict(tensors)
        except Exception as error:  # torch has a dozen ways to say that a file is not what it should be
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(
                f"{weights}: expected torchvision's file of maskrcnn_resnet50_fpn or its v2 ({reason})."
            ) from error
        self.model.to(device).eval()
        self.device, self.name = device, f"maskrcnn {Path(weights).name}"

    @torch.inference_mode()
    def __call__(self, images: UInt8[np.ndarray, "N H W 3"]) -> UInt8[np.ndarray, "N H W 3"]:
        """The maskige of each picture."""
        pictures = torch.from_numpy(images).to(self.device).movedim(-1, 1).float() / 255
        made = []
        for picture in pictures:
            found = self.model([picture])[0]
            made.append(paint((found["masks"][found["scores"] > SCORE, 0] > 0.5).cpu().numpy()))
        return np.stack(made)


class Sam:
    """Whatever SAM or SAM 2 finds at a grid of points.

    Args:
        weights: Folder, or repository of the hub, of a SAM or SAM 2 in transformers' form; safetensors only.
        device: Device to run on.
        points: Points that go through the decoder together.

    Raises:
        MissingExtraError: transformers is not installed.
        WeightsError: There is no such model.
    """

    def __init__(self, weights: str | Path, device: str | torch.device = "cpu", points: int = 64) -> None:
        try:
            from transformers import pipeline
        except ImportError as error:
            raise MissingExtraError("A maskige by SAM", "sam") from error
        try:
            self._find: Any = pipeline(
                "mask-generation", model=str(weights), device=device, trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )  # fmt: skip
        except Exception as error:  # transformers' and the hub's own trees of errors
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(f"{weights}: expected a SAM or SAM 2 in transformers' form ({reason}).") from error
        self.points, self.name = points, f"sam {Path(weights).name}"

    def __call__(self, images: UInt8[np.ndarray, "N H W 3"]) -> UInt8[np.ndarray, "N H W 3"]:
        """The maskige of each picture."""
        from PIL import Image

        made = []
        for image in images:
            masks = self._find(Image.fromarray(image), points_per_batch=self.points)["masks"]
            stack = (
                np.stack([np.asarray(m, bool) for m in masks]) if len(masks) else np.zeros((0, *image.shape[:2]), bool)
            )
            made.append(paint(stack))
        return np.stack(made)


MAKERS: dict[str, Callable[..., Maker]] = {"superpixels": Superpixels, "maskrcnn": MaskRCNN, "sam": Sam}


def make(spec: str = "superpixels", device: str | torch.device = "cpu") -> Maker:
    """The maker that a word names: "superpixels", "maskrcnn:FILE" or "sam:FOLDER".

    Raises:
        ValueError: It is none of them.
        WeightsError: Its weights can't be read.
        MissingExtraError: It needs an extra.
    """
    name, _, weights = spec.partition(":")
    if name not in MAKERS or bool(weights) != (name != "superpixels"):
        raise ValueError(f"`maskige`: expected superpixels, maskrcnn:FILE or sam:FOLDER, got {spec!r}.")
    return MAKERS[name](weights, device) if weights else MAKERS[name]()
