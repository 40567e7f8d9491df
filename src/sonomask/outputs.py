"""The files that come of a video: overlay, mask pictures, probabilities.

Each output is a context manager that gives a function to hand `Masks` to; it appears under its name when the block ends
well, and not at all otherwise. Nothing is gathered in memory, so one pass of the model feeds all of them at any length.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.lib import format as npy
from PIL import Image

from sonomask.errors import MediaError
from sonomask.media.reader import SAMPLE_RATE, Frame, VideoReader
from sonomask.media.writer import VideoWriter, atomic_path
from sonomask.structures import Masks
from sonomask.visualise import Timeline, class_colours, envelope, overlay

__all__ = ["SUFFIXES", "Format", "Write", "open_outputs", "paths_of", "write_npz", "write_overlay", "write_pictures"]

Format = Literal["overlay", "masks", "npz"]
Write: TypeAlias = Callable[[Masks], None]

SUFFIXES: dict[Format, str] = {"overlay": ".overlay.mp4", "masks": ".masks", "npz": ".npz"}
MANIFEST = "manifest.json"
STRIP = 0.24  # height of the timeline, of the picture's shorter side


def paths_of(stem: Path, formats: Sequence[Format]) -> dict[Format, Path]:
    """The output of each format, beside one another.

    Raises:
        ValueError: A format is unknown, or there is none.
    """
    if not formats or not set(formats) <= set(SUFFIXES):
        raise ValueError(f"`formats`: expected some of {', '.join(SUFFIXES)}, got {list(formats)}.")
    return {name: stem.with_name(stem.name + SUFFIXES[name]) for name in dict.fromkeys(formats)}


@contextmanager
def open_outputs(
    reader: VideoReader,
    paths: Mapping[Format, Path],
    *,
    facts: Mapping[str, Any],
    classes: Sequence[str] = (),
    overwrite: bool = False,
) -> Iterator[Write]:
    """All outputs of a video at once.

    Args:
        reader: Of the video; the overlay reads it a second time.
        paths: From `paths_of`.
        facts: What the manifest tells besides the frames.
        classes: Names of a semantic model's classes.
        overwrite: Replace what exists.

    Raises:
        MediaError: An output exists and may not be replaced, or can't be written.
    """
    with ExitStack() as stack:
        writes: list[Write] = []
        for name, path in paths.items():
            if name == "overlay":
                output = write_overlay(path, reader, classes=classes, overwrite=overwrite)
            elif name == "masks":
                output = write_pictures(path, facts={**facts, "classes": list(classes)}, overwrite=overwrite)
            else:
                output = write_npz(path, overwrite=overwrite)
            writes.append(stack.enter_context(output))

        def write(masks: Masks) -> None:
            for one in writes:
                one(masks)

        yield write


@contextmanager
def write_overlay(
    path: Path, reader: VideoReader, *, classes: Sequence[str] = (), overwrite: bool = False
) -> Iterator[Write]:
    """The video at its own frame rate with its own sound, masks on it and a timeline below.

    Each frame shows the mask that is nearest in time. A second decoder follows the masks, half a step behind.
    """
    info = reader.info
    strip = _timeline(reader)
    size = (info.height + (strip.height if strip else 0), info.width)
    sound = info.source if info.has_audio else None
    with VideoWriter(path, size=size, rate=info.fps, audio_from=sound, overwrite=overwrite) as video:
        follower = _Follower(reader, video, strip, classes)
        yield follower.write
        follower.finish()


class _Follower:
    """Draws each frame once it is known which mask is nearest."""

    def __init__(self, reader: VideoReader, video: VideoWriter, strip: Timeline | None, classes: Sequence[str]) -> None:
        size = (reader.info.height, reader.info.width)
        self.frames, self.video, self.strip, self.classes = reader.frames("native", size=size), video, strip, classes
        self.pending: Frame | None = next(self.frames, None)
        self.time, self.labels = 0.0, np.zeros(size, np.uint8)
        self.shown = False

    def write(self, masks: Masks) -> None:
        for time, labels in zip(masks.times, _labels(masks), strict=True):
            if self.shown:
                self._draw_until((self.time + time) / 2)
            self.time, self.labels, self.shown = time, labels, True

    def finish(self) -> None:
        self._draw_until(float("inf"))

    def _draw_until(self, time: float) -> None:
        share = float((self.labels > 0).mean())
        while self.pending is not None and self.pending.time < time:
            image = overlay(self.pending.image, self.labels, self.classes)
            if self.strip is not None:
                self.strip.mark(self.pending.time, share)
                image = np.concatenate([image, self.strip.draw(self.pending.time)])
            self.video.write(image, self.pending.time)
            self.pending = next(self.frames, None)


def _timeline(reader: VideoReader) -> Timeline | None:
    """None where the container does not tell how long the video is, as a live stream."""
    info = reader.info
    if info.duration is None:
        return None
    height = max(32, round(min(info.height, info.width) * STRIP))
    height += (info.height + height) % 2
    sound = None
    if info.has_audio:
        sound = envelope(reader.waveform(), info.duration, info.width, SAMPLE_RATE)
    return Timeline((height, info.width), info.duration, sound)


@contextmanager
def write_pictures(path: Path, *, facts: Mapping[str, Any], overwrite: bool = False) -> Iterator[Write]:
    """A folder with a PNG of each mask, named by its time in seconds, and `manifest.json`.

    A binary mask is 0 and 255; a semantic one holds class indices and a palette. The manifest tells `about` the whole, and
    of each of the `frames` its time, file, the share of the picture that is masked, the highest probability and, if the
    model has it, the presence score.

    Raises:
        MediaError: The folder exists and is not such a folder, or `overwrite` is not set.
    """
    if overwrite and path.exists() and not (path / MANIFEST).is_file():
        raise MediaError(f"{path} exists and has no {MANIFEST}, so it is not replaced. Give another --out.")
    with atomic_path(path, overwrite=overwrite) as fresh:
        fresh.mkdir()
        with (fresh / MANIFEST).open("w", encoding="utf-8") as manifest:
            manifest.write(f'{{"about": {json.dumps(dict(facts), ensure_ascii=False)},\n "frames": [')
            comma = ""

            def write(masks: Masks) -> None:
                nonlocal comma
                sure = masks.presence or (None,) * len(masks)
                for time, labels, probability, p in zip(
                    masks.times, _labels(masks), masks.probability, sure, strict=True
                ):
                    name = f"{time:012.6f}.png"
                    _picture(labels, semantic=masks.labels is not None).save(fresh / name)
                    area, highest = float((labels > 0).mean()), float(probability.max())
                    row: dict[str, Any] = {
                        "time": round(time, 6),
                        "file": name,
                        "area": area,
                        "max_probability": highest,
                    }
                    if p is not None:
                        row["presence"] = p
                    manifest.write(f"{comma}\n  {json.dumps(row)}")
                    comma = ","

            yield write
            manifest.write("\n ]}\n")


@contextmanager
def write_npz(path: Path, *, overwrite: bool = False) -> Iterator[Write]:
    """`times` (N,) float64, `probability` (N, H, W) float16 and, of a semantic model, `labels` (N, H, W) uint8.

    The number of frames stands at the head of such a file and is known at the end, so the values wait in a raw file.
    """
    with atomic_path(path, overwrite=overwrite) as fresh, ExitStack() as stack:
        times: list[float] = []
        raw: dict[str, tuple[Any, tuple[int, ...], np.dtype]] = {}

        def write(masks: Masks) -> None:
            times.extend(masks.times)
            arrays = {"probability": masks.probability.numpy().astype(np.float16)}
            if masks.labels is not None:
                arrays["labels"] = masks.labels.numpy()
            for name, values in arrays.items():
                if name not in raw:
                    file = stack.enter_context(fresh.with_name(f"{name}.raw").open("wb+"))
                    raw[name] = (file, values.shape[1:], values.dtype)
                raw[name][0].write(values.tobytes())

        yield write
        with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open("times.npy", "w") as entry:
                npy.write_array(entry, np.array(times))
            for name, (file, shape, dtype) in raw.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (len(times), *shape)}
                    npy.write_array_header_1_0(entry, header)
                    file.seek(0)
                    shutil.copyfileobj(file, entry, 1 << 20)


def _labels(masks: Masks) -> np.ndarray:
    """(N, H, W) uint8: 0 and 1, or class indices."""
    return (masks.mask.byte() if masks.labels is None else masks.labels).numpy()


def _picture(labels: np.ndarray, *, semantic: bool) -> Image.Image:
    if not semantic:
        return Image.fromarray(labels * 255)
    picture = Image.fromarray(labels)
    picture.putpalette(class_colours(256).tobytes())
    return picture
