"""Masks that a person can read: a fill and an outline on the picture, and a timeline of the sound below it.

The colours are those of Okabe and Ito, which stay apart for colour-blind eyes; the outline is a light line with a dark
one around it, so that it shows on any picture.
Source: Okabe & Ito, "Color universal design", 2008.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Timeline", "class_colours", "contact_sheet", "envelope", "overlay"]

COLOURS = np.array(
    [(230, 159, 0), (86, 180, 233), (204, 121, 167), (240, 228, 66), (0, 158, 115), (213, 94, 0), (0, 114, 178)],
    np.uint8,
)
OPACITY = 0.4  # of the fill: the thing below stays recognisable
GROUND, DIM, BRIGHT, WHITE = (16, 18, 22), (74, 82, 94), (174, 186, 200), (255, 255, 255)  # of the timeline
SHADE = 0.65  # brightness of all that does not sound, so that the rest stands out for any eye
LINE = 140  # pixels of the picture's shorter side for one of the outline's width
_SHADED = (np.arange(256) * SHADE).astype(np.uint8)


def class_colours(count: int) -> UInt8[np.ndarray, "{count} 3"]:
    """RGB of each class: black for the background, then seven colours in turn."""
    return np.concatenate([np.zeros((1, 3), np.uint8), COLOURS[np.arange(max(0, count - 1)) % len(COLOURS)]])[:count]


def overlay(
    image: UInt8[np.ndarray, "H W 3"],
    labels: UInt8[np.ndarray, "H W"] | Bool[np.ndarray, "H W"],
    names: Sequence[str] = (),
) -> UInt8[np.ndarray, "H W 3"]:
    """A copy of the picture with what sounds filled and outlined, and the rest darker.

    Args:
        image: RGB.
        labels: A mask, or the class of each pixel, 0 where nothing sounds.
        names: Of the classes, background first, written on the areas.

    Raises:
        ValueError: The sizes differ.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"`labels`: expected {image.shape[:2]} like the picture, got {labels.shape}.")
    result = _SHADED[image]
    labels = labels.astype(np.uint8, copy=False)
    rows, columns = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
    if not len(rows):
        return result
    width = max(1, round(min(labels.shape) / LINE))
    box = tuple(slice(max(0, i[0] - width), i[-1] + 1 + width) for i in (rows, columns))
    part, view = labels[box], result[box]
    inside, edge = part > 0, _edges(part, width)
    colours = class_colours(int(part.max()) + 1)
    mixed = image[box][inside] * (1 - OPACITY) + colours[part[inside]] * OPACITY
    view[inside] = mixed.astype(np.uint8)
    view[edge & inside] = (255 + colours[part[edge & inside]].astype(np.uint16)) // 2
    view[edge & ~inside] //= 6
    return _named(result, labels, names) if names else result


def _edges(labels: np.ndarray, width: int) -> Bool[np.ndarray, "H W"]:
    """Pixels with another label within `width` rows or columns."""
    edge = np.zeros(labels.shape, bool)
    for shift in range(1, width + 1):
        down, right = labels[shift:] != labels[:-shift], labels[:, shift:] != labels[:, :-shift]
        edge[shift:] |= down
        edge[:-shift] |= down
        edge[:, shift:] |= right
        edge[:, :-shift] |= right
    return edge


def _named(image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    canvas = Image.fromarray(image)
    draw, font = ImageDraw.Draw(canvas), _font(max(10, min(labels.shape) // 22))
    areas = np.bincount(labels.ravel(), minlength=1)
    for label in (np.flatnonzero(areas[1:] > labels.size / 1000) + 1).tolist():
        rows, columns = np.nonzero(labels == label)
        name = names[label] if label < len(names) else str(label)
        place = (int(np.median(columns)), int(np.median(rows)))
        draw.text(place, name, WHITE, font, anchor="mm", stroke_width=2, stroke_fill=GROUND)
    return np.asarray(canvas)


def envelope(
    blocks: Iterable[Float32[np.ndarray, " S"]], duration: float, columns: int, sample_rate: int
) -> Float[np.ndarray, "2 columns"]:
    """Peak and root mean square of a track in each column of a picture, a block at a time.

    Args:
        blocks: The track in pieces, from time 0.
        duration: Seconds that the columns span.
        columns: How many.
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
        column, block = column[inside], block[inside]
        first, last = column[0], column[-1] + 1
        starts = np.searchsorted(column, np.unique(column))
        peak[np.unique(column)] = np.maximum(peak[np.unique(column)], np.maximum.reduceat(np.abs(block), starts))
        power[first:last] += np.bincount(column - first, np.square(block, dtype=np.float64), last - first)
        count[first:last] += np.bincount(column - first, minlength=last - first)
    return np.stack([peak, np.sqrt(power / np.maximum(count, 1))])


class Timeline:
    """The strip below the picture: time, waveform with a playhead, and how much of the picture sounds.

    The waveform is drawn once, the curve below it grows with each `mark`. Both heights go with the square root, so that
    quiet sounds and small things show.

    Args:
        size: (height, width) in pixels.
        duration: Seconds that the strip spans.
        sound: From `envelope` with `width` columns; None for a video without sound.
    """

    def __init__(self, size: tuple[int, int], duration: float, sound: Float[np.ndarray, "2 W"] | None = None) -> None:
        self.height, self.width = size
        self.duration = max(duration, 1e-3)
        self.text = max(9, round(self.height * 0.17))
        top, bottom = round(self.text * 1.5), self.height - 2
        middle = round(top + (bottom - top) * 0.58)
        self.lane = (middle + 2, bottom)
        self.idle, self.played = self._draw_sound(sound, top, middle)
        self.column, self.share = 0, 0.0

    def mark(self, time: float, share: float) -> None:
        """Note which share of the picture, 0 to 1, sounds from the last mark up to `time`."""
        low, high = self.lane
        column = min(self.width, self._column(time) + 1)
        top = high - round((high - low) * share**0.5)
        for strip in (self.idle, self.played):
            strip[top:high, self.column : column] = COLOURS[0]
        self.column, self.share = max(self.column, column), share

    def draw(self, time: float) -> UInt8[np.ndarray, "h W 3"]:
        """The strip at a moment."""
        place = self._column(time)
        strip = np.concatenate([self.played[:, :place], self.idle[:, place:]], axis=1)
        width = max(1, self.width // 480)
        strip[round(self.text * 1.5) :, max(0, place - width // 2) : place + (width + 1) // 2] = WHITE
        left = f"{_clock(time)} / {_clock(self.duration)}"
        percent = f"{self.share:.0%}" if self.share >= 0.005 else "under 1%"
        right = f"sounding: {percent} of the picture" if self.share else "nothing sounds"
        font = _font(self.text)
        lengths = [font.getlength(text) for text in (left, right)]
        canvas = Image.fromarray(strip)
        draw = ImageDraw.Draw(canvas)
        margin, line = round(self.text * 0.5), round(self.text * 0.75)
        draw.text((margin, line), left, WHITE, font, anchor="lm")
        if sum(lengths) + 3 * margin < self.width:
            colour = tuple(COLOURS[0].tolist()) if self.share else BRIGHT
            draw.text((self.width - margin, line), right, colour, font, anchor="rm")
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


def contact_sheet(
    images: Sequence[UInt8[np.ndarray, "H W 3"]], times: Sequence[float], columns: int = 5
) -> UInt8[np.ndarray, "H2 W2 3"]:
    """Pictures side by side, row by row, each with its time.

    Raises:
        ValueError: There are none, or not as many times as pictures.
    """
    if not images or len(images) != len(times):
        raise ValueError(f"`images`: expected one per time, at least one, got {len(images)} for {len(times)} times.")
    height, width = images[0].shape[:2]
    gap, columns = max(2, width // 80), min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), GROUND)
    draw, font = ImageDraw.Draw(sheet), _font(max(10, height // 14))
    for place, (image, time) in enumerate(zip(images, times, strict=True)):
        x, y = gap + place % columns * (width + gap), gap + place // columns * (height + gap)
        sheet.paste(Image.fromarray(image), (x, y))
        draw.text((x + gap + 2, y + gap + 2), _clock(time), WHITE, font, stroke_width=2, stroke_fill=GROUND)
    return np.asarray(sheet)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
