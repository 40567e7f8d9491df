"""Clips with the maskige of each frame, read from files or made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from sonomask.batches import Clip
from sonomask.data.avsbench import AVSBench, Item, _resize
from sonomask.errors import DatasetError
from sonomask.inference.maskige import Maker, make
from sonomask.safe_reading.pictures import open_picture

__all__ = ["FOLDER", "MadeMaskige", "PreparedMaskige", "maskige_file", "with_maskige"]

FOLDER = "pre_SAM_mask"  # where COMBO's authors put them, beside the frames
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def with_maskige(dataset: Any, source: str, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> Any:
    """The same clips with their maskiges.

    Args:
        dataset: Data set of clips, normalised by `mean` and `std`.
        source: A folder with the files of COMBO's (or VCT's) authors, for AVSBench; else a maker (`inference.maskige`).
        mean: Per RGB channel.
        std: Per RGB channel.

    Raises:
        DatasetError: The folder has no picture for the first clip.
        ValueError: The source is neither, or the folder is not for this data set.
    """
    if not Path(source).is_dir():
        return MadeMaskige(dataset, source, mean, std)
    if not isinstance(dataset, AVSBench):
        raise ValueError(  # noqa: TRY004 - the word is wrong, not its type
            f"`maskige`: a folder goes with AVSBench only, got {source!r}. Name a maker, such as superpixels."
        )
    return PreparedMaskige(dataset, Path(source), mean, std)


class MadeMaskige(Dataset[Clip]):
    """Clips whose maskiges are made when they are read, in the process that reads them.

    Args:
        dataset: Data set of clips, normalised by `mean` and `std`.
        maker: A word for `sonomask.inference.maskige.make`.
        mean: Per RGB channel.
        std: Per RGB channel.
    """

    def __init__(self, dataset: Any, maker: str, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> None:
        self.dataset, self.word = dataset, maker
        self._make: Maker = make(maker)
        self.mean, self.std = (torch.tensor(v)[:, None, None] for v in (mean, std))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Clip:
        clip = self.dataset[index]
        pixels = ((clip.images * self.std + self.mean) * 255).round().clamp(0, 255).byte()
        made = self._make(pixels.movedim(1, -1).numpy())
        return replace(clip, maskige=_normal(made, self.mean, self.std) * clip.valid[:, None, None, None])


class PreparedMaskige(Dataset[Clip]):
    """Clips of AVSBench whose maskiges lie in files: `<frame>_mask_color.png`, in folders like those of the frames.

    They are scaled to the size of the pictures by nearest neighbours.

    Args:
        dataset: AVSBench.
        root: The authors' folder `pre_SAM_mask`, or `…/AVSBench_semantic` in it.
        mean: Per RGB channel.
        std: Per RGB channel.

    Raises:
        DatasetError: There is no picture for the first clip.
    """

    def __init__(
        self, dataset: AVSBench, root: Path, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD
    ) -> None:
        self.dataset, self.root = dataset, root
        self.mean, self.std = (torch.tensor(v)[:, None, None] for v in (mean, std))
        first = maskige_file(dataset.items[0], root, 0)
        if not first.is_file():
            raise DatasetError(
                f"{root}: expected the authors' maskiges, such as {first.relative_to(root)}. Give the folder "
                f"{FOLDER} of {dataset.subset.name}, or a maker, such as superpixels."
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Clip:
        clip, item = self.dataset[index], self.dataset.items[index]
        crop = self.dataset.subset.name == "avss" and self.dataset.split == "train"
        maskige = torch.zeros_like(clip.images)
        for i in range(item.seconds):
            picture = open_picture(maskige_file(item, self.root, i), "RGB")
            picture = _resize(picture, self.dataset.size, Image.Resampling.NEAREST, crop=crop)
            maskige[i] = _normal(np.asarray(picture)[None], self.mean, self.std)[0]
        return replace(clip, maskige=maskige)


def maskige_file(item: Item, root: Path, index: int) -> Path:
    """The maskige of a second, from 0."""
    frame = item.frame(index)
    name = f"{frame.stem}_mask_color.png"
    if item.subset.name != "avss":
        return root / frame.relative_to(item.base / "visual_frames").with_name(name)
    places = [
        above / item.label / item.name / folder / name
        for above in (root, root / "AVSBench_semantic")
        for folder in ("processed_frames", "processed_frames_384", "frames")
    ]
    return next((place for place in places if place.is_file()), places[0])


def _normal(pixels: np.ndarray, mean: Tensor, std: Tensor) -> Float[Tensor, "N 3 H W"]:
    return (torch.from_numpy(pixels.copy()).movedim(-1, 1) / 255 - mean) / std
