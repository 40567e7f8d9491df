"""`torch.load` for files that nobody vouches for: tensors and plain values, in time and memory that grow with the file.

`weights_only=True` calls nothing but torch's own constructors. But it has four weak places, all before or beside that rule:
an archive may unpack to any size; what it refuses it quotes at full length and searches the quotation in time that grows
with the square of it (a name of 50 KB takes half a minute, one of 8 MB days); values that hold themselves twice are printed
at twice the length, level by level; and tuples nested deeper than the machine's stack crash the interpreter when hashed.

So each program is looked through first, then rehearsed by the standard unpickler with stand-ins that do nothing. What
passes has short names, calls nothing but names, and gives torch no reason to quote it.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

__all__ = ["load_tensors"]

ARCHIVE = b"PK\x03\x04"  # by which torch tells its archives from its older files
OLD_PROGRAMS = 5  # of an older file: a magic number, a protocol, the system, the content, the storages' keys
LONGEST_NAME = 200
MOST_TUPLES = 50_000  # four for each tensor; 100,000 within one another are safe to hash on a stack of 8 MB
MOST_MEMO = 10**7


def load_tensors(source: Path | io.BytesIO) -> Any:
    """What `torch.save` wrote, on the CPU.

    Raises:
        Exception: A damaged or hostile file raises whatever it likes, of some hundred characters; the caller names the file.
    """
    if isinstance(source, io.BytesIO):
        _rehearse_all(source)
        source.seek(0)
    else:
        with source.open("rb") as file:
            _rehearse_all(file)
    return torch.load(source, map_location="cpu", weights_only=True)


def _rehearse_all(file: BinaryIO) -> None:
    if file.read(len(ARCHIVE)) != ARCHIVE:
        file.seek(0)
        for _ in range(OLD_PROGRAMS):
            _rehearse(file)
        return
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        whole = sum(entry.file_size for entry in archive.infolist())
        if whole > 2 * size + 2**20:  # a checkpoint's archive is not packed
            raise ValueError(f"unpacks to {whole} bytes")
        for entry in archive.infolist():
            if entry.filename.endswith("data.pkl"):
                _rehearse(io.BytesIO(archive.read(entry)))


def _rehearse(file: BinaryIO) -> None:
    """Leaves the file at the end of the program."""
    began, tuples = file.tell(), 0
    for word, argument, position in pickletools.genops(file):
        tuples += "TUPLE" in word.name
        memo = argument if "PUT" in word.name and isinstance(argument, int) else 0
        if tuples > MOST_TUPLES or memo > min(position or 0, MOST_MEMO):
            raise ValueError("its program is built to exhaust the reader")
    ended = file.tell()
    file.seek(began)
    _Rehearsal(file).load()
    file.seek(ended)


class _StandIn:
    """Of any class or function: takes whatever comes, does nothing."""

    def __init__(self, *_: Any) -> None: ...
    def __setstate__(self, _: Any) -> None: ...
    def __setitem__(self, _: Any, value: Any) -> None: ...
    def append(self, _: Any) -> None: ...


class _Rehearsal(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if len(module) + len(name) > LONGEST_NAME:
            raise ValueError(f"asks for {module[:40]}…, a name of {len(module) + len(name)} characters")
        return _StandIn

    def persistent_load(self, _: Any) -> _StandIn:
        return _StandIn()
