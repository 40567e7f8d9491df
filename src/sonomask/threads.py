"""Stages of a pipeline that work at the same time, each a few items ahead of the next."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

__all__ = ["ahead"]

Item = TypeVar("Item")

BEAT = 0.1  # seconds after which a stage that waits for room looks whether anyone still wants its items


def ahead(items: Iterable[Item], size: int = 1) -> Generator[Item, None, None]:
    """The same items in the same order, made in a thread of their own that is at most `size` items ahead.

    It pays where the work releases Python's lock, as PyAV, ONNX Runtime, torch, OpenCV and NumPy do. What the thread raises is
    raised here; when the iterator is closed the thread ends after the item that it is at, and closes its own source.

    Args:
        items: Iterator whose work is to overlap with that of its user.
        size: Items that may wait.
    """
    line = _Line(size)
    thread = threading.Thread(target=_work, args=(items, line), daemon=True)
    try:
        thread.start()  # here, because Ctrl-C may come between the start and the first item
        while True:
            kind, value = line.ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        line.stop.set()
        if thread.ident is not None:
            thread.join()


class _Line:
    """Items on their way from one thread to another, as many as there is room for."""

    def __init__(self, size: int) -> None:
        self.ready: queue.Queue[Any] = queue.Queue(size)
        self.stop = threading.Event()

    def put(self, kind: str, value: Any) -> bool:
        """Wait for room; whether anyone still wants the item."""
        while not self.stop.is_set():
            try:
                self.ready.put((kind, value), timeout=BEAT)
            except queue.Full:
                continue
            return True
        return False


def _work(items: Iterable[Any], line: _Line) -> None:
    source = iter(items)
    try:
        for item in source:
            if not line.put("item", item):
                return
        line.put("end", None)
    except BaseException as error:
        line.put("error", error)
    finally:
        if hasattr(source, "close"):
            source.close()
