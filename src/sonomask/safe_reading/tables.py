"""Tables and file names of others' data sets: bounded, and never leading out of their folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from sonomask.errors import DatasetError

__all__ = ["inside", "read_rows", "read_table"]

LARGEST = 2**26  # bytes; AVSBench's longest csv has 1 MB
MOST_CELLS = 2**23  # each takes some 100 bytes of memory, though an empty one takes one in the file


def read_rows(path: str | Path) -> list[list[str]]:
    """The cells of a csv.

    Raises:
        DatasetError: It is not there, too large, no text or no table.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise DatasetError(f"{path}: expected a table of at most {LARGEST} bytes, the file is larger. Split it.")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows, cells = [], 0
            for row in csv.reader(file):
                rows.append(row)
                cells += 1 + len(row)
                _bound(path, cells)
            return rows
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"{path}: can't be read as a table ({error}). Save it as csv in UTF-8.") from error


def read_table(path: str | Path, columns: Iterable[str] = ()) -> list[dict[str, str]]:
    """The rows of a csv by the names of its first line; missing cells are empty, those without a name are left out.

    Raises:
        DatasetError: It is not there, too large, no text or no table, or lacks one of the columns.
    """
    rows, wanted = read_rows(path), list(columns)
    names = [cell.strip() for cell in rows[0]] if rows else []
    if missing := [name for name in wanted if name not in names]:
        raise DatasetError(f"{path}: expected the columns {', '.join(wanted)}; {', '.join(missing)} missing.")
    _bound(path, len(names) * len(rows))
    found = []
    for row in rows[1:]:
        if any(row):
            cells = dict.fromkeys(names, "") | dict(zip(names, row, strict=False))
            found.append({name: cell for name, cell in cells.items() if name})
    return found


def _bound(path: str | Path, cells: int) -> None:
    """Check the number of cells of a table, of which each row has one for each column."""
    if cells > MOST_CELLS:
        raise DatasetError(f"{path}: expected a table of at most {MOST_CELLS} cells, it has more. Split it.")


@lru_cache(maxsize=256)
def _real(folder: Path) -> Path:
    return folder.resolve()


def inside(folder: str | Path, path: str | Path) -> Path:
    """Join a path to a folder, unchanged.

    Args:
        folder: It may be a link itself; nothing below it may lead out.
        path: Absolute, or relative to the folder.

    Raises:
        DatasetError: The path, or a link on the way, leaves the folder.
    """
    folder = Path(folder)
    try:
        whole = folder / path
        leaves = not whole.resolve().is_relative_to(_real(folder))
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, a loop of links
        raise DatasetError(f"{folder}: {str(path)!r} can't be the name of a file ({error}). Correct it.") from error
    if leaves:
        raise DatasetError(f"{folder}: {str(path)!r} leads out of the folder. Put the file itself there.")
    return whole
