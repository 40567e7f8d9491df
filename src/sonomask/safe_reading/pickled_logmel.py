"""Reader of AVSBench's log-mel files, which are pickles from the internet: it can create a tensor and nothing else.

A pickle is a program. Of all that it may call, three names are let through, and each stands for a function here: the
tensor's constructor, an empty table of hooks, and the bytes of its storage, which go through `tensors`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxtyping import Float32
from torch import Tensor

from sonomask.errors import DatasetError
from sonomask.safe_reading.pickles import PickleError, run_pickle
from sonomask.safe_reading.tensors import load_storage, rebuild

__all__ = ["read_logmel"]

LARGEST = 8 * 2**20  # bytes; the official files hold 5 or 10 patches, 0.25 MB
MOST_PATCHES = 64


def read_logmel(path: str | Path) -> Float32[Tensor, "n 1 96 64"]:
    """The patches of an official `.pkl`.

    Raises:
        DatasetError: The file can't be read, wants to call anything but a tensor's constructor, or holds another shape.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise DatasetError(f"{path}: expected at most {LARGEST} bytes of log-mel, the file is larger. Delete it.")
        value = run_pickle(io.BytesIO(path.read_bytes()), _known())
    except DatasetError:
        raise
    except PickleError as error:
        raise DatasetError(f"{path}: {error}. Do not use this file.") from error
    except Exception as error:  # a damaged pickle can raise any error
        raise DatasetError(f"{path}: is no pickled tensor ({type(error).__name__}). Download it again.") from error
    shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if not isinstance(shape, tuple) or shape[1:] != (1, 96, 64) or len(shape) != 4 or shape[0] > MOST_PATCHES:
        raise DatasetError(f"{path}: expected log-mel patches (n, 1, 96, 64), got {shape}. Make it again from the wav.")
    return value.detach().float().contiguous()


def _known() -> dict[str, Callable[..., Any]]:
    read: list[Any] = []

    def numbers(data: Any) -> Any:
        if read or not isinstance(data, bytes):  # each call reads all of its bytes, and a program may call for ever
            raise PickleError("holds its numbers in a form that no log-mel file has")
        read.append(load_storage(data))
        return read[0]

    return {
        "torch._utils._rebuild_tensor_v2": rebuild,
        "torch.storage._load_from_bytes": numbers,
        "collections.OrderedDict": dict,
    }
