"""Folders in which a result is made before it gets its name; those of killed runs are swept by the next.

A process holds a lock on its folder as long as it lives, however it dies. What an overwriting run had set aside when it was
killed goes back to its place.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows has no such locks; there nothing is swept
    fcntl = None  # type: ignore[assignment]

__all__ = ["REPLACED", "workspace"]

PREFIX, LOCK, REPLACED = ".sonomask-", ".lock", "replaced"


@contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """A new folder beside `target` that is gone at the end; what it replaces is set aside in it as `REPLACED`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=target.parent) as name:
        folder = Path(name)
        with (folder / LOCK).open("w", encoding="utf-8") as lock:
            _lock(lock)
            lock.write(target.name)
            lock.flush()
            yield folder


def _lock(file: IO[Any]) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody has it, or this file system has no locks
        return False
    return True


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (folder / LOCK).open("r+", encoding="utf-8") as file:
            if not _lock(file):
                continue
            target = parent / Path(file.read().strip() or "nothing").name
            if (folder / REPLACED).exists() and not target.exists():
                (folder / REPLACED).rename(target)
            shutil.rmtree(folder, ignore_errors=True)
