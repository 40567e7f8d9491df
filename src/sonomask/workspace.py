"""Folders in which a result is made before it gets its name; those of killed runs are swept by the next.

A process holds a lock on its folder as long as it lives, however it dies. What an overwriting run had set aside when it was
killed goes back to its place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sonomask.errors import MediaError

try:
    import fcntl
except ImportError:  # Windows has no such locks; there nothing is swept
    fcntl = None  # type: ignore[assignment]

__all__ = ["atomic_path", "lock", "sweep", "workspace"]

PREFIX, LOCK, REPLACED = ".sonomask-", ".lock", "replaced"


@contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """Make a temporary folder beside `target`; a replaced target is set aside in it as `REPLACED`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    folder, lock = _begin(target.parent)
    try:
        with lock:
            lock.write(target.name)
            lock.flush()
            yield folder
    finally:
        _remove(folder)


@contextmanager
def atomic_path(target: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary name beside `target`, for a file or a folder, which becomes the target at a clean exit.

    Raises:
        MediaError: The target exists and `overwrite` is not set.
    """
    target = Path(target)
    if target.exists() and not overwrite:
        raise MediaError(f"{target} exists. Use --overwrite to replace it, or give another --out.")
    with workspace(target) as folder:
        fresh = folder / target.name
        yield fresh
        if fresh.is_file():
            with fresh.open("rb+") as file:
                os.fsync(file.fileno())
        if target.is_dir() and not target.is_symlink():
            target.rename(folder / REPLACED)
        fresh.replace(target)


def _begin(parent: Path) -> tuple[Path, IO[str]]:
    """A new folder, and its lock. Until it is locked another run may take it for one that was left; then another is made."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with contextlib.suppress(FileNotFoundError):
            file = (folder / LOCK).open("w", encoding="utf-8")
            if lock(file) is not False and (folder / LOCK).exists():
                return folder, file
            file.close()


def lock(file: IO[Any]) -> bool | None:
    """Try to lock; None if there are no locks on this system."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def sweep(parent: Path) -> None:
    """Remove what killed runs left in a folder, and put back what they had set aside."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            folder.rmdir()  # killed before the lock was there, or after it was gone
        with contextlib.suppress(OSError), (folder / LOCK).open("r+", encoding="utf-8") as file:
            if not lock(file):
                continue
            target = parent / Path(file.read().strip() or "nothing").name
            if (folder / REPLACED).exists() and not target.exists():
                (folder / REPLACED).rename(target)
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last, so that it can be swept if this process is killed meanwhile."""
    with contextlib.suppress(OSError):  # another run may be sweeping it
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
