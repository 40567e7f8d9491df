"""Claims: only one run at a time works on the same videos of an output, on any number of machines.

Each run keeps a file `claims/ID.json` that says which slice it does and counts up while it lives. A run that starts writes its
own first and looks for others then, so that of two that start together at least one sees the other; the one that began
first continues. A claim whose count no longer changes belongs to a run that was killed. No clocks of two machines are compared.
"""

from __future__ import annotations

import json
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sonomask.batch.store import OutputStore
from sonomask.errors import DatasetError

__all__ = ["claimed"]

BEAT = 10.0  # seconds between two counts
PATIENCE = 45.0  # seconds after which a count that stands still is a dead run's


@contextmanager
def claimed(
    store: OutputStore, part: tuple[int, int], *, beat: float = BEAT, patience: float = PATIENCE
) -> Iterator[None]:
    """Claim a slice of an output for the duration of the block.

    Args:
        store: The output.
        part: (i, n): the i-th of n parts; parts that share no video don't disturb one another.
        beat: Seconds between two signs of life.
        patience: Seconds to watch for those of another run.

    Raises:
        DatasetError: Another run is at work on some of these videos.
    """
    name = f"claims/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
    about = {"part": list(part), "host": platform.node(), "process": os.getpid(), "count": 0}
    over = threading.Event()

    def beat_on() -> None:
        while not over.wait(beat):
            about["count"] = int(str(about["count"])) + 1
            with suppress(Exception):  # a store that fails for a moment; the count is written again
                store.put(name, json.dumps(about).encode())

    store.put(name, json.dumps(about).encode())
    thread = threading.Thread(target=beat_on, name="claim", daemon=True)
    try:
        thread.start()
        _wait_for_others(store, name, part, patience)
        yield
    finally:
        over.set()
        thread.join()
        store.remove([name])


def _wait_for_others(store: OutputStore, own: str, part: tuple[int, int], patience: float) -> None:
    """Wait until none is left that could be at work, or raise. The earlier of two that start together waits for the other."""
    first = {name: value for name, value in _claims(store).items() if name != own and _overlap(part, value)}
    ended = time.monotonic() + patience
    rivals = first
    while rivals:
        now = _claims(store)
        rivals = {name: value for name, value in rivals.items() if name in now}
        over = time.monotonic() > ended
        for name in list(rivals):
            here = now[name].get("host") == platform.node()
            moves = now[name] != first[name]
            if (here and not _lives(now[name].get("process"))) or (over and not here and not moves):  # it was killed
                store.remove([name])
                del rivals[name]
            elif over or (name < own and (here or moves)):
                raise DatasetError(
                    f"{store.root}: another run is at work on these videos (process {now[name].get('process')} on "
                    f"{now[name].get('host')}). Wait for it, or share the work with --slice."
                )
        if rivals:
            time.sleep(min(1.0, patience / 10))


def _claims(store: OutputStore) -> dict[str, dict[str, Any]]:
    found = {}
    for name in store.names("claims"):
        with suppress(DatasetError, ValueError):  # gone meanwhile, or none of ours
            value = json.loads(store.read([name])[name])
            if isinstance(value, dict):
                found[name] = value
    return found


def _overlap(part: tuple[int, int], other: dict[str, Any]) -> bool:
    """Whether two slices I/N can share a video, that is, whether a number can leave both remainders."""
    try:
        i, n = (int(value) for value in other["part"])
        return (i - part[0]) % math.gcd(n, part[1]) == 0
    except (KeyError, TypeError, ValueError):
        return True


def _lives(process: Any) -> bool:
    if not isinstance(process, int) or process <= 0 or os.name == "nt":
        return True  # not known; it is watched
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
