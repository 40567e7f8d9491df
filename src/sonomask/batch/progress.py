"""How a corpus gets on, for logs and for Prometheus."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sonomask.batch.job import Ending
from sonomask.errors import MissingExtraError

__all__ = ["Counts", "served"]

EVERY = 30.0  # seconds between two lines


class Counts:
    """Counts videos, and tells them a line at a time.

    Args:
        say: Told a line.
        now: A clock; tests hand in another.
    """

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self.say, self.now = say, now
        self.begun = self.reported = now()
        self.ended, self.wanted, self.first = 0, 0, -1
        self.done, self.failed, self.seconds = 0, 0, 0.0

    def progress(self, ended: float, wanted: float | None) -> None:
        """Take how many videos have ended, those of earlier runs included, of how many."""
        if self.first < 0:
            self.first = int(ended) - 1
        self.ended, self.wanted = int(ended), int(wanted or 0)
        if self.now() - self.reported >= EVERY:
            self.reported = self.now()
            self.say(self.line())

    def ending(self, ending: Ending) -> None:
        """Take what became of a video."""
        good = ending.status == "done"
        self.done, self.failed = self.done + good, self.failed + (not good)
        self.seconds += ending.seconds or 0.0 if good else 0.0

    def line(self) -> str:
        """For a log."""
        spent = max(self.now() - self.begun, 1e-9)
        pace = (self.ended - max(self.first, 0)) / spent
        left = f", about {(self.wanted - self.ended) / pace / 60:.0f} min left" if pace > 0 else ""
        return (
            f"{self.ended} of {self.wanted} videos, {self.failed} failed, {60 * pace:.1f} a minute, "
            f"{self.seconds / spent:.1f} s of video a second{left}"
        )


@contextmanager
def served(counts: Counts, address: str | None) -> Iterator[str | None]:
    """Let Prometheus read the counts at "[HOST:]PORT", for as long as the block lasts; gives the address.

    Raises:
        MissingExtraError: prometheus-client is not installed.
        ValueError: It is no address.
        OSError: The port is taken.
    """
    if address is None:
        yield None
        return
    try:
        import prometheus_client
    except ImportError as error:
        raise MissingExtraError("Metrics", "batch") from error
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not int(port) < 65536:
        raise ValueError(f"`metrics`: expected PORT or HOST:PORT, got {address!r}.")
    registry = prometheus_client.CollectorRegistry()
    values: dict[str, tuple[str, Callable[[], float]]] = {
        "videos_done": ("Videos with masks, of this run.", lambda: counts.done),
        "videos_failed": ("Videos with a reason, of this run.", lambda: counts.failed),
        "videos_ended": ("Videos with a row, those of earlier runs included.", lambda: counts.ended),
        "videos_wanted": ("Videos of the sources.", lambda: counts.wanted),
        "video_seconds": ("Seconds of video done by this run.", lambda: counts.seconds),
        "run_seconds": ("Seconds since this run began.", lambda: counts.now() - counts.begun),
    }
    for name, (text, value) in values.items():
        gauge: Any = prometheus_client.Gauge(f"sonomask_batch_{name}", text, registry=registry)
        gauge.set_function(value)
    server, thread = prometheus_client.start_http_server(int(port), host or "127.0.0.1", registry)
    try:
        yield f"http://{host or '127.0.0.1'}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def say(line: str) -> None:
    """To standard error."""
    print("sonomask:", line, file=sys.stderr, flush=True)  # noqa: T201 - it is a log's line
