"""The strip below a picture: time, waveform, how much of the picture sounds, and how sure that is."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, ImageDraw

from sonomask.visualise.style import BRIGHT, COLOURS, DIM, GROUND, WHITE, clock, font

__all__ = ["Timeline", "envelope"]


def envelope(
    blocks: Iterable[Float32[np.ndarray, " S"]], duration: float, columns: int, sample_rate: int
) -> Float[np.ndarray, "2 columns"]:
    """Peak and root mean square of a track in each column of a picture, a block at a time.

    Args:
        blocks: The track in pieces, from time 0.
        duration: Seconds that the columns span.
        columns: Number of columns.
        sample_rate: Hz.
    """
    peak, power, count = np.zeros(columns, np.float32), np.zeros(columns), np.zeros(columns)
    start = 0
    for block in blocks:
        column = (np.arange(start, start + len(block)) * (columns / (duration * sample_rate))).astype(np.int64)
        start += len(block)
        inside = column < columns
        if not inside.any():
            break
        column, block = column[inside], np.nan_to_num(block[inside], posinf=0.0, neginf=0.0)
        first, last = column[0], column[-1] + 1
        starts = np.searchsorted(column, np.unique(column))
        peak[np.unique(column)] = np.maximum(peak[np.unique(column)], np.maximum.reduceat(np.abs(block), starts))
        power[first:last] += np.bincount(column - first, np.square(block, dtype=np.float64), last - first)
        count[first:last] += np.bincount(column - first, minlength=last - first)
    return np.stack([peak, np.sqrt(power / np.maximum(count, 1))])


class Timeline:
    """The strip below the picture: time, waveform with a playhead, how much of the picture sounds, the presence score.

    The waveform is drawn once, the curves below it grow with each `mark`: orange for the share that sounds, a blue line for
    the presence score. The heights of waveform and share go with the square root, so that quiet sounds and small things show.

    Args:
        size: (height, width) in pixels.
        duration: Seconds that the strip spans.
        sound: Waveform from `envelope` with `width` columns; None for a video without sound.
        rows: Number of rows for names below the curves; a name has the next free one when it is first marked.
    """

    def __init__(
        self,
        size: tuple[int, int],
        duration: float,
        sound: Float[np.ndarray, "2 W"] | None = None,
        rows: int = 0,
    ) -> None:
        self.height, self.width = size
        self.rows: dict[str, int] = {}
        self.free = rows
        self.row = max(12, round(self.height * 0.17) // 2 * 2) if rows else 0  # pixels of one, even as videos want it
        self.height += rows * self.row
        curves = size[0]
        self.duration = max(duration, 1e-3)
        self.text = max(9, round(curves * 0.17))
        self.head = 2 * round(self.text * 0.75)  # rows of text
        top, bottom = self.head, curves - 2
        middle = round(top + (bottom - top) * 0.58)
        self.lane = (middle + 2, bottom)
        self.idle, self.played = self._draw_sound(sound, top, middle)
        self.column, self.share = 0, 0.0
        self.presence: float | None = None

    def mark(self, time: float, share: float, presence: float | None = None, names: Collection[str] = ()) -> None:
        """Note what sounds from the last mark up to `time`.

        Args:
            time: Time in seconds.
            share: Share of the picture that sounds, 0 to 1.
            presence: Presence score, where there is one.
            names: Names of what sounds; those beyond the rows that there are have none.
        """
        low, high = self.lane
        column = min(self.width, self._column(time) + 1)
        top = high - round((high - low) * share**0.5)
        line = max(2, self.height // 40)
        for strip in (self.idle, self.played):
            strip[top:high, self.column : column] = COLOURS[0]
            if presence is not None:
                level = low + round((high - low - line) * (1 - presence))
                strip[level : level + line, self.column : column] = COLOURS[1]
        self._mark_names(column, names)
        self.column, self.share, self.presence = max(self.column, column), share, presence

    def _mark_names(self, column: int, names: Collection[str]) -> None:
        for name in names:
            if name not in self.rows and len(self.rows) < self.free:
                self.rows[name] = len(self.rows)
        for name in self.rows.keys() & set(names):
            place = self.rows[name]
            top = self.lane[1] + 2 + place * self.row
            for strip in (self.idle, self.played):
                strip[top + 1 : top + self.row - 1, self.column : column] = COLOURS[place % len(COLOURS)]

    def _write_names(self, strip: UInt8[np.ndarray, "h W 3"]) -> UInt8[np.ndarray, "h W 3"]:
        """The rows' names at their left ends."""
        if not self.rows:
            return strip
        canvas, letters = Image.fromarray(strip), font(self.row - 3)
        draw = ImageDraw.Draw(canvas)
        for name, place in self.rows.items():
            at = (round(self.text * 0.5), self.lane[1] + 2 + place * self.row + self.row // 2)
            draw.text(at, name, WHITE, letters, anchor="lm", stroke_width=2, stroke_fill=GROUND)
        return np.asarray(canvas)

    def draw(self, time: float) -> UInt8[np.ndarray, "h W 3"]:
        """The strip at a moment."""
        return self._write_names(np.concatenate([self.heading(time), self.lanes(time)]))

    def columns(self, time: float) -> tuple[int, int]:
        """The columns on which the lanes at a time depend: the playhead's, and the end of the curves."""
        return self._column(time), self.column

    def lanes(self, time: float, first: int = 0, last: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """The rows below the text at a moment, or some of their columns."""
        place, last = self._column(time), self.width if last is None else last
        middle = min(max(place, first), last)
        strip = np.concatenate([self.played[self.head :, first:middle], self.idle[self.head :, middle:last]], axis=1)
        width = max(1, self.width // 480)
        strip[:, max(0, place - width // 2 - first) : max(0, place + (width + 1) // 2 - first)] = WHITE
        return strip

    def texts(self, time: float) -> tuple[str, str, str]:
        """Text at a time: time, share and presence."""
        left = f"{clock(time)} / {clock(self.duration)}"
        percent = f"{self.share:.0%}" if self.share >= 0.005 else "under 1%"
        right = f"sounding: {percent} of the picture" if self.share else "nothing sounds"
        return left, right, "" if self.presence is None else f"presence {self.presence:.2f}"

    def heading(self, time: float) -> UInt8[np.ndarray, "head W 3"]:
        """The rows of text at a moment."""
        left, right, presence_text = self.texts(time)
        letters = font(self.text)
        lengths = [letters.getlength(text) for text in (left, right, presence_text)]
        canvas = Image.new("RGB", (self.width, self.head), tuple(GROUND))
        draw = ImageDraw.Draw(canvas)
        margin, line = round(self.text * 0.5), round(self.text * 0.75)
        draw.text((margin, line), left, WHITE, letters, anchor="lm")
        place = self.width - margin
        for text, length, colour in (
            (right, lengths[1], tuple(COLOURS[0].tolist()) if self.share else BRIGHT),
            (presence_text, lengths[2], tuple(COLOURS[1].tolist())),
        ):
            if text and place - length > 2 * margin + lengths[0]:
                draw.text((place, line), text, colour, letters, anchor="rm")
                place -= round(length) + 2 * margin
        return np.asarray(canvas)

    def _column(self, time: float) -> int:
        return int(np.clip(time / self.duration * self.width, 0, self.width - 1))

    def _draw_sound(
        self, sound: np.ndarray | None, top: int, bottom: int
    ) -> tuple[UInt8[np.ndarray, "h W 3"], UInt8[np.ndarray, "h W 3"]]:
        """The strip ahead of the playhead and behind it."""
        idle = np.full((self.height, self.width, 3), GROUND, np.uint8)
        played = idle.copy()
        if sound is not None:
            loudest = max(float(sound[0].max()), 1e-4)
            half = (bottom - top) / 2
            distance = np.abs(np.arange(self.height) + 0.5 - (top + bottom) / 2)[:, None]
            peak, mean = (distance <= np.maximum(np.sqrt(row / loudest) * half, 0.5) for row in sound)
            played[peak], idle[peak] = DIM, (np.array(DIM) * 0.6).astype(np.uint8)
            played[mean], idle[mean] = BRIGHT, DIM
        return idle, played
