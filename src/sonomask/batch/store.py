"""Storage for outputs: a folder or an object store. Files appear complete or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sonomask.batch.fetch import is_address, open_store
from sonomask.errors import DatasetError
from sonomask.workspace import lock

__all__ = ["OutputStore"]


class OutputStore:
    """Files below a path or address.

    Args:
        root: Path or address of the store; made when first written to.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._system, self._path = open_store(root)
        self._here = not is_address(root) or root.startswith(("file://", "local://"))

    def put(self, name: str, data: bytes) -> None:
        """Write a file, replacing what has its name.

        Here it is written beside its name, forced to disk and renamed; an object store's put is atomic by itself.
        """
        if not self._here:
            self._system.pipe_file(f"{self._path}/{name}", data)
            return
        target = Path(self._path, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        file, fresh = _begin(target)
        with file:  # locked until it has its name, where there are locks
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                fresh.chmod(0o644)
                if sys.platform == "win32":  # an open file can't be renamed there
                    file.close()
                fresh.replace(target)
            except BaseException:
                file.close()
                fresh.unlink(missing_ok=True)
                raise
        for rest in target.parent.glob(f".{target.name}.*.part"):
            with suppress(OSError), rest.open("rb") as other:
                if lock(other):  # of a run that was killed here; a file that is being written is locked
                    rest.unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """List the files of a folder, sorted, without hidden ones. The folder "" is the top."""
        path = f"{self._path}/{folder}".rstrip("/")
        self._system.invalidate_cache()
        try:
            found = self._system.ls(path, detail=True)
        except FileNotFoundError:
            return []
        names = (str(entry["name"]).rsplit("/", 1)[-1] for entry in found if entry["type"] == "file")
        return sorted(f"{folder}/{name}".lstrip("/") for name in names if name and not name.startswith("."))

    def below(self, folder: str) -> list[str]:
        """List the files of a folder and its subfolders, sorted, without hidden ones."""
        self._system.invalidate_cache()
        try:
            found = self._system.find(f"{self._path}/{folder}")
        except FileNotFoundError:
            return []
        names = (str(path).replace("\\", "/").rpartition(f"/{folder}/")[2] for path in found)
        return sorted(f"{folder}/{name}" for name in names if name and not name.rpartition("/")[2].startswith("."))

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The contents of files, many at once where the store can.

        Raises:
            DatasetError: One can't be read.
        """
        if not names:
            return {}
        paths = {name: self._system._strip_protocol(f"{self._path}/{name}") for name in names}
        try:
            found: Any = self._system.cat(list(paths.values()))  # of one file its bytes, of several a dict
        except Exception as error:  # each store has its own tree of errors
            raise DatasetError(f"{self.root}: can't be read ({' '.join(str(error).split())}).") from error
        return {name: bytes(found if isinstance(found, bytes) else found[path]) for name, path in paths.items()}

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, in order; files that do not exist are ignored."""
        for name in names:
            with suppress(FileNotFoundError):
                self._system.rm_file(f"{self._path}/{name}")


def _begin(target: Path) -> tuple[IO[bytes], Path]:
    """A new file beside the target that is locked. Until it is, another writer may take it for one that was left."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        file, fresh = os.fdopen(handle, "wb"), Path(name)
        if lock(file) is not False and fresh.exists():
            return file, fresh
        file.close()
