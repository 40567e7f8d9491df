"""Progress of a corpus, for logs and Prometheus."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from sonomask.batch.collect import Summary
from sonomask.batch.job import Ending
from sonomask.monitoring import Figure

__all__ = ["Counts"]

EVERY = 30.0  # seconds between two lines


class Counts:
    """Count videos and log the progress line by line.

    Args:
        say: Function called with each line.
        now: A clock; tests hand in another.
    """

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self.say, self.now = say, now
        self.begun = self.reported = now()
        self.ended, self.wanted, self.first = 0, 0, -1
        self.done, self.failed, self.seconds = 0, 0, 0.0
        self.summary = Summary()

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

    def figures(self) -> list[Figure]:
        """For Prometheus."""
        summary = self.summary
        return [
            Figure("sonomask_batch_videos_done", "Videos with masks, of this run.", lambda: self.done),
            Figure("sonomask_batch_videos_failed", "Videos with a reason, of this run.", lambda: self.failed),
            Figure("sonomask_batch_videos_ended", "Videos with a row, those of earlier runs too.", lambda: self.ended),
            Figure("sonomask_batch_videos_wanted", "Videos of the sources.", lambda: self.wanted),
            Figure("sonomask_batch_videos_open", "Videos begun, or waiting for their shard.", lambda: summary.waiting),
            Figure("sonomask_batch_masks", "Masks made by this run.", lambda: summary.masks),
            Figure("sonomask_batch_video_seconds", "Seconds of video done by this run.", lambda: self.seconds),
            Figure("sonomask_batch_run_seconds", "Seconds since this run began.", lambda: self.now() - self.begun),
            Figure(
                "sonomask_batch_stage_seconds", "Seconds of work, over all processes.",
                lambda: dict(summary.clock), "stage",
            ),
        ]  # fmt: skip


def say(line: str) -> None:
    """To standard error."""
    print("sonomask:", line, file=sys.stderr, flush=True)  # noqa: T201 - it is a log's line
