"""AVSBench's log-mel files are pickles from the internet; this reader can make a tensor of them and nothing else.

A pickle is a program. Of all that it may call, three names are let through, and each stands for a function here: the
tensor's constructor, an empty dict of hooks, and the bytes of its storage, which go through `unpickle`.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from sonomask.errors import DatasetError
from sonomask.safe_reading.tensors import load_tensors

__all__ = ["read_logmel"]

LARGEST = 8 * 2**20  # bytes; the official files hold 5 or 10 patches, 0.25 MB
MOST_PATCHES = 64
MOST_MEMO = 10_000  # things that a pickle may remember; official files have about twenty
MOST_TUPLES = 1_000  # they have about ten; nested deep enough, they crash the interpreter


def read_logmel(path: str | Path) -> Float32[Tensor, "n 1 96 64"]:
    """The patches of an official `.pkl`.

    Raises:
        DatasetError: The file can't be read, wants to call anything but a tensor's constructor, or holds another shape.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise DatasetError(f"{path}: expected at most {LARGEST} bytes of log-mel, the file is larger. Delete it.")
        data = path.read_bytes()
        _check_words(data)
        value = _TensorsOnly(io.BytesIO(data)).load()
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise DatasetError(f"{path}: is no pickled tensor ({type(error).__name__}). Download it again.") from error
    shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if not isinstance(shape, tuple) or shape[1:] != (1, 96, 64) or len(shape) != 4 or shape[0] > MOST_PATCHES:
        raise DatasetError(f"{path}: expected log-mel patches (n, 1, 96, 64), got {shape}. Make it again from the wav.")
    return value.detach().float().contiguous()


def _check_words(data: bytes) -> None:
    """Look through the program before it runs: lengths that lie, a memo whose size is a number in the file, deep nests."""
    tuples = 0
    for word, argument, _ in pickletools.genops(data):
        tuples += "TUPLE" in word.name
        if tuples > MOST_TUPLES or ("PUT" in word.name and isinstance(argument, int) and argument > MOST_MEMO):
            raise DatasetError("wants more memory than a log-mel file needs. Do not use this file.")


class _TensorsOnly(pickle.Unpickler):
    """Knows three names."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch.storage", "_load_from_bytes"): _storage,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) not in known:
            raise DatasetError(
                f"asks for {f'{module}.{name}'[:100]}, which no log-mel file needs. Do not use this file."
            )
        return known[module, name]

    def persistent_load(self, _: Any) -> Any:
        raise DatasetError("asks for data outside of itself. Do not use this file.")


def _storage(data: bytes) -> Any:
    if not isinstance(data, bytes) or data.startswith(b"PK"):  # as an archive it could unpack to any size
        raise DatasetError("holds its numbers in a form that no log-mel file has. Do not use this file.")
    return load_tensors(io.BytesIO(data))


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    flat = torch.tensor([], dtype=storage.dtype).set_(storage)
    return torch.as_strided(flat, size, stride, offset)  # refuses what lies outside of the storage
