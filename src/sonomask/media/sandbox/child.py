"""The child of `sandbox`: confines itself, then answers requests about one source until its input ends."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from sonomask.media.sandbox.confine import confine, leave_network

LATER = ("encodings.ascii", "encodings.idna", "encodings.latin_1", "fractions", "traceback")


class _Stream:
    """An iterator of the decoder, a batch ahead."""

    def __init__(self, items: Iterator[Any], size: Callable[[Any], int]) -> None:
        self.items, self.size, self.count = items, size, 0
        self.frames: dict[int, Any] = {}
        self.ahead: list[Any] = []
        self.problem: Exception | None = None
        self.over = False

    def prefetch(self) -> None:
        """Prepare the next items; an error is reported after the items before it."""
        while not self.over and self.count and sum(map(self.size, self.ahead)) < self.count:
            try:
                self.ahead.append(next(self.items))
            except StopIteration:
                self.over = True
            except Exception as error:
                self.problem, self.over = error, True

    def next(self, count: int) -> list[Any]:
        """The next items; none after the last."""
        self.count = count
        self.prefetch()
        items, self.ahead = self.ahead, []
        if not items and self.problem is not None:
            raise self.problem
        return items

    def keep(self, frames: list[Any]) -> list[int]:
        """Ids by which frames can be requested until the next batch but one."""
        first = max(self.frames, default=0) + 1
        self.frames = {n: f for n, f in self.frames.items() if n >= first - 2} | dict(enumerate(frames, start=first))
        return list(range(first, first + len(frames)))


class _Server:
    def __init__(self, out: BinaryIO) -> None:
        self.reader: Any = None
        self.out = out
        self.streams: dict[int, _Stream] = {}
        self.reported = 0

    def answer(self, request: dict[str, Any]) -> _Stream | None:
        """Answer one request; returns the stream that may look ahead."""
        do, reader = request.pop("do"), self.reader
        if do == "info":
            self.send({"info": reader.info.to_json()})
            return None
        if do in ("pictures", "sound"):
            self._begin(do, **request)
            return None
        stream = self.streams[request["stream"]]
        if do == "pixels":
            size = None if request["size"] is None else tuple(request["size"])
            images = [reader.pixels(stream.frames[n], size) for n in request["frames"]]
            self.send({"shapes": [image.shape[:2] for image in images]}, *(image.tobytes() for image in images))
            return stream
        items = stream.next(request["count"])
        if items and not isinstance(items[0], tuple):
            joined = np.concatenate(items, axis=1)
            self.send({"samples": joined.shape[1]}, joined.astype("<f4").tobytes())
        elif items:
            numbers = stream.keep([frame for _, frame, _ in items])
            self.send({"items": [(at, n, end) for (at, _, end), n in zip(items, numbers, strict=True)]})
        else:
            self.send({"items": [], "samples": -1})
        return stream

    def _begin(self, do: str, start: float, **words: Any) -> None:
        number, reader = len(self.streams), self.reader
        if do == "pictures":
            self.streams[number] = _Stream(reader.pictures(start, **words), lambda item: 1)  # noqa: ARG005
        else:
            self.streams[number] = _Stream(reader.samples(start, **words), lambda piece: piece.shape[1])
        self.send({"stream": number})

    def send(self, head: dict[str, Any], *payload: bytes) -> None:
        """The head of an answer, what the reader had to warn of, and bytes."""
        fresh = self.reader.warnings[self.reported : self.reported + 10] if self.reader is not None else []
        self.reported += len(fresh)
        text = json.dumps({**head, "warnings": [line[:1000] for line in fresh], "payload": bool(payload)}).encode()
        self.out.write(len(text).to_bytes(4, "little") + text)
        for part in payload:
            self.out.write(part)
        self.out.flush()


def _follow(parent: int) -> None:
    """End with the parent process, even if it was killed while this one is inside a decoder."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def import_all() -> None:
    """Import what decoding imports on the way, since afterwards no file of Python can be read."""
    import av

    parts = [part.name for part in pkgutil.walk_packages(av.__path__, "av.")]
    for name in [*LATER, *(part for part in parts if not part.endswith(("__main__", "datasets")))]:
        importlib.import_module(name)


def main() -> None:
    """Take the task from the command line, requests from the input, and answer on the output."""
    given = json.loads(sys.argv[2])
    source, address = given["source"], "://" in given["source"]
    alone = address or leave_network()  # before there are threads
    from sonomask.errors import SonomaskError
    from sonomask.media.decoder import LocalDecoder
    from sonomask.media.info import Selection
    from sonomask.media.opening import Limits

    server = _Server(sys.stdout.buffer)
    import_all()
    strength = confine(
        None if address else source, memory=given["memory"], cpu=given["cpu"], network=not alone or address
    )
    if any(there and not done for there, done in zip(given["strength"], strength, strict=True)):
        server.send({"error": f"{source}: its sandbox could not be closed (lacking: {strength.missing})."})
        return
    threading.Thread(target=_follow, args=(given["parent"],), daemon=True).start()  # it has no more rights than we
    for line in sys.stdin.buffer:
        ahead = None
        try:
            if server.reader is None:
                server.reader = LocalDecoder(source, Limits(**given["limits"]), Selection(**given["selection"]))
            ahead = server.answer(json.loads(line))
        except SonomaskError as error:
            server.send({"error": str(error)})
        except MemoryError:
            server.send({"error": f"{source}: needs more memory than it may have. Scale it down first."})
        except Exception as error:  # a file that leads the reader astray is a broken file
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            server.send({"error": f"{source}: can't be decoded ({reason})."})
        if ahead is not None:
            ahead.prefetch()
