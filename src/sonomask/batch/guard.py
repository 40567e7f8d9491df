"""Run work in a child process: a task that hangs, crashes or uses too much memory fails, and the next one runs.

A bad video can crash a decoder of C code, or keep it busy for ever; no `except` helps. Whoever wants to bind the decoder
further (memory, system calls, users) does it in the function that `start` gives, before the first task.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

from sonomask.errors import MediaError

__all__ = ["Child", "ChildError", "Work"]

Work: TypeAlias = Callable[[Any], Iterator[Any]]
"""What the child does with a task; must not raise for a task that is merely bad."""

START = 300.0  # seconds that a child may take to import and load


class ChildError(MediaError):
    """The child died or took too long; a new one is started for the next task."""


class Child:
    """A process that runs one task after another; it is started on first use.

    Args:
        start: Function called once in the process, with `options`, that gives what does the tasks; importable by name.
        options: Its arguments.
    """

    def __init__(self, start: Callable[..., Work], *options: Any) -> None:
        self._start, self._options = start, options
        self._process: Any = None
        self._pipe: Any = None

    def run(self, task: Any, seconds: float) -> Iterator[Any]:
        """Yield what the work yields for a task.

        Args:
            task: Anything that can be pickled.
            seconds: Seconds of waiting for the child; time that the caller takes between items does not count.

        Raises:
            ChildError: It died or took too long.
            RuntimeError: The work raised, which is a mistake in it or in `start`.
        """
        finished = False
        try:
            if self._process is None or not self._process.is_alive():
                self._open()
            self._pipe.send(task)
            left = seconds
            while True:
                began = time.monotonic()
                if not self._pipe.poll(max(0.0, left)):
                    raise ChildError(f"took more than {seconds:g} s of work, the limit.")
                left -= time.monotonic() - began
                kind, item = self._pipe.recv()
                if kind == "item":
                    yield item
                    continue
                finished = kind == "end"
                if not finished:
                    raise RuntimeError(item)
                return
        except (EOFError, OSError) as error:
            raise ChildError(f"its process died ({self._how()}).") from error
        finally:
            if (
                not finished
            ):  # also where the caller lost interest: the rest of the items must not be taken for the next task's
                self.close()

    def _open(self) -> None:
        self.close()
        context = multiprocessing.get_context("spawn")  # forking a process that holds threads of torch can hang
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, os.getpid(), self._start, self._options), daemon=True
        )
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START):
            raise RuntimeError(f"A worker process did not start within {START:.0f} s. Is the machine overloaded?")
        try:
            kind, item = self._pipe.recv()
        except EOFError as error:
            raise RuntimeError(f"A worker process died while it started ({self._how()}).") from error
        if kind != "ready":
            raise RuntimeError(item)

    def _how(self) -> str:
        self._process.join(5)
        code = self._process.exitcode
        if code is not None and code < 0:
            with suppress(ValueError):
                return signal.Signals(-code).name
        return f"exit code {code}"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = self._pipe = None


def _serve(pipe: Any, parent: int, start: Callable[..., Work], options: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    try:
        work = start(*options)
        pipe.send(("ready", None))
        while True:
            for item in work(pipe.recv()):
                pipe.send(("item", item))
            pipe.send(("end", None))
    except (EOFError, BrokenPipeError, ConnectionError):
        return  # the parent is gone
    except BaseException as error:
        with suppress(OSError):
            pipe.send(("error", f"{type(error).__name__}: {error}"))


def _follow(parent: int) -> None:
    """End with the parent process, even if that was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
