"""The reader thread: reads a source into the feed, and reconnects when it is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sonomask.errors import MediaError
from sonomask.live.feed import Feed
from sonomask.media.live.reader import LIVE_LIMITS, Epoch, LivePicture, LiveReader, LiveSound
from sonomask.media.live.source import LiveSource
from sonomask.media.reader import Limits

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds before the next attempt; doubled after each
AHEAD = 2.0  # seconds by which a stream may be early before it is held back
HEALTHY = 10.0  # seconds of reading after which a loss counts as a new one

Say = Callable[[str], None]


class Clock:
    """The clock of a run; tests hand in another."""

    def now(self) -> float:
        """A monotonic clock in seconds."""
        return time.monotonic()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Sleep so long, or until `stop` is set."""
        stop.wait(seconds)


@dataclass
class Capture:
    """Reads a source until it ends for good.

    A file is read in real time, as if it were live. The end of any other source counts as a loss, after which reconnecting
    is tried at growing intervals until it succeeds or `patience` seconds have passed.

    Args:
        source: Source from `parse_source`.
        feed: Feed to which pictures and sound are brought.
        takes: "both", or only "pictures" or "sound" where another source brings the rest.
        clock: Clock of the run.
        say: Function called with each message, a line at a time.
        stop: Set to end it.
        limits: Limits on a source; its timeout is the longest silence.
        patience: Seconds without a source after which to give up.
        epoch: Epoch of the run; shared by its sources.
        late: Seconds by which this source's sound is late against the pictures (a microphone's own delay).
        open_reader: Opens a source; tests hand in another.
    """

    source: LiveSource
    feed: Feed
    takes: str = "both"
    clock: Clock = field(default_factory=Clock)
    say: Say = print
    stop: threading.Event = field(default_factory=threading.Event)
    limits: Limits = LIVE_LIMITS
    patience: float = 300.0
    late: float = 0.0
    open_reader: Callable[..., Any] = LiveReader
    epoch: Epoch = field(default_factory=Epoch)
    losses: int = 0
    left_out: int = 0  # pictures that were not even decoded
    damaged: int = 0

    def run(self) -> None:
        """The thread's body."""
        try:
            self._run()
        except Exception as error:  # whatever it is, the model's thread must hear of it
            self.feed.end(error)

    def open(self) -> Any:
        """The source, for the first time.

        Raises:
            MediaError: It can't be opened, or lacks what it is there for.
        """
        reader = self.open_reader(self.source, epoch=self.epoch, limits=self.limits, now=self.clock.now)
        lacking = [
            what
            for what, there in (("pictures", reader.video), ("sound", reader.audio))
            if there is None
            and (self.takes == what or (self.takes == "both" and (what == "pictures" or self.feed.listens)))
        ]
        if lacking:
            reader.__exit__(None, None, None)
            raise MediaError(f"{self.source.text}: has no {lacking[0]}. {_advice(lacking[0])}")
        return reader

    def start(self) -> threading.Thread:
        """Open the source and read it in a thread.

        Raises:
            MediaError: Any error of `open`.
        """
        self.first_reader = self.open()
        thread = threading.Thread(target=self.run, name=f"capture {self.source.text}", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        wait, lost_at = FIRST_WAIT, None
        reader: Any = getattr(self, "first_reader", None) or self.open()
        while True:
            begun = self.clock.now()
            reason = self._read(reader)
            if self.stop.is_set() or reason is None:
                return None if self.takes == "sound" else self.feed.end()
            if self.clock.now() - begun > HEALTHY:
                wait, lost_at = FIRST_WAIT, None
            self.losses += 1
            lost_at = lost_at if lost_at is not None else self.clock.now()
            while True:
                if self.clock.now() - lost_at + wait > self.patience:
                    return self.feed.end(MediaError(f"{reason}. It did not come back in {self.patience:g} s."))
                self.say(f"{reason}; trying again in {wait:g} s.")
                self.clock.wait(wait, self.stop)
                wait = min(2 * wait, LONGEST_WAIT)
                if self.stop.is_set():
                    return self.feed.end()
                try:
                    reader = self.open()
                except MediaError as error:
                    reason = str(error).rstrip(".")
                    continue
                self.say(f"{self.source.text}: back.")
                break

    def _read(self, reader: Any) -> str | None:
        """Bring all of it; why it was lost, or None if it is over for good."""
        try:
            with reader:
                for item in reader:
                    if self.stop.is_set():
                        return None
                    self._pace(reader, item.time)
                    self._bring(reader, item)
            return None if reader.finite or self.source.kind == "pipe" else f"{self.source.text}: ended"
        except MediaError as error:
            return str(error).rstrip(".")
        finally:
            self.left_out += reader.left_out
            self.damaged += reader.damaged

    def _bring(self, reader: Any, item: LivePicture | LiveSound) -> None:
        if isinstance(item, LiveSound):
            if self.takes != "pictures":
                self.feed.sound(LiveSound(item.time - self.late, item.samples))
        elif self.takes != "sound":
            due = self.epoch.moment if reader.finite else None
            self.feed.picture(item, reader.timeline.captured(item.time) if due is None else due + item.time)

    def _pace(self, reader: Any, time: float) -> None:
        """Hold back what comes earlier than it happens: a file, or a pipe that delivers one."""
        early = (self.epoch.moment or 0.0) + time - self.clock.now()
        slack = 0.0 if reader.finite or reader.bursts else AHEAD
        if early > slack:
            self.clock.wait(early - slack, self.stop)


def _advice(lacking: str) -> str:
    if lacking == "pictures":
        return "Give a source with pictures."
    return "Give the sound's source with --sound, or use a model with fusion `none`."
