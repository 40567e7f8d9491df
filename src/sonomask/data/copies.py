"""Copies of data sets that training makes unasked, so that epochs need not decode pictures (`cache` has their form)."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from sonomask.data.cache import write_cache

__all__ = ["fits", "folder_for", "place", "write_copy"]

SHARE = 0.5  # of the free space that a copy may take


def place() -> Path:
    """Default folder for caches: below `SONOMASK_CACHE`, or in the user's cache folder."""
    home = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SONOMASK_CACHE") or Path(home, "sonomask"), "clips")


def fits(size: int) -> bool:
    """Whether a cache of that many bytes takes at most half of the free space."""
    folder = place()
    there = next((parent for parent in (folder, *folder.parents) if parent.exists()), None)
    return there is not None and size <= SHARE * shutil.disk_usage(there).free


def folder_for(name: str, root: str, clips: Any) -> Path | None:
    """Path of the copy of a data set, existing or not; None if it would not fit.

    Args:
        name: Name that contains the kind, split and sizes.
        root: Root of the data set.
        clips: The data set, with `stamp()` and `nbytes()`.
    """
    where = hashlib.sha256(str(Path(root).resolve()).encode()).hexdigest()[:8]
    folder = place() / f"{name}_{where}_{clips.stamp()}"
    return folder if folder.exists() or fits(clips.nbytes()) else None


def write_copy(clips: Any, folder: Path, workers: int) -> None:
    """Write a copy, log it, and remove the one that it replaces; if the folder can't be written to, a warning is given."""
    rank_zero_info(
        f"{len(clips)} clips are copied to {folder} ({clips.nbytes() / 1e9:.1f} GB), so that epochs need not decode them "
        "(--data.cache off for none)."
    )
    try:
        write_cache(clips, folder, workers)
    except OSError as error:
        rank_zero_warn(f"The clips could not be copied to {folder} ({error}); they are read as they are.")
    for old in folder.parent.glob(f"{folder.name.rpartition('_')[0]}_*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
