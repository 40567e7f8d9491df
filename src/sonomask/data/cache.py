"""A data set as a few memory-mapped arrays: a clip is read with one copy, and processes share the pages.

    clips.json   names, categories, size, format     images.npy    (N, T, 3, H, W) uint8
    flags.npy    (N, 2, T) labelled, valid            masks.npy     (N, T, H, W) uint8
    logmel.npy   (N, T, 1, 96, 64) float32           maskige.npy   like images, if the clips have any

Nothing is lost: pictures have 8 bits a channel before normalisation, and are brought back to them.
"""

from __future__ import annotations

import json
import tempfile
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sonomask.batches import Clip
from sonomask.errors import DatasetError

__all__ = ["CachedClips", "write_cache"]

FORMAT = 1
INDEX = "clips.json"
MEAN, STD = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def write_cache(dataset: Any, folder: str | Path, workers: int = 0) -> Path:
    """Write every clip of a data set, normalised as ImageNet's; the folder appears when it is whole.

    Args:
        dataset: Data set of clips.
        folder: Folder to make.
        workers: Processes that read them.

    Raises:
        DatasetError: The folder exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise DatasetError(f"{folder} exists. Delete it, or give another.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        fresh = Path(temporary, "new")
        fresh.mkdir()
        names, categories, arrays = [], [], {}
        for i, clip in enumerate(DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=_as_it_is)):
            values = {
                "images": _bytes(clip.images),
                "masks": clip.masks.byte(),
                "logmel": clip.logmel.float(),
                "flags": torch.stack([clip.labelled, clip.valid]),
            }
            if clip.maskige is not None:
                values["maskige"] = _bytes(clip.maskige)
            for name, value in values.items():
                if name not in arrays:
                    shape, kind = (len(dataset), *value.shape), value.numpy().dtype
                    arrays[name] = np.lib.format.open_memmap(fresh / f"{name}.npy", "w+", kind, shape)
                arrays[name][i] = value.numpy()
            names.append(clip.name)
            categories.append(clip.category)
        for array in arrays.values():
            array.flush()
        about = {"format": FORMAT, "names": names, "categories": categories}
        (fresh / INDEX).write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
        fresh.rename(folder)
    return folder


def _as_it_is(clip: Any) -> Any:
    return clip


def _bytes(images: Tensor) -> Tensor:
    return ((images * STD + MEAN) * 255).round().clamp(0, 255).byte()


class CachedClips(Dataset[Clip]):
    """The clips of a folder that `write_cache` wrote.

    Raises:
        DatasetError: It is no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        try:
            about = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            more = ("maskige",) if (folder / "maskige.npy").is_file() else ()
            names = ("images", "masks", "logmel", "flags", *more)
            arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in names}
        except (OSError, ValueError, tokenize.TokenError) as error:  # the last from NumPy, for a damaged head
            raise DatasetError(f"{folder}: is no cache of clips ({error}). Delete it; it is made again.") from error
        if about.get("format") != FORMAT or {len(a) for a in arrays.values()} != {len(about["names"])}:
            raise DatasetError(f"{folder}: expected a whole cache of format {FORMAT}. Delete it; it is made again.")
        self.arrays, self.names, self.categories = arrays, about["names"], about["categories"]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        images, masks, logmel, flags = (
            torch.from_numpy(self.arrays[name][index].copy()) for name in ("images", "masks", "logmel", "flags")
        )
        there = flags[1][:, None, None, None]
        images = torch.where(there, (images / 255 - MEAN) / STD, 0.0)  # padding is 0
        maskige = None
        if "maskige" in self.arrays:
            maskige = torch.where(
                there, (torch.from_numpy(self.arrays["maskige"][index].copy()) / 255 - MEAN) / STD, 0.0
            )
        return Clip(
            images, logmel, masks.long(), flags[0], flags[1], self.names[index], self.categories[index], maskige
        )  # fmt: skip
