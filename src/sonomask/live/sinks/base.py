"""The common base of outputs for live masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sonomask.errors import MediaError
from sonomask.live.segmenter import LiveMasks
from sonomask.threads import WorkerThread

__all__ = ["QueuedSink", "Sink", "fitted"]

QUEUE = 8  # results that wait for an encoder, a server or another program


class Sink:
    """A place to which live masks go; use it in a `with` block, whose end leaves whole what was written.

    Attributes:
        closed: Whether the user closed it, which ends the run.
        waiting: Results that wait for it; None where none can.
        left_out: Results that it was too slow for; None where it takes all.
        hub: Hub of events for those who watch; None where nobody does.
    """

    closed: bool = False
    waiting: int | None = None
    left_out: int | None = None
    hub: Any = None

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def write(self, result: LiveMasks) -> None:
        """Take a result; called from the model's thread."""
        raise NotImplementedError

    def beat(self) -> None:
        """Take note that no result came for a while."""


class QueuedSink(Sink):
    """A sink whose writer may be slow; it runs in a thread of its own, and results are skipped if it falls behind.

    Subclasses write `_bring(result)`.

    Args:
        target: Name of the target, for the user.
        say: Function called with each message, a line at a time.
    """

    FAREWELL = 5.0  # seconds that what waits may take when the run ends

    def __init__(self, target: str, say: Callable[[str], Any]) -> None:
        self.target, self.say = target, say
        self.writer: Any = None
        self.skipped = 0  # results that were taken from the queue and not written
        self.worker: WorkerThread[LiveMasks] = WorkerThread(
            self._work, name=f"writer of {target}", size=QUEUE, finish=self._finish
        )

    def __enter__(self) -> Any:
        self.worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.worker.close(self.FAREWELL):
            self.say(f"{self.target}: did not take its last pictures in {self.FAREWELL:g} s; it was left.")
        if self.left_out:
            self.say(f"{self.target}: {self.left_out} pictures were left out, what takes them was too slow or away.")
        if kind is None and self.worker.error is not None:
            raise self.worker.error

    @property
    def waiting(self) -> int:  # type: ignore[override]
        """Results that wait."""
        return self.worker.waiting

    @property
    def left_out(self) -> int:  # type: ignore[override]
        """Results that were not written."""
        return self.worker.dropped + self.skipped

    def write(self, result: LiveMasks) -> None:
        """Hand a result to the writer's thread.

        Raises:
            MediaError: The target can't be written to any more.
        """
        self.worker.put(result)

    def _bring(self, result: LiveMasks) -> None:
        raise NotImplementedError

    def _work(self, result: LiveMasks) -> None:
        with self._one_kind_of_error():
            self._bring(result)

    def _finish(self) -> None:
        with self._one_kind_of_error():
            if self.writer is not None:
                self.writer.__exit__(None, None, None)

    @contextmanager
    def _one_kind_of_error(self) -> Iterator[None]:
        """Make a MediaError of whatever fails, so that the run ends with a line."""
        try:
            yield
        except MediaError:
            raise
        except Exception as error:
            raise MediaError(f"{self.target}: {error}") from error

    def _give_up(self, error: BaseException) -> None:
        """Close a writer that failed; the next result opens another."""
        if self.writer is not None:
            self.writer.__exit__(type(error), error, None)
        self.writer = None


def fitted(image: UInt8[np.ndarray, "H W *channels"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w *channels"]:
    """The image scaled to (height, width) if it has another size, as after a source came back with one."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0])))
