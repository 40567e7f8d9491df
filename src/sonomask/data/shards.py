"""A data set as WebDataset shards: a few large files that are read from front to back, here or from an object store.

    index.json          where each clip begins in which shard; written last, so that with it the set is whole
    shard-000000.tar    KEY.clip.json (name, category, labelled, valid), KEY.frames.png, KEY.masks.png, KEY.logmel.npy

The pictures of a clip are stacked vertically in one PNG. Storage is lossless, as in `cache`. Any reader of WebDataset can
read the shards. The reader here uses the index, so that the order of clips is known without reading them, and an interrupted
run can be continued in the middle of an epoch.
"""

from __future__ import annotations

import io
import json
import tarfile
import tokenize
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from sonomask.batches import Clip
from sonomask.data.cache import MEAN, STD
from sonomask.errors import DatasetError
from sonomask.safe_reading.pictures import decode_picture

__all__ = ["ShardedClips", "write_shards"]

FORMAT = 1
INDEX = "index.json"
LONGEST = 60  # seconds of a clip
MOST_PIXELS = 2**24  # of all frames of a clip together: ten at 1280×1280; each takes some 30 bytes on its way


def write_shards(
    dataset: Any, folder: str | Path, clips: int = 256, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write all clips of a data set as shards, normalised with ImageNet's statistics; an interrupted run is continued.

    Args:
        dataset: Data set of clips.
        folder: Folder to write; what is there of an earlier run of the same is kept.
        clips: Clips in a shard.
        progress: Function called after each shard with how many clips are done and how many there are.

    Raises:
        DatasetError: The folder holds a whole set already.
        ValueError: `clips` is not positive.
    """
    folder = Path(folder)
    if clips < 1:
        raise ValueError(f"`clips`: expected 1 or more, got {clips}.")
    if (folder / INDEX).exists():
        raise DatasetError(f"{folder} holds shards already. Delete it, or give another.")
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, first in enumerate(range(0, len(dataset), clips)):
        path, last = folder / f"shard-{number:06d}.tar", min(first + clips, len(dataset))
        if not path.exists():
            fresh = path.with_suffix(".part")
            with tarfile.open(fresh, "w", format=tarfile.USTAR_FORMAT) as archive:
                for index in range(first, last):
                    _add(archive, f"{index:08d}", dataset[index])
            fresh.replace(path)
        shards.append({"name": path.name, "clips": _spans(path)})
        if len(shards[-1]["clips"]) != last - first:
            raise DatasetError(f"{path}: expected {last - first} clips. It is of another run; delete it.")
        if progress is not None:
            progress(last, len(dataset))
    fresh = folder / f"{INDEX}.part"
    fresh.write_text(json.dumps({"format": FORMAT, "shards": shards}), encoding="utf-8")
    fresh.replace(folder / INDEX)
    return folder


def _add(archive: tarfile.TarFile, key: str, clip: Clip) -> None:
    pixels = ((clip.images * STD + MEAN) * 255).round().clamp(0, 255).byte().movedim(1, -1).flatten(0, 1).numpy()
    logmel = io.BytesIO()
    np.save(logmel, clip.logmel.float().numpy())
    about = {
        "name": clip.name, "category": clip.category, "labelled": clip.labelled.tolist(), "valid": clip.valid.tolist(),
    }  # fmt: skip
    parts = {
        "clip.json": json.dumps(about, ensure_ascii=False).encode(),
        "frames.png": _png(pixels),
        "masks.png": _png(clip.masks.byte().flatten(0, 1).numpy()),
        "logmel.npy": logmel.getvalue(),
    }
    for name, data in parts.items():
        entry = tarfile.TarInfo(f"{key}.{name}")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))


def _png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG", compress_level=3)
    return sink.getvalue()


def _spans(path: Path) -> list[tuple[int, int]]:
    """First byte and length of each clip in a shard."""
    starts: dict[str, int] = {}
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            starts.setdefault(member.name.partition(".")[0], member.offset)
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    places = [*starts.values(), end] if starts else []
    return [(a, b - a) for a, b in pairwise(places)]


class ShardedClips(Dataset[Clip]):
    """The clips of a folder that `write_shards` wrote.

    Args:
        folder: Path or address.
        cache: Folder for copies of shards that lie elsewhere; a shard is fetched when first needed, and shared by the
            processes of a machine.

    Raises:
        DatasetError: It is no such folder, or lies elsewhere and there is no `cache`.
    """

    def __init__(self, folder: str | Path, cache: str | Path | None = None) -> None:
        self.folder, self.cache = str(folder).rstrip("/"), None if cache is None else Path(cache)
        self.remote = "://" in self.folder
        if self.remote and cache is None:
            raise DatasetError(f"{folder}: lies elsewhere. Give a `cache` folder for copies of its shards.")
        try:
            with fsspec.open(f"{self.folder}/{INDEX}", "rb") as file:
                about = json.loads(file.read())
            if about["format"] != FORMAT:
                raise ValueError(f"format {about['format']}")
            self.shards = [(str(s["name"]), [(int(a), int(n)) for a, n in s["clips"]]) for s in about["shards"]]
        except Exception as error:  # each store has its own tree of errors
            raise DatasetError(
                f"{folder}: no shards that this program knows ({error}). See `prepare --shards`."
            ) from error
        if any(Path(name).name != name for name, _ in self.shards):
            raise DatasetError(f"{folder}: its {INDEX} names files outside the folder.")
        self.sizes = [len(clips) for _, clips in self.shards]
        self._ends = list(accumulate(self.sizes))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Clip:
        shard = bisect_right(self._ends, index)
        name, clips = self.shards[shard]
        start, length = clips[index - self._ends[shard]]  # counted from the shard's end
        path = self._here(name)
        try:
            with path.open("rb") as file:
                if not 0 <= start <= start + length <= path.stat().st_size:
                    raise ValueError("it would lie outside of its shard")
                file.seek(start)
                data = file.read(length)
            return _clip(data)
        except (OSError, ValueError, LookupError, TypeError, RuntimeError, DatasetError, tarfile.TarError) as error:
            raise DatasetError(f"{path}: clip {index} is damaged ({error}). Make or fetch the shard again.") from error

    def _here(self, name: str) -> Path:
        if not self.remote or self.cache is None:
            return Path(self.folder, name)
        target = self.cache / name
        if not target.exists():  # two processes may fetch the same; each renames a whole file
            self.cache.mkdir(parents=True, exist_ok=True)
            system, path = fsspec.core.url_to_fs(f"{self.folder}/{name}")
            fresh = target.with_suffix(f".{torch.initial_seed() & 0xFFFFFFFF:x}.{id(self):x}.part")
            system.get_file(path, str(fresh))
            fresh.replace(target)
        return target


def _clip(data: bytes) -> Clip:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        members = [m for m in archive if m.isreg()]
        if any(m.issparse() for m in members):  # whose holes take no room in the archive, but memory here
            raise ValueError("it holds a file with holes")
        parts = {m.name.partition(".")[2]: _content(archive, m) for m in members}
    about = json.loads(parts["clip.json"])
    valid = torch.tensor(about["valid"], dtype=torch.bool)
    if not 1 <= len(valid) <= LONGEST:
        raise ValueError(f"a clip of {len(valid)} seconds, expected 1 to {LONGEST}")
    pixels = _pixels(parts["frames.png"], "RGB").unflatten(0, (len(valid), -1)).movedim(-1, 1)
    images = torch.where(valid[:, None, None, None], (pixels / 255 - MEAN) / STD, 0.0)  # padding is 0
    logmel = torch.from_numpy(_array(parts["logmel.npy"]))
    masks = _pixels(parts["masks.png"], "L").unflatten(0, (len(valid), -1)).long()
    labelled = torch.tensor(about["labelled"], dtype=torch.bool)
    names = [about[key] for key in ("name", "category")]
    whole = images.shape[:1] == logmel.shape[:1] == masks.shape[:1] == labelled.shape == valid.shape
    if not whole or images.shape[2:] != masks.shape[1:] or not all(isinstance(name, str) for name in names):
        raise ValueError("its parts don't belong together")
    return Clip(images, logmel, masks, labelled, valid, *names)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _pixels(png: bytes, mode: str) -> torch.Tensor:
    return torch.from_numpy(np.array(decode_picture(png, "its picture", mode, pixels=MOST_PIXELS, formats=("PNG",))))


def _array(data: bytes) -> np.ndarray:
    """The log-mel patches; the head is looked at before memory is taken for what it says."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"its numbers have NumPy's format {version}, expected 1.0")
    try:
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
    except tokenize.TokenError as error:  # from NumPy's second try at a head that it can't read
        raise ValueError("its numbers have a head that can't be read") from error
    if kind != np.float32 or shape[1:] != (1, 96, 64) or shape[0] * 96 * 64 * 4 != len(data) - file.tell():
        raise ValueError(f"its log-mel has the shape {shape} of {kind}, expected (T, 1, 96, 64) of float32")
    file.seek(0)
    return np.asarray(np.load(file, allow_pickle=False))
