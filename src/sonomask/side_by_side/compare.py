"""Several models side by side on one video, and what a model attends to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from sonomask.api import Progress, class_names, load_fast, output_stem
from sonomask.errors import MissingExtraError, WeightsError
from sonomask.inference.inputs import pictures, sound_of, window_at
from sonomask.inference.segmenter import Segmenter
from sonomask.media.picture import Picture
from sonomask.media.reader import SAMPLE_RATE, Frame, VideoReader
from sonomask.media.writer import VideoWriter
from sonomask.outputs.following import Following
from sonomask.outputs.moment import Moment, OutputContext
from sonomask.outputs.write import moments
from sonomask.request import Rate, Request
from sonomask.visualise.overlay import overlay
from sonomask.visualise.sheets import draw_wave, grid, heated, same_second
from sonomask.visualise.style import BRIGHT, DIM, GROUND, WHITE, clock, font
from sonomask.visualise.timeline import envelope
from sonomask.workspace import atomic_path

__all__ = ["attention", "compare"]

ACROSS = 1920  # pixels of the side-by-side video, at most
SIDE = 200  # pixels of a picture's longer side in the grid
COLUMNS = 5  # pictures in a row of it
MIDDLE = 0.4  # of a column's time: a little early, since the next mask may come late
WAVE = 48  # pixels of the waveform's height


def compare(
    source: str | Path,
    models: Sequence[str],
    out: str | Path | None = None,
    *,
    rate: Rate = 5.0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
    part: Mapping[str, Any] | None = None,
) -> tuple[Path, Path]:
    """A video with the overlays of several models side by side, and one picture of five moments by all of them.

    Each model runs once, all at the same pace, so memory does not grow with the length.

    Args:
        source: Path or address of a video.
        models: Models as for `load_fast`.
        out: Folder; that of the video unless given.
        rate: Masks per second.
        device: "auto", "cpu", "cuda" or "mps".
        overwrite: Replace existing results.
        progress: Function called with the seconds done and those of the whole, if known.
        part: `start`, `end` and `audio_track` for the reader, as `Request.part` gives them; the whole if None.

    Returns:
        The paths of video and picture.

    Raises:
        MediaError: The video can't be read, or a result exists.
        WeightsError: There is no such model.
        ValueError: No model was given, or one twice.
    """
    if not models or len(set(models)) != len(models):
        raise ValueError(f"`models`: expected one or more, each once, got {list(models)}.")
    segmenters = [Segmenter(load_fast(model, device), device=device, rate=rate) for model in models]
    stem = output_stem(source, out)
    video, picture = (stem.with_name(f"{stem.name}.compare.{suffix}") for suffix in ("mp4", "png"))
    names = [Path(model).parent.name if str(model).endswith(".onnx") else Path(model).name for model in models]
    with VideoReader(source, **(part or {})) as reader, atomic_path(picture, overwrite=overwrite) as fresh:
        jobs = [OutputContext(reader, stem.name, {}, class_names(segmenter.config)) for segmenter in segmenters]
        with _side_by_side(video, jobs, names, overwrite=overwrite) as show:
            rows = _Rows(jobs, names)
            streams = (map(moments(None), segmenter(reader)) for segmenter in segmenters)
            for pieces in zip(*streams, strict=True):
                for together in zip(*pieces, strict=True):
                    show(together)
                    rows.take(together)
                    if progress is not None:
                        progress(together[0].time, reader.info.duration)
        Image.fromarray(rows.drawn()).save(fresh)
    return video, picture


class _Rows:
    """Keeps five moments, evenly spread, small."""

    def __init__(self, jobs: Sequence[OutputContext], names: Sequence[str]) -> None:
        self.jobs, self.names = jobs, names
        scale = SIDE / max(jobs[0].size)
        self.size = (round(jobs[0].size[0] * scale), round(jobs[0].size[1] * scale))
        self.picture = jobs[0].pictures(self.size)
        self.step = max(1.0, (jobs[0].reader.info.duration or 0) / COLUMNS)
        self.times: list[float] = []
        self.rows: list[list[np.ndarray]] = [[] for _ in range(1 + len(jobs))]

    def take(self, together: Sequence[Moment]) -> None:
        time = together[0].time
        if len(self.times) == COLUMNS or time < (len(self.times) + MIDDLE) * self.step:
            return
        image = self.picture(time)
        self.times.append(time)
        self.rows[0].append(image)
        for row, moment, context in zip(self.rows[1:], together, self.jobs, strict=True):
            labels = Image.fromarray(moment.labels).resize(self.size[::-1], Image.Resampling.NEAREST)
            row.append(overlay(image, np.asarray(labels), context.classes))

    def drawn(self) -> UInt8[np.ndarray, "H W 3"]:
        if not self.times:  # shorter than half a second
            self.times, self.rows = [0.0], [[self.picture(0.0)] for _ in self.rows]
        reader = self.jobs[0].reader
        sound = None
        if reader.info.has_audio:
            duration = len(self.times) * self.step
            sound = envelope(reader.waveform(stop=duration), duration, COLUMNS * SIDE, SAMPLE_RATE)
        return grid(
            list(zip(["frames", *self.names], self.rows, strict=True)),
            heads=[clock(t) for t in self.times],
            sound=sound,
        )


@contextmanager
def _side_by_side(
    path: Path, jobs: Sequence[OutputContext], names: Sequence[str], *, overwrite: bool
) -> Iterator[Callable[[Sequence[Moment]], None]]:
    """Each frame with the masks that are nearest in time, moved to their places there, as in the overlay."""
    info = jobs[0].reader.info
    scale = min(1.0, ACROSS / (info.width * len(jobs)))
    size = (max(2, round(info.height * scale) // 2 * 2), max(2, round(info.width * scale) // 2 * 2))
    head = max(20, size[0] // 12) // 2 * 2
    width = size[1] * len(jobs)
    strip = _strip(jobs[0].reader, width)
    frames = jobs[0].reader.frames("native", size=size, again=True)
    pending: Frame | None = next(frames, None)
    now: Sequence[Following] = ()

    def draw_until(time: float) -> None:
        nonlocal pending
        while pending is not None and pending.time < time:
            picture = Picture(pending.time, pending.image, _resized)
            panels = [
                _panel(pending.image, each.labels_at(picture), each.moment.presence, context, name, head)
                for each, context, name in zip(now, jobs, names, strict=True)
            ]
            foot = strip.copy()
            place = int(min(pending.time / (info.duration or 1.0), 1) * (width - 2))
            foot[:, place : place + 2] = WHITE
            video.write(np.concatenate([np.concatenate(panels, axis=1), foot]), pending.time)
            pending = next(frames, None)

    def show(together: Sequence[Moment]) -> None:
        nonlocal now
        if now:
            draw_until((now[0].moment.time + together[0].time) / 2)
        now = [Following(moment) for moment in together]

    sound = jobs[0].reader if info.has_audio else None
    full = (size[0] + head + len(strip), width)
    with VideoWriter(
        path, size=full, rate=info.fps, audio_from=sound, overwrite=overwrite, colours=info.colours
    ) as video:
        yield show
        if now:
            draw_until(float("inf"))


def _resized(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int] | None) -> UInt8[np.ndarray, "H2 W2 3"]:
    return image if size is None else np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))


def _panel(
    image: np.ndarray, labels: np.ndarray, presence: float | None, context: OutputContext, name: str, head: int
) -> np.ndarray:
    height, width = image.shape[:2]
    small = Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
    canvas = Image.new("RGB", (width, head + height), GROUND)
    canvas.paste(Image.fromarray(overlay(image, np.asarray(small), context.classes)), (0, head))
    presence_text = "" if presence is None else f"   presence {presence:.2f}"
    ImageDraw.Draw(canvas).text(
        (head // 3, head // 2), name + presence_text, WHITE, font(round(head * 0.6)), anchor="lm"
    )
    return np.asarray(canvas)


def _strip(reader: VideoReader, width: int) -> np.ndarray:
    """The waveform of the whole; empty where there is none or its length is not known."""
    if not reader.info.has_audio or reader.info.duration is None:
        return np.zeros((0, width, 3), np.uint8)
    sound = envelope(reader.waveform(), reader.info.duration, width, SAMPLE_RATE)
    canvas = Image.new("RGB", (width, WAVE), GROUND)
    draw_wave(ImageDraw.Draw(canvas), sound, (0, width), (0, 0, width, WAVE), (DIM, BRIGHT))
    return np.array(canvas)


def attention(
    source: str | Path,
    model: str | None = None,
    out: str | Path | None = None,
    *,
    second: float = 0.0,
    device: str = "auto",
    overwrite: bool = False,
    part: Mapping[str, Any] | None = None,
) -> Path:
    """A picture of one clip: its frames, TPAVI's attention of each level to the sound of the same second, the mask.

    The values of each level are scaled to its own range in the clip: the picture shows where, not how much.

    Args:
        source: Path or address of a video.
        model: Model as for `load`.
        out: Folder; that of the video unless given.
        second: A moment of the clip.
        device: "auto", "cpu", "cuda" or "mps".
        overwrite: Replace an existing picture.
        part: Part of the video, as for `compare`; `second` counts from its start.

    Raises:
        MediaError: The video can't be read, or the picture exists.
        WeightsError: There is no such model, or it has no attention to sound.
    """
    try:
        import torch

        from sonomask.inference.torch_scorer import TorchScorer
    except ModuleNotFoundError as error:
        raise MissingExtraError("A picture of attention", "torch") from error
    scorer = load_fast(model, device, "torch")
    assert isinstance(scorer, TorchScorer)  # noqa: S101 - for mypy
    net, config = scorer.model, scorer.config
    stem = output_stem(source, out)
    path = stem.with_name(f"{stem.name}.attention.png")
    with VideoReader(source, **(part or {})) as reader, atomic_path(path, overwrite=overwrite) as fresh:
        window = window_at(reader, config, second)
        frames = [group[0] for group in window.frames]
        patches = sound_of(window, [frames], config, Request(rate=1.0), reader.info.source)
        images = scorer.prepare(pictures([frames]))
        sound = None if patches is None else torch.from_numpy(patches).to(scorer.place)
        maps = net.attention(images, sound) if hasattr(net, "attention") and sound is not None else ()
        if not any(level is not None for level in maps):
            raise WeightsError(
                f"{model or 'The built-in model'}: there is no attention to draw, since only TPAVI attends to sound. Give a "
                "model with fusion `tpavi`: convert a published one, or train one (recipes/avs.yaml:ms3_resnet50_tpavi). "
                "Where this one marks, `sonomask compare` shows."
            )
        with torch.inference_mode():
            logits = net(images, sound).logits[0]
        levels = [None if level is None else level[0].float().cpu().numpy() for level in maps]
        Image.fromarray(_attention_grid(reader, frames, levels, logits.float().cpu().numpy())).save(fresh)
    return path


def _attention_grid(
    reader: VideoReader, frames: Sequence[Frame], maps: Sequence[np.ndarray | None], logits: np.ndarray
) -> np.ndarray:
    height, width = reader.info.height, reader.info.width
    scale = SIDE / max(height, width)
    size = (round(width * scale), round(height * scale))
    images = [np.asarray(Image.fromarray(frame.image).resize(size, Image.Resampling.BICUBIC)) for frame in frames]
    rows: list[tuple[str, list[np.ndarray]]] = [("frames", images)]
    for level, map_ in enumerate(maps):
        if map_ is not None:
            own = same_second(map_)
            rows.append((f"attention, level {level + 1}", [heated(i, h) for i, h in zip(images, own, strict=True)]))
    labels = (logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(1)).astype(np.uint8)
    marked = [
        overlay(image, np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)))
        for image, mask in zip(images, labels, strict=True)
    ]
    return grid([*rows, ("mask", marked)], heads=[clock(frame.time) for frame in frames])
