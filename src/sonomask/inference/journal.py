"""A journal of the model's output on disk, so that an interrupted run can be continued.

Maps are stored without loss, so that a continued run writes the same bytes as an undisturbed one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sonomask.errors import MediaError
from sonomask.inference.finish import Maps
from sonomask.workspace import lock

__all__ = ["Journal"]

SCHEMA = "sonomask.resume/1"
ABOUT, LOCK = "about.json", ".lock"
MOST = 2**31  # bytes of an array

logger = logging.getLogger(__name__)


class Journal:
    """The maps of one video, window by window. A context manager: left without an error, it removes its folder.

    Args:
        folder: Folder in which it is kept.
        facts: Facts that must be the same for a run to go on: the video, the model and the request.

    Raises:
        MediaError: Another run is at work with the folder, or it can't be written to.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder, self.facts = folder, json.loads(json.dumps({"schema": SCHEMA, **facts}, default=str))
        self.place, self.going_on, self.full = 0, True, False

    def __enter__(self) -> Journal:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / LOCK).open("w", encoding="utf-8")
        except OSError as error:
            raise MediaError(f"{self.folder}: can't be written to ({error.strerror}).") from error
        if lock(self._lock) is False:
            self._lock.close()
            raise MediaError(f"{self.folder}: another run is at work on this video. Wait for it, or stop it.")
        if self._read_facts() != self.facts:
            try:
                self._begin_anew()
            except OSError as error:
                self._lock.close()
                raise MediaError(f"{self.folder}: can't be written to ({error.strerror}).") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def next(self) -> tuple[list[list[Maps]], np.ndarray | None] | None:
        """Maps of the next window and the model's past after it; None if they are not stored."""
        path = self.folder / f"{self.place:06d}.npz"
        if not self.going_on or not path.exists():
            self.going_on = False
            return None
        try:
            found = _read(path)
        except Exception as error:  # a damaged file can raise any error
            logger.warning("%s can't be read (%s); goes on without it.", path, error)
            self.going_on = False
            return None
        self.place += 1
        return found

    def append(self, maps: Sequence[Sequence[Maps]], past: np.ndarray | None) -> None:
        """Keep the maps of a window. A disk that is full ends the journal, with a warning, not the run."""
        path = self.folder / f"{self.place:06d}.npz"
        self.place += 1
        if self.full:
            return
        try:
            fresh = path.with_suffix(".part")
            with fresh.open("wb") as file:
                np.savez(file, **_packed(maps, past))  # type: ignore[arg-type]
            fresh.replace(path)
        except OSError as error:
            self.full = True
            logger.warning("%s can't be written (%s): a later run will go on from before.", path, error.strerror)
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)

    def _read_facts(self) -> Any:
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        return None

    def _begin_anew(self) -> None:
        old = list(self.folder.glob("*.npz"))
        if old:
            logger.warning("%s is of another video, model or request; starts anew.", self.folder)
        for path in old:
            path.unlink()
        (self.folder / ABOUT).write_text(json.dumps(self.facts, indent=1), encoding="utf-8")


def _packed(maps: Sequence[Sequence[Maps]], past: np.ndarray | None) -> dict[str, np.ndarray]:
    arrays = {"lengths": np.array([len(phase) for phase in maps])}
    if past is not None:
        arrays["past"] = past
    for number, each in enumerate(each for phase in maps for each in phase):
        arrays |= {f"{number}.{name}": value for name, value in each._asdict().items() if value is not None}
        arrays |= {f"{number}.scores": _small(each.scores), f"{number}.shape": np.array(each.scores.shape)}
    return arrays


def _read(path: Path) -> tuple[list[list[Maps]], np.ndarray | None]:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    found, number = [], 0
    for length in arrays["lengths"].tolist():
        phase = []
        for _ in range(length):
            scores = _large(arrays[f"{number}.scores"], tuple(arrays[f"{number}.shape"].tolist()))
            phase.append(Maps(scores, *(arrays.get(f"{number}.{name}") for name in Maps._fields[1:])))
            number += 1
        found.append(phase)
    return found, arrays.get("past")


def _small(scores: np.ndarray) -> np.ndarray:
    """Scores in fewer bytes, without loss.

    Neighbours in a map that was enlarged change evenly, so that second differences of their bits along both axes are short
    numbers.
    """
    bits = scores.astype(np.float32, copy=False).view(np.int32)
    for axis in (-1, -2):
        bits = np.diff(np.diff(bits, axis=axis, prepend=np.int32(0)), axis=axis, prepend=np.int32(0))
    signless = ((bits << 1) ^ (bits >> 31)).view(np.uint8).reshape(-1, 4)
    return np.frombuffer(zlib.compress(signless.T.tobytes(), 1), np.uint8)


def _large(data: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The scores that `_small` was given.

    Raises:
        ValueError: The bytes are not those of such an array.
    """
    count = 4 * math.prod(shape)
    if not 0 < count <= MOST or len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"the shape {shape}")
    flat = zlib.decompressobj().decompress(data.tobytes(), count)
    if len(flat) != count:
        raise ValueError("too few bytes")
    signless = np.frombuffer(flat, np.uint8).reshape(4, -1).T.copy().view(np.uint32).reshape(shape)
    bits = ((signless >> 1) ^ np.negative(signless & 1)).view(np.int32)
    for axis in (-2, -1):
        bits = np.cumsum(np.cumsum(bits, axis=axis, dtype=np.int32), axis=axis, dtype=np.int32)
    return bits.view(np.float32)
