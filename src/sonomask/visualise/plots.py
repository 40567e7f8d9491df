"""Curves over time, drawn with Pillow: two axes and some lines need no plotting library (matplotlib would be 30 MB)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from sonomask.visualise.sheets import draw_wave
from sonomask.visualise.style import COLOURS, GRID, INK, PAPER, PEAK, SOUND, clock, font

__all__ = ["score_plot"]

SHADES = COLOURS[[0, 6, 2, 4, 5, 1]]  # those that show on white, first
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)  # seconds


def score_plot(
    times: Sequence[float],
    series: Mapping[str, Sequence[float]],
    duration: float,
    sound: Float[np.ndarray, "2 _W"] | None = None,
    *,
    title: str = "",
    size: tuple[int, int] = (420, 1200),
) -> UInt8[np.ndarray, "H W 3"]:
    """Scores from 0 to 1 over time as steps, with the waveform below.

    Args:
        times: Seconds of each value.
        series: Values by name, one for each time.
        duration: Seconds that the plot spans.
        sound: Waveform from `envelope`, of any width.
        title: Text above the plot.
        size: (height, width) in pixels.

    Raises:
        ValueError: A series has another length than `times`.
    """
    wrong = [name for name, values in series.items() if len(values) != len(times)]
    if wrong:
        raise ValueError(f"`series`: expected {len(times)} values each, {', '.join(wrong)} has not.")
    height, width = size
    text = max(12, height // 28)
    left, right, top = 4 * text, width - 2 * text, 3 * text
    floor = round(height * (0.72 if sound is not None else 0.88))
    canvas = Image.new("RGB", (width, height), PAPER)
    pen, letters = ImageDraw.Draw(canvas), font(text)
    duration = max(duration, 1e-3)

    def across(time: float) -> float:
        return left + (right - left) * min(max(time / duration, 0), 1)

    for level in (0, 0.25, 0.5, 0.75, 1):
        y = floor - level * (floor - top)
        pen.line([(left, y), (right, y)], GRID, 1)
        pen.text((left - text / 2, y), f"{level:g}", INK, letters, anchor="rm")
    bottom = height - 2 * text
    for tick in _ticks(duration):
        pen.line([(across(tick), top), (across(tick), bottom)], GRID, 1)
        pen.text((across(tick), bottom + text / 2), clock(tick), INK, letters, anchor="mt")
    if sound is not None:
        box = (left, floor + text, right - left, bottom - floor - text)
        draw_wave(pen, sound, (0, sound.shape[1]), box, (PEAK, SOUND))
    edges = [0.0, *((a + b) / 2 for a, b in itertools.pairwise(times)), duration]
    pen.text((left, text * 1.2), title, INK, letters, anchor="lm")
    place = right
    for (name, values), colour in reversed(list(zip(series.items(), SHADES.tolist(), strict=False))):
        points = [(across(e), floor - v * (floor - top)) for i, v in enumerate(values) for e in edges[i : i + 2]]
        if points:
            pen.line(points, tuple(colour), max(2, height // 160), joint="curve")
        pen.text((place, text * 1.2), name, tuple(colour), letters, anchor="rm")
        place -= round(letters.getlength(name)) + text
        pen.line([(place - 1.5 * text, text * 1.2), (place + text * 0.5, text * 1.2)], tuple(colour), 4)
        place -= 3 * text
    return np.asarray(canvas)


def _ticks(duration: float) -> list[float]:
    step = next((tick for tick in TICKS if duration / tick <= 10), TICKS[-1] * np.ceil(duration / TICKS[-1] / 10))
    return [float(i * step) for i in range(int(duration / step) + 1)]
