"""Threads: pipeline stages that work ahead, several producers at once, and a worker with a queue."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["WorkerThread", "ahead", "merged"]

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
    yield from merged([items], size)


def merged(sources: Sequence[Iterable[Item]], size: int = 1) -> Generator[Item, None, None]:
    """Merge several iterators, each run in a thread of its own, in the order in which items arrive.

    What a thread raises is raised here. When the iterator is closed every thread ends after the item that it is at, and closes
    its own source.

    Args:
        sources: Iterators whose work overlaps.
        size: Items that may wait, of all sources together.
    """
    line = _Line(size)
    threads = [threading.Thread(target=_fill, args=(items, line), daemon=True) for items in sources]
    left = len(threads)
    try:
        for thread in threads:  # here, because Ctrl-C may come between the start and the first item
            thread.start()
        while left:
            kind, value = line.ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                left -= 1
            else:
                yield value
    finally:
        line.stop.set()
        for thread in threads:
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


def _fill(items: Iterable[Any], line: _Line) -> None:
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


class WorkerThread(Generic[Item]):
    """A worker thread with a queue: `put` never waits, and if too many items wait, the oldest is dropped.

    What `work` or `finish` raises ends the thread, is kept in `error`, and is raised by the next `put`.

    Args:
        work: Function called in the thread with each item, or with each list from `together`.
        name: Name of the thread.
        size: Items that may wait; None for any number.
        together: Function that takes out of the queue what is worked on next; the oldest item unless given.
        finish: Function called in the thread once all that was put is done.

    Attributes:
        dropped: Items that went because too many waited.
        error: Exception that ended the thread, if one did.
    """

    def __init__(
        self,
        work: Callable[[Any], None],
        *,
        name: str,
        size: int | None = None,
        together: Callable[[deque[Item]], Any] = deque.popleft,
        finish: Callable[[], None] | None = None,
    ) -> None:
        self._work, self._together, self._finish = work, together, finish
        self._items: deque[Item] = deque(maxlen=size)
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.dropped = 0
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin; before that, items wait."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of waiting items."""
        return len(self._items)

    def put(self, item: Item) -> None:
        """Hand an item over.

        Raises:
            RuntimeError: The thread was closed.
            BaseException: The exception that ended the thread.
        """
        with self._changed:
            if self.error is not None:
                raise self.error
            if self._closing:
                raise RuntimeError(f"The thread {self._thread.name!r} was closed.")
            self.dropped += len(self._items) == self._items.maxlen
            self._items.append(item)
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait in `work`, less if the thread is to close."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)

    def close(self, seconds: float | None = None) -> bool:
        """Take no more items and wait until those that wait are done.

        Args:
            seconds: Longest wait; None for any. A thread that is not done then is left, and ends with the process.

        Returns:
            Whether the thread has ended.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._items or self._closing)
                    if not self._items:
                        break
                    taken = self._together(self._items)
                self._work(taken)
            if self._finish is not None:
                self._finish()
        except BaseException as error:  # whoever hands items over must hear of it
            self.error = error
