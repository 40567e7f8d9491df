"""Which of several things that are alike sounds: the one that moves as the sound begins, or that a network says fits.

Two dogs and one bark: both match its word. Over some seconds each thing's motion is compared with where the sound gets louder
(the correlation of both curves), and, with PE-AV, its cut-out with the sound. A thing that fits much worse than the best one of
its word is left out; where nothing is clear, all stay. What was gathered fades over `MEMORY` seconds, so that who sounds may
change. There is nothing to learn here, and no network is needed for motion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from sonomask.inference.concepts import Carried, Fitting, Tracked

__all__ = ["Choice", "onsets"]

MEMORY = 24.0  # pictures, after which what was gathered counts for 1/e
LEAST = 8.0  # pictures from which on motion says something
SURE, APART = 2.0, 1.5  # standard errors by which the best one's correlation is above 0, and above that of another
WORSE = 1.0  # of PE-AV's logit: the same
MARGIN = 0.1  # of a cut-out's sides, around the thing
BEFORE, AFTER = 0.25, 0.05  # seconds around a picture in which the sound may have got louder
STEP = 0.01  # seconds between two rows of a log-mel patch
SUMS = 8


def onsets(logmel: Float32[np.ndarray, "T 96 64"]) -> Float32[np.ndarray, " T"]:
    """How much louder the sound gets just before each picture: the steepest rise over 50 ms of the mean of its bands.

    Args:
        logmel: The patch whose middle is at the picture.
    """
    curve, middle = logmel.mean(2), logmel.shape[1] // 2
    rise = curve[:, 5:] - curve[:, :-5]
    first, last = middle - round(BEFORE / STEP) - 5, middle + round(AFTER / STEP) - 5
    steepest: Float32[np.ndarray, " T"] = rise[:, first:last].max(1).clip(0)
    return steepest


@dataclass
class Choice:
    """What was gathered of the things of a video, by id.

    Attributes:
        sums: For each thing the number of pictures, the sums of motion, onsets, their squares and their product, and the
            number and sum of what PE-AV said.
    """

    sums: dict[int, Float64[np.ndarray, " 8"]] = field(default_factory=dict)

    def gather(
        self,
        pictures: UInt8[np.ndarray, "T H W 3"],
        frames: Sequence[Sequence[Tracked]],
        rises: Float32[np.ndarray, " T"],
        before: Carried | None = None,
        fitting: Fitting | None = None,
        sound: Float32[np.ndarray, " S"] | None = None,
    ) -> None:
        """Add what some consecutive pictures show.

        Args:
            pictures: The pictures; motion is measured from each to the next.
            frames: Things of each picture.
            rises: What `onsets` says of each picture.
            before: The picture before them, with its things.
            fitting: Network that says which cut-out fits the sound.
            sound: Sound of these pictures, for that.
        """
        if not any(frames):
            return
        if before is not None and before.picture is not None and before.picture.shape == pictures.shape[1:]:
            pictures, frames = np.stack([before.picture, *pictures]), [before.things, *frames]
            rises = np.concatenate([[0.0], rises]).astype(np.float32)
        alike = _alike(frames)
        grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in pictures]
        for t in range(1, len(pictures)):
            changed = np.abs(grey[t] - grey[t - 1])
            then = {one.id: one.mask for one in frames[t - 1]}
            for one in frames[t]:
                if one.id in then and one.word in alike:
                    self._add(one.id, float(changed[one.mask | then[one.id]].mean()), float(rises[t]))
        if fitting is not None and sound is not None:
            for ids in alike.values():
                here = [n for n in ids if sum(one.id == n for things in frames for one in things) == len(frames)]
                if len(here) > 1:
                    crops = [_crop(pictures, [_mask(things, n) for things in frames]) for n in here]
                    for n, fit in zip(here, fitting(crops, sound), strict=True):
                        self._sums(n)[6:] = 0.7 * self._sums(n)[6:] + (1.0, float(fit))
        seen = {one.id for things in frames for one in things}
        self.sums = {n: row for n, row in self.sums.items() if n in seen}

    def silent(self, frames: Sequence[Sequence[Tracked]]) -> set[int]:
        """Ids of the things that fit the sound much worse than another one of the same word."""
        left_out: set[int] = set()
        for ids in _alike(frames).values():
            said = {n: row[7] / row[6] for n in ids if (row := self._sums(n))[6] > 0}
            if len(said) > 1:  # where the network has spoken motion is not asked
                left_out |= {n for n, fit in said.items() if max(said.values()) - fit > WORSE}
                continue
            moved = {n: _correlation(row) for n in ids if (row := self._sums(n))[0] >= LEAST}
            if len(moved) > 1:
                error = (min(self._sums(n)[0] for n in moved) - 3) ** -0.5
                best = max(moved.values())
                if best > SURE * error:
                    left_out |= {n for n, fit in moved.items() if best - fit > APART * 2**0.5 * error}
        return left_out

    def _sums(self, number: int) -> Float64[np.ndarray, " 8"]:
        return self.sums.setdefault(number, np.zeros(SUMS))

    def _add(self, number: int, motion: float, rise: float) -> None:
        row = self._sums(number)
        row[:6] = (1 - 1 / MEMORY) * row[:6] + (1, motion, rise, motion**2, rise**2, motion * rise)

    def packed(self) -> Float32[np.ndarray, " P"]:
        """The same as plain numbers."""
        rows = [np.concatenate([[n], row]) for n, row in self.sums.items()]
        return np.concatenate([[len(rows)], *rows]).astype(np.float32)

    @classmethod
    def unpacked(cls, numbers: Float32[np.ndarray, " _P"]) -> tuple[Choice, Float32[np.ndarray, " _R"]]:
        """What was packed at the beginning of some numbers, and the others."""
        if not len(numbers):
            return cls(), numbers
        end = 1 + int(numbers[0]) * (1 + SUMS)
        rows = numbers[1:end].reshape(-1, 1 + SUMS)
        return cls({int(row[0]): row[1:].astype(np.float64) for row in rows}), numbers[end:]


def _alike(frames: Sequence[Sequence[Tracked]]) -> Mapping[str, list[int]]:
    """The ids of each word that several things have at once somewhere."""
    together = {
        word for things in frames for word in {a.word for a in things if sum(b.word == a.word for b in things) > 1}
    }
    found: dict[str, dict[int, None]] = {}
    for things in frames:
        for one in things:
            if one.word in together:
                found.setdefault(one.word, {})[one.id] = None
    return {word: list(ids) for word, ids in found.items()}


def _correlation(row: Float64[np.ndarray, " 8"]) -> float:
    """Fisher's z of the correlation of motion and onsets."""
    count, motion, rise, motion2, rise2, product = row[:6] / max(row[0], 1e-9)
    spread = (motion2 - motion**2) * (rise2 - rise**2)
    if not count or spread <= 1e-12:
        return 0.0
    return float(np.arctanh(np.clip((product - motion * rise) / np.sqrt(spread), -0.99, 0.99)))


def _mask(things: Sequence[Tracked], number: int) -> Bool[np.ndarray, "H W"]:
    return next(one.mask for one in things if one.id == number)


def _crop(
    pictures: UInt8[np.ndarray, "T H W 3"], masks: Sequence[Bool[np.ndarray, "H W"]]
) -> UInt8[np.ndarray, "T h w 3"]:
    """The part of all pictures that a thing is in, with a margin."""
    anywhere = np.any(masks, 0)
    rows, columns = np.flatnonzero(anywhere.any(1)), np.flatnonzero(anywhere.any(0))
    down, across = (round(MARGIN * (line[-1] + 1 - line[0])) for line in (rows, columns))
    return pictures[
        :, max(0, rows[0] - down) : rows[-1] + 1 + down, max(0, columns[0] - across) : columns[-1] + 1 + across
    ]
