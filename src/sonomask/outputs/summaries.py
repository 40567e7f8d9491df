"""A video at a glance: a contact sheet, and a plot of the scores."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from sonomask.media.reader import SAMPLE_RATE, VideoReader
from sonomask.outputs.moment import Moment, OutputContext, Take
from sonomask.visualise.overlay import overlay
from sonomask.visualise.plots import score_plot
from sonomask.visualise.sheets import contact_sheet
from sonomask.visualise.timeline import envelope
from sonomask.workspace import atomic_path

__all__ = ["write_scores", "write_sheet"]

ACROSS = 5  # pictures in a row: a clip of the data set
MOST = 30  # pictures on a sheet
SIDE = 240  # pixels of a picture's longer side
COLUMNS = 1200  # of the waveform


@contextmanager
def write_sheet(path: Path, context: OutputContext) -> Iterator[Take]:
    """Overlays, one for each second, five in a row with their waveform; of a longer video 30, evenly spread.

    Of a video that does not tell its length, the first 30 seconds.
    """
    duration = context.reader.info.duration
    step = max(1.0, (duration or 0) / MOST)
    scale = SIDE / max(context.size)
    size = (max(1, round(context.size[0] * scale)), max(1, round(context.size[1] * scale)))
    picture = context.pictures(size)
    images: list[np.ndarray] = []
    times: list[float] = []
    with atomic_path(path, overwrite=context.overwrite) as fresh:

        def take(moment: Moment) -> None:
            if len(images) < MOST and moment.time >= len(images) * step + step / 2:
                labels = np.asarray(Image.fromarray(moment.labels).resize(size[::-1], Image.Resampling.NEAREST))
                images.append(overlay(picture(moment.time), labels, context.classes))
                times.append(moment.source_time)

        yield take
        if not images:  # shorter than half a second
            images, times = [picture(0.0)], [0.0]
        sound = _sound(context.reader, len(images) * step)
        Image.fromarray(contact_sheet(images, times, ACROSS, sound=sound)).save(fresh)


@contextmanager
def write_scores(path: Path, context: OutputContext) -> Iterator[Take]:
    """Presence score, masked share and highest probability over time above the waveform; 32 bytes of memory for each mask."""
    times, presence, area, highest = (array("d") for _ in range(4))
    with atomic_path(path, overwrite=context.overwrite) as fresh:

        def take(moment: Moment) -> None:
            times.append(moment.time)
            area.append(moment.area)
            highest.append(float(moment.probability.max()))
            if moment.presence is not None:
                presence.append(moment.presence)

        yield take
        series = {"presence": presence} if len(presence) == len(times) else {}
        series |= {"share of the picture": area, "highest probability": highest}
        duration = context.reader.info.duration or (times[-1] if times else 1.0)
        sound = _sound(context.reader, duration)
        Image.fromarray(score_plot(times, series, duration, sound, title=context.name)).save(fresh)


def _sound(reader: VideoReader, duration: float) -> np.ndarray | None:
    if not reader.info.has_audio:
        return None
    return envelope(reader.waveform(stop=duration), duration, COLUMNS, SAMPLE_RATE)
