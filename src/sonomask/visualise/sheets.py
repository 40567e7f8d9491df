"""Many pictures on one: contact sheets, and grids whose rows have names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from sonomask.visualise.style import BRIGHT, DIM, GROUND, INK, PAPER, PEAK, SOUND, WHITE, clock, font

__all__ = ["contact_sheet", "draw_wave", "grid", "heated", "same_second"]


def contact_sheet(
    images: Sequence[UInt8[np.ndarray, "H W 3"]],
    times: Sequence[float],
    columns: int = 5,
    *,
    sound: Float[np.ndarray, "2 _W"] | None = None,
) -> UInt8[np.ndarray, "H2 W2 3"]:
    """Pictures side by side, row by row, each with its time and, if there is sound, its waveform below.

    Args:
        images: Images in order.
        times: Seconds of each.
        columns: Pictures in a row.
        sound: Waveform from `envelope` over all the pictures' time, any width.

    Raises:
        ValueError: There are none, or not as many times as pictures.
    """
    if not images or len(images) != len(times):
        raise ValueError(f"`images`: expected one per time, at least one, got {len(images)} for {len(times)} times.")
    height, width = images[0].shape[:2]
    wave = max(16, height // 5) if sound is not None else 0
    gap, columns = max(2, width // 80), min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + wave + gap) + gap), GROUND)
    draw, letters = ImageDraw.Draw(sheet), font(max(10, height // 14))
    for place, (image, time) in enumerate(zip(images, times, strict=True)):
        x, y = gap + place % columns * (width + gap), gap + place // columns * (height + wave + gap)
        sheet.paste(Image.fromarray(image), (x, y))
        draw.text((x + gap + 2, y + gap + 2), clock(time), WHITE, letters, stroke_width=2, stroke_fill=GROUND)
        if sound is not None:
            span = (sound.shape[1] * place / len(images), sound.shape[1] * (place + 1) / len(images))
            draw_wave(draw, sound, span, (x, y + height, width, wave))
    return np.asarray(sheet)


def draw_wave(
    pen: ImageDraw.ImageDraw,
    sound: Float[np.ndarray, "2 _W"],
    span: tuple[float, float],
    box: tuple[int, int, int, int],
    colours: tuple[tuple[int, int, int], tuple[int, int, int]] = (DIM, BRIGHT),
) -> None:
    """Peak and mean of a piece of sound; heights go with the square root, so that quiet sounds show.

    Args:
        pen: Draws.
        sound: Waveform from `envelope`.
        span: First and last column of it.
        box: Left, top, width and height.
        colours: Colours of peak and mean.
    """
    left, top, width, height = box
    loudest, middle = max(float(sound[0].max()), 1e-4), top + height / 2
    place = np.linspace(*span, width, endpoint=False).astype(int).clip(max=sound.shape[1] - 1)
    for row, colour in zip(sound, colours, strict=True):
        for x, value in enumerate(np.sqrt(row[place] / loudest) * (height / 2 - 1)):
            reach = max(0.5, float(value))
            pen.line([(left + x, middle - reach), (left + x, middle + reach)], colour, 1)


def heated(image: UInt8[np.ndarray, "H W 3"], heat: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "H W 3"]:
    """Values from 0 to 1 on a picture in grey: dark for little, orange to white for much."""
    height, width = image.shape[:2]
    small = Image.fromarray(heat.astype(np.float32))
    h = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))[..., None]
    colour = np.clip(np.concatenate([3 * h, 3 * h - 0.9, 3 * h - 2], -1), 0, 1) * 255
    mixed = image.mean(-1, keepdims=True) * (0.48 - 0.23 * h) + colour * (0.15 + 0.6 * h)
    return mixed.clip(0, 255).astype(np.uint8)


def same_second(attention: Float[np.ndarray, "T h w S"]) -> Float[np.ndarray, "T h w"]:
    """Attention of each second's pixels to that second's sound, scaled to 0..1 over the clip."""
    seconds = np.arange(len(attention))
    own = attention[seconds, :, :, seconds]
    low, high = own.min(), own.max()
    return (own - low) / max(high - low, 1e-9)


def grid(
    rows: Sequence[tuple[str, Sequence[UInt8[np.ndarray, "H W 3"]]]],
    *,
    heads: Sequence[str] = (),
    sound: Float[np.ndarray, "2 _W"] | None = None,
    margin: int = 150,
) -> UInt8[np.ndarray, "H2 W2 3"]:
    """Pictures in rows with names, on white, as for a paper.

    Args:
        rows: Name and pictures; all of one size and number.
        heads: Text above each column, such as its time.
        sound: Waveform from `envelope`, below the whole.
        margin: Pixels for the names.

    Raises:
        ValueError: There is nothing, or the rows differ in length.
    """
    if not rows or not rows[0][1] or len({len(pictures) for _, pictures in rows}) != 1:
        raise ValueError("`rows`: expected rows with as many pictures each, at least one.")
    height, width = rows[0][1][0].shape[:2]
    count, gap, head, wave = len(rows[0][1]), 4, 22 * bool(heads), 60 * (sound is not None)
    letters = font(15)
    canvas = Image.new("RGB", (margin + count * (width + gap), head + len(rows) * (height + gap) + wave), PAPER)
    pen = ImageDraw.Draw(canvas)
    for column, text in enumerate(heads):
        pen.text((margin + column * (width + gap) + width // 2, head // 2), text, INK, letters, anchor="mm")
    for place, (name, pictures) in enumerate(rows):
        top = head + place * (height + gap)
        pen.multiline_text((6, top + height // 2), name.replace(", ", ",\n"), INK, letters, anchor="lm")
        for column, picture in enumerate(pictures):
            canvas.paste(Image.fromarray(picture), (margin + column * (width + gap), top))
    if sound is not None:
        top = head + len(rows) * (height + gap)
        pen.text((6, top + wave // 2), "sound", INK, letters, anchor="lm")
        box = (margin, top, count * (width + gap) - gap, wave)
        draw_wave(pen, sound, (0, sound.shape[1]), box, (PEAK, SOUND))
    return np.asarray(canvas)
