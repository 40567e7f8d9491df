"""A `LiveWriter` for servers, in a process of its own that can be abandoned.

PyAV opens an output while holding Python's global lock and without a time limit, so a server that does not answer would block
every thread of the run. A process can be abandoned.
"""

from __future__ import annotations

import json
import pickle
import queue
import signal
import subprocess
import sys
import threading
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float32, UInt8

from sonomask.errors import MediaError
from sonomask.media.live.writer import LiveWriter

START = 60.0  # seconds until the process is there, on a busy machine
DONE = "done"
CHILD = (  # isolated: neither the current folder nor the environment says where modules come from
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from sonomask.media.live.remote_writer import serve; serve(sys.stdin.buffer)"
)


class RemoteWriter:
    """Like `LiveWriter`, for an address.

    Args:
        target: Address.
        size: (height, width) of the pictures.
        sound: Whether sound goes along.
        timeout: Seconds that the server may take over anything.

    Raises:
        MediaError: The server can't be reached, or does not answer.
    """

    def __init__(self, target: str, *, size: tuple[int, int], sound: bool, timeout: float = 10.0) -> None:
        self.target, self.size, self.timeout = target, size, timeout
        self.child: Any = subprocess.Popen(  # noqa: S603 - this very module
            [sys.executable, "-I", "-c", CHILD, json.dumps([path for path in sys.path if path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, name=f"answers of {target}", daemon=True).start()
        try:
            self._ask((target, size, sound), START)
            self._answer(timeout)  # it is connected
        except MediaError:
            self._kill()
            raise

    def __enter__(self) -> RemoteWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._ask(None, self.timeout)
        except MediaError:
            if kind is None:
                raise
        finally:
            self._kill()

    def write(
        self, image: UInt8[np.ndarray, "H W 3"], time: float, sound: Float32[np.ndarray, " S"] | None = None
    ) -> None:
        """Like `LiveWriter.write`.

        Raises:
            MediaError: The server went away, or takes nothing.
        """
        self._ask((image, time, sound), self.timeout)

    def _ask(self, what: Any, seconds: float) -> None:
        try:
            pickle.dump(what, self.child.stdin)
            self.child.stdin.flush()
        except OSError as error:
            raise MediaError(f"{self.target}: broke off ({error}).") from error
        self._answer(seconds)

    def _answer(self, seconds: float) -> None:
        """Wait for it."""
        try:
            answer = self.answers.get(timeout=seconds)
        except queue.Empty:
            raise MediaError(f"{self.target}: did not answer in {seconds:g} s.") from None
        if answer != DONE:
            raise MediaError(answer or f"{self.target}: its writer ended.")

    def _listen(self) -> None:
        for line in self.child.stdout:
            self.answers.put(line.decode(errors="replace").strip())
        self.answers.put("")

    def _kill(self) -> None:
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            try:
                pipe.close()
            except OSError:  # what it did not take
                continue


def serve(requests: BinaryIO) -> None:
    """The process: takes pickles from the one that started it, and answers each with a line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too, and the run has yet to finish it
    try:
        target, size, sound = pickle.load(requests)  # noqa: S301
        _say(DONE)
        with LiveWriter(target, size=size, sound=sound) as out:
            _say(DONE)
            while (item := pickle.load(requests)) is not None:  # noqa: S301
                out.write(*item)
                _say(DONE)
        _say(DONE)
    except EOFError:
        return  # the run is gone
    except (MediaError, ValueError) as error:
        _say(" ".join(str(error).split()))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
