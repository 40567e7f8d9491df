"""The bounded queue between the reader threads and the model's thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from sonomask.media.decoder import GAP
from sonomask.media.live.reader import LivePicture, LiveSound
from sonomask.media.reader import SAMPLE_RATE

KEPT = 8.0  # seconds of sound
BYTES, COUNT = 2**28, 256  # of pictures that wait
PATIENCE = 1.0  # seconds by which sound may come later than its picture before that goes on without


class SoundRing:
    """The latest seconds of sound, by time; safe between threads."""

    def __init__(self, seconds: float = KEPT) -> None:
        self.samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
        self.place = 0  # of the next sample, counted from time 0
        self.filled = 0
        self.lock = threading.Lock()

    @property
    def end(self) -> float:
        """Time up to which there is sound; -inf if there is none."""
        with self.lock:
            return self.place / SAMPLE_RATE if self.filled else float("-inf")

    def put(self, sound: LiveSound) -> None:
        """Add a piece. One that follows the last within 50 ms is joined to it; else silence or a cut brings it to its time."""
        place, piece = round(sound.time * SAMPLE_RATE), sound.samples
        with self.lock:
            if not self.filled:
                self.place = place
            away = place - self.place
            if abs(away) > GAP * SAMPLE_RATE:
                piece = piece[-away:] if away < 0 else np.concatenate([np.zeros(min(away, len(self.samples))), piece])
                self.place += max(0, away - len(self.samples))
            self._write(piece[-len(self.samples) :], len(piece))

    def _write(self, piece: np.ndarray, count: int) -> None:
        self.place += count
        self.filled = min(len(self.samples), self.filled + count)
        at = np.arange(self.place - len(piece), self.place) % len(self.samples)
        self.samples[at] = piece

    def between(self, start: float, stop: float) -> Float32[np.ndarray, " S"]:
        """The sound of a stretch; zeros where there is none or no longer any."""
        first, last = round(start * SAMPLE_RATE), round(stop * SAMPLE_RATE)
        result = np.zeros(max(0, last - first), np.float32)
        with self.lock:
            low, high = max(first, self.place - self.filled), min(last, self.place)
            if low < high:
                result[low - first : high - first] = self.samples[np.arange(low, high) % len(self.samples)]
        return result


@dataclass(frozen=True)
class PendingPicture:
    """A picture that has come, when it was captured and when it came, by the clock."""

    picture: LivePicture
    captured: float
    came: float


class Feed:
    """Hands the newest picture whose sound has come to the model's thread.

    Args:
        now: The clock.
        listens: Whether sound matters.
        ahead: Seconds of sound after its own moment that a picture needs.
    """

    def __init__(self, now: Callable[[], float], *, listens: bool, ahead: float = 0.0) -> None:
        self.now, self.listens, self.ahead = now, listens, ahead
        self.ring = SoundRing()
        self.waiting: deque[PendingPicture] = deque()
        self.changed = threading.Condition()
        self.ended = False
        self.error: Exception | None = None
        self.came = self.taken = self.unheard = 0
        self.latest = float("-inf")  # time of the last picture that came

    def picture(self, picture: LivePicture, captured: float) -> None:
        """Bring a picture; one that is not later than the last is left out."""
        with self.changed:
            self.came += 1
            if picture.time <= self.latest:
                return
            self.latest = picture.time
            if (
                len(self.waiting) >= COUNT or (len(self.waiting) + 1) * picture.bytes > BYTES
            ):  # keep half of them, over the whole stretch
                self.waiting = deque(list(self.waiting)[1::2])
            self.waiting.append(PendingPicture(picture, captured, self.now()))
            self.changed.notify_all()

    def sound(self, sound: LiveSound) -> None:
        """Bring a piece of sound."""
        self.ring.put(sound)
        with self.changed:
            self.changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes."""
        with self.changed:
            self.ended, self.error = True, error
            self.changed.notify_all()

    def take(self, after: float = float("-inf"), timeout: float = 1.0) -> PendingPicture | None:
        """The newest picture not before `after` whose sound has come; None if none came in `timeout` seconds.

        Pictures before it are left out.

        Raises:
            Exception: The exception with which the source ended, once everything has been taken.
        """
        with self.changed:
            if not self._ready(after) and not self.ended:
                self.changed.wait_for(lambda: self._ready(after) or self.ended, timeout)
            count = self._ready(after)
            if not count:
                if self.ended and self.error is not None:
                    raise self.error
                return None
            chosen = self.waiting[count - 1]
            for _ in range(count):
                self.waiting.popleft()
            self.taken += 1
            self.unheard += self.listens and chosen.picture.time + self.ahead > self.ring.end
            return chosen

    def _ready(self, after: float) -> int:
        """Number of waiting pictures up to the one to take; 0 if there is none."""
        end = self.ring.end if self.listens else float("inf")
        patient = self.now() - self.ahead - PATIENCE
        for count in range(len(self.waiting), 0, -1):
            one = self.waiting[count - 1]
            if one.picture.time < after:
                return 0
            if self.ended or one.picture.time + self.ahead <= end or one.came < patient:
                return count
        return 0
