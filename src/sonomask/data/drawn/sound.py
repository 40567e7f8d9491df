"""The sounds of the synthetic world: one timbre for each kind, at any pitch.

Every timbre repeats, or continues, within a third of a second, so that its kind can be told from any 0.96 s of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from sonomask.audio.logmel import SAMPLE_RATE

__all__ = ["TIMBRES", "gate", "timbre"]

Wave = Float32[np.ndarray, " S"]
LOUDNESS = 0.1  # root mean square of every timbre before its gain
FADE = 0.01  # seconds in which a sound starts or stops, so that it doesn't click
TABLE = 2048  # samples of a stored period


@dataclass(frozen=True)
class _Note:
    """The parameters with which a timbre is played: a frequency factor, a length, and a noise source."""

    pitch: float
    samples: int
    rng: np.random.Generator

    @property
    def time(self) -> Wave:
        return np.asarray(np.arange(self.samples) / SAMPLE_RATE, dtype=np.float32)

    def since(self, rate: float) -> Wave:
        """Seconds since the last of `rate` strokes a second."""
        return np.asarray(self.time % np.float32(1 / rate))

    def white(self) -> Wave:
        return self.rng.standard_normal(self.samples, dtype=np.float32)

    def harmonics(self, frequency: float, amplitudes: list[float]) -> Wave:
        """A sum of harmonics, read from one stored period; far cheaper than a sine for each."""
        phase = np.arange(TABLE) * (2 * np.pi / TABLE)
        waves = np.asarray(amplitudes) @ np.sin(np.arange(1, len(amplitudes) + 1)[:, None] * phase)
        table = waves.astype(np.float32)
        step = frequency * self.pitch * TABLE / SAMPLE_RATE
        return np.asarray(table[(np.arange(self.samples) * step).astype(np.int64) % TABLE])

    def band(self, low: float, high: float) -> Wave:
        """Noise between two frequencies in hertz."""
        frequency = np.fft.rfftfreq(self.samples, self.pitch / SAMPLE_RATE)  # in hertz at pitch 1
        spectrum = np.fft.rfft(self.white()) * ((frequency >= low) & (frequency <= high))
        return np.asarray(np.fft.irfft(spectrum, self.samples), dtype=np.float32)

    def sweep(self, start: float, stop: float, rate: float) -> Wave:
        """Tones that glide from one frequency to another, `rate` of them a second."""
        t = self.since(rate)
        turns = self.pitch * (start * t + (stop - start) * rate * t**2 / 2)
        return np.asarray(np.sin(2 * np.pi * turns) * np.sin(np.pi * t * rate))


def _bell(note: _Note) -> Wave:
    """Frequency modulation whose depth dies away with the stroke."""
    t = note.since(3)
    turn = 2 * np.pi * note.pitch * t
    return np.asarray(np.sin(2100 * turn + 3 * np.exp(-6 * t) * np.sin(2940 * turn)) * np.exp(-7 * t))


def _drum(note: _Note) -> Wave:
    t = note.since(4)
    turns = note.pitch * (140 * t + 12 * (1 - np.exp(-25 * t)))
    return np.asarray(np.sin(2 * np.pi * turns) * np.exp(-14 * t))


def _whistle(note: _Note) -> Wave:
    return np.asarray(np.sin(2 * np.pi * 2000 * note.pitch * note.time + 12 * np.sin(2 * np.pi * 5 * note.time)))


TIMBRES: dict[str, Callable[[_Note], Any]] = {
    "disc": lambda note: note.harmonics(110, [1 / k for k in range(1, 25)]),  # a hum
    "ring": _bell,
    "square": _drum,
    "cross": lambda note: note.band(4200, 6200),  # a hiss
    "triangle": _whistle,
    "star": lambda note: np.exp(-700 * note.since(16 * note.pitch)) * note.white(),  # clicks
    "flower": lambda note: note.sweep(400, 2600, 4),  # a bird
    "gear": lambda note: (
        note.harmonics(420, [1, 0, 1, 0, 1, 0, 1, 0, 1])  # a reed that trembles
        * (0.6 + 0.4 * np.sin(2 * np.pi * 7 * note.time))
    ),
    "crescent": lambda note: note.sweep(5600, 1400, 9),  # a toy laser
    "drop": lambda note: note.band(250, 700) * (0.7 + 0.3 * np.sin(2 * np.pi * 2 * note.time)),  # wind
}


def timbre(kind: str, pitch: float, samples: int, rng: np.random.Generator) -> Wave:
    """The sound of a kind, without a pause.

    Args:
        kind: A key of `TIMBRES`.
        pitch: Factor on its frequencies, 0.8 to 1.25 for the kinds to stay apart.
        samples: Length at 16 kHz.
        rng: Noise of the noisy kinds.
    """
    wave = TIMBRES[kind](_Note(pitch, samples, rng))
    return np.asarray(wave * (LOUDNESS / np.sqrt(np.mean(wave**2))), dtype=np.float32)


def gate(seconds: Bool[np.ndarray, " T"]) -> Wave:
    """1 in the seconds that are true and 0 in the others, with short ramps between, at 16 kHz."""
    steps = np.repeat(seconds, SAMPLE_RATE).astype(np.float32)
    width = int(FADE * SAMPLE_RATE)
    total = np.concatenate([[0], np.cumsum(np.pad(steps, (width, 0), mode="edge"), dtype=np.float64)])
    return np.asarray((total[width + 1 :] - total[1:-width]) / width, dtype=np.float32)
