"""Meters of the delay of masks and of the response to onsets of sounds."""

from __future__ import annotations

from collections import deque

import numpy as np
from jaxtyping import Float32

from sonomask.media.reader import SAMPLE_RATE

BIN, BINS = 0.01, 6000  # seconds; the last bin takes all from a minute on
BLOCK = round(0.05 * SAMPLE_RATE)  # samples whose level is taken together
QUIET_BLOCKS = 20  # an onset comes after a second that is quieter
RISE, FLOOR = 12.0, -50.0  # decibels above that second; below full scale
VISIBLE = 0.001  # share of the picture from which a mask counts as seen
GIVEN_UP = 5.0  # seconds after which an onset that nothing answered counts as missed


class Histogram:
    """Durations, counted in steps of 10 ms: any number in the same memory."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[min(BINS - 1, max(0, round(seconds / BIN)))] += 1

    def __len__(self) -> int:
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """Seconds that this share does not exceed; NaN if none was counted."""
        total = len(self)
        if not total:
            return float("nan")
        return int(np.searchsorted(np.cumsum(self.counts), max(1, np.ceil(share * total)))) * BIN


class OnsetMeter:
    """From the moment a sound begins to the first mask after a frame without one.

    An onset is a block of 50 ms that is 12 dB louder than each of the second before. If something is marked already at
    that moment, the onset is not counted.
    """

    def __init__(self) -> None:
        self.delays = Histogram()
        self.missed = 0
        self.levels: deque[float] = deque(maxlen=QUIET_BLOCKS)
        self.rest = np.zeros(0, np.float32)
        self.pending: float | None = None  # moment of capture
        self.marked = False

    def hear(self, samples: Float32[np.ndarray, " S"], start: float) -> None:
        """Sound that follows what was heard before; `start` is when its first sample was captured, by the clock."""
        start -= len(self.rest) / SAMPLE_RATE
        track = np.concatenate([self.rest, samples])
        count = len(track) // BLOCK
        self.rest = track[count * BLOCK :]
        blocks = track[: count * BLOCK].reshape(count, BLOCK)
        for index, level in enumerate(10 * np.log10(np.square(blocks).mean(1) + 1e-10)):
            full = len(self.levels) == QUIET_BLOCKS
            if full and level > FLOOR and level > max(self.levels) + RISE and self.pending is None and not self.marked:
                self.pending = start + index * BLOCK / SAMPLE_RATE
            self.levels.append(float(level))

    def see(self, share: float, ready: float) -> None:
        """A mask that covers this share of the picture was ready at that moment of the clock."""
        self.marked = share >= VISIBLE
        if self.pending is None:
            return
        if self.marked:
            self.delays.add(ready - self.pending)
            self.pending = None
        elif ready - self.pending > GIVEN_UP:
            self.missed, self.pending = self.missed + 1, None
