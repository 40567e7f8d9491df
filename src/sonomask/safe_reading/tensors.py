"""Read files of `torch.save` without torch's own readers: tensors and plain values, in memory proportional to the file.

`torch.load(weights_only=True)` calls nothing but torch's constructors, but a small file can still harm its reader: it may ask
for `bytearray(n)` of any n; torch's archive reader finds a program under a name that others don't take for it (`DATA.PKL`); a
refused name is searched in time that grows with its square; tuples within one another crash the interpreter when hashed.

Here one parser reads the archive, `pickles` runs the program, and numbers come from the archive's entries as they are. A
tensor has no more numbers than its storage, and all tensors together take at most a few times the file's size.
"""

from __future__ import annotations

import io
import math
import mmap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sonomask.safe_reading.pickles import KEYS, Bystander, PickleError, Readable, run_pickle

__all__ = ["load_storage", "load_tensors", "rebuild"]

ARCHIVE = b"PK\x03\x04"  # by which torch tells its archives from its older files
MAGIC = 0x1950A86A20F9469CFC6C  # of an older file
LARGEST_PROGRAM = 2**28  # bytes
MOST_DIMENSIONS = 16
LONGEST_BYTES = 100
SHARED = 4  # times the file's size that all tensors take; those of tied layers share their numbers
DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip
BYSTANDERS = (
    "argparse.Namespace", "numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
)  # fmt: skip
"""What training scripts keep beside their tensors (options, scores, paths). None of it is made: a stand-in takes its place."""


class Storage(NamedTuple):
    """Numbers in a row, and what type they are said to have."""

    numbers: Tensor


def load_tensors(source: Path | io.BytesIO) -> Any:
    """Load a file of `torch.save`, on the CPU.

    Raises:
        Exception: Damaged or hostile files can raise any error, with a message of some hundred characters; the caller names
        the file.
    """
    if isinstance(source, io.BytesIO):
        return _load(source, len(source.getbuffer()))
    with source.open("rb") as file:
        return _load(file, source.stat().st_size)


def load_storage(data: bytes) -> Storage:
    """Load a storage written by `torch.save` in its older form, in which pickled tensors keep their numbers.

    Raises:
        ValueError: It is anything else.
    """
    value = _load_old(io.BytesIO(data), len(data))
    if not isinstance(value, Storage):
        raise PickleError(f"holds a {type(value).__name__} where numbers should be")
    return value


def _load(file: Any, size: int) -> Any:
    archive = file.read(len(ARCHIVE)) == ARCHIVE
    file.seek(0)
    if archive:
        return _load_archive(file, size)
    if isinstance(file, io.BytesIO):
        return _load_old(file, size)
    with mmap.mmap(
        file.fileno(), 0, access=mmap.ACCESS_READ
    ) as view:  # its `read` takes no memory for what is not there
        return _load_old(view, size)


def _load_archive(file: Any, size: int) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        whole = sum(entry.file_size for entry in archive.infolist())
        if whole > size + 2**20:  # a checkpoint's archive is not packed
            raise PickleError(f"unpacks to {whole} bytes")
        programs = [name for name in entries if name.endswith("/data.pkl")]
        if len(programs) != 1 or entries[programs[0]].file_size > LARGEST_PROGRAM:
            raise PickleError(
                f"holds {len(programs)} programs named data.pkl, expected one of at most {LARGEST_PROGRAM} bytes"
            )
        root = programs[0].removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in entries and entries[order].file_size < 100 and archive.read(order) != b"little":
            raise PickleError("holds numbers of another machine's byte order")

        def fetch(key: str, dtype: torch.dtype, count: int) -> Tensor:
            entry = entries[f"{root}data/{key}"]
            if entry.file_size < count * dtype.itemsize:
                raise PickleError(f"promises {count} numbers in {entry.file_size} bytes")
            data = bytearray(entry.file_size)
            with archive.open(entry) as part:
                if part.readinto(data) != len(data):  # type: ignore[attr-defined]
                    raise PickleError("is cut short")
            return _numbers(data, dtype, count)

        return _run(io.BytesIO(archive.read(programs[0])), fetch, size)


def _load_old(file: Any, size: int) -> Any:
    """A magic number, a protocol, a system, the program, the storages' keys, and their numbers one after the other.

    The program is run twice: on tensors without memory, to learn the types of the numbers that lie behind it, then on them.
    """
    if run_pickle(file, {}) != MAGIC:
        raise PickleError("is no file of torch.save")
    run_pickle(file, {})
    system = run_pickle(file, {})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleError("holds numbers of another machine's byte order")
    began = file.tell()
    wanted: dict[str, tuple[torch.dtype, int]] = {}

    def promise(key: str, dtype: torch.dtype, count: int) -> Tensor:
        if count * dtype.itemsize > size or wanted.setdefault(key, (dtype, count)) != (dtype, count):
            raise PickleError(f"promises {count} numbers in {size} bytes")
        return torch.empty(count, dtype=dtype, device="meta")

    _run(file, promise, size)
    keys = run_pickle(file, {})
    if not isinstance(keys, list) or len(keys) > size or not all(isinstance(key, str) for key in keys):
        raise PickleError("does not say which numbers it holds")
    found: dict[str, Tensor] = {}
    for key in keys:
        dtype, count = wanted[key]
        if int.from_bytes(file.read(8), "little") != count:
            raise PickleError("holds other numbers than its program says")
        data = bytearray(file.read(count * dtype.itemsize))
        if len(data) != count * dtype.itemsize:
            raise PickleError("is cut short")
        found[key] = _numbers(data, dtype, count)
    file.seek(began)
    return _run(file, lambda key, *_: found[key], size)


def _numbers(data: bytearray, dtype: torch.dtype, count: int) -> Tensor:
    if not count:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype, count=count)


def _run(file: Readable, fetch: Callable[[str, torch.dtype, int], Tensor], size: int) -> Any:
    """Run the program of a file with so many bytes, whose numbers `fetch` gives."""
    storages: dict[str, Storage] = {}
    taken = 0

    def refer(what: Any) -> Storage:
        if (
            not isinstance(what, tuple)
            or len(what) not in (5, 6)
            or what[0] != "storage"
            or what[5:] not in ((), (None,))
        ):
            raise PickleError("refers to something that is no row of numbers")
        _, dtype, key, _, count = what[:5]
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str) or type(count) is not int or count < 0:
            raise PickleError("refers to something that is no row of numbers")
        if key not in storages:
            storages[key] = Storage(fetch(key, dtype, count))
        return storages[key]

    def tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
        nonlocal taken
        made = rebuild(storage, offset, shape, stride)
        taken += made.numel() * made.element_size()
        if taken > SHARED * size + 2**20:
            raise PickleError("makes tensors far larger than itself")
        return made

    def table(pairs: Any = ()) -> dict[Any, Any]:
        nonlocal taken
        if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
            raise PickleError("holds a table that is none")
        taken += len(pairs)  # a program may ask for the table of one list again and again
        if taken > SHARED * size + 2**20 or not all(type(name) in KEYS for name, _ in pairs):
            raise PickleError("makes tables far larger than itself, or with keys that are neither numbers nor texts")
        return dict(pairs)

    known: dict[str, Any] = {
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": lambda data, *_: data,
        "collections.OrderedDict": table,
        "torch.Size": _size,
        "torch.device": lambda kind, number=0: (kind, number),
        "_codecs.encode": _encode,
        **{f"torch.{name}Storage": dtype for name, dtype in DTYPES.items()},
        **{str(dtype): dtype for dtype in DTYPES.values()},
        **dict.fromkeys(BYSTANDERS, lambda *_: Bystander()),
    }
    return run_pickle(file, known, refer)


def rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
    """A tensor over numbers of a storage.

    Args:
        storage: `Storage`.
        offset: Offset of its first number.
        shape: Its size in each dimension.
        stride: Steps from one number to the next in each dimension.

    Raises:
        PickleError: It would lie outside of the storage, or have more numbers than it.
    """
    whole = isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(stride, tuple)
    if (
        not whole
        or not len(shape) == len(stride) <= MOST_DIMENSIONS
        or not all(type(n) is int and n >= 0 for n in (offset, *shape, *stride))
    ):
        raise PickleError("holds a tensor whose size is no row of numbers")
    held = storage.numbers.numel()
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    empty = 0 in shape
    if (not empty and (last >= held or math.prod(shape) > held)) or max(shape, default=0) > 2**40:
        raise PickleError(f"holds a tensor that is larger than its numbers: {str(shape)[:100]} of {held}")
    return (
        torch.empty(shape, dtype=storage.numbers.dtype) if empty else storage.numbers.as_strided(shape, stride, offset)
    )


def _size(numbers: Any) -> tuple[Any, ...]:
    if not isinstance(numbers, tuple | list) or len(numbers) > MOST_DIMENSIONS:
        raise PickleError("holds a size that is no row of numbers")
    return tuple(numbers)


def _encode(text: Any, code: Any = None) -> bytes:
    """The bytes of Python 2; short, since a program may ask for them without end."""
    if not isinstance(text, str) or len(text) > LONGEST_BYTES or code != "latin1":
        raise PickleError("asks for bytes in a code other than latin1, or for too many")
    return text.encode("latin1")
