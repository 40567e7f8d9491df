"""The work of a job: masks of an upload, the requested files, and the player's data."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sonomask.errors import MediaError
from sonomask.inference.naming import check_words
from sonomask.inference.pace import real_time_rate
from sonomask.inference.scorer import as_scorer
from sonomask.inference.segmenter import Segmenter
from sonomask.media.sound import AudioTrack, choose_tracks
from sonomask.outputs.formats import FORMATS, paths_of
from sonomask.request import Rate, Request, check_rate
from sonomask.safe_reading.corrections import read_corrections
from sonomask.server.corrections import FILE as CORRECTIONS
from sonomask.server.job import Job, JobOptions
from sonomask.server.limits import ServerLimits
from sonomask.server.one_source import SelectingSegmenter, selecting
from sonomask.server.problems import InvalidError
from sonomask.server.reading import open_upload
from sonomask.server.view import write_view
from sonomask.structures import Masks, ModelConfig

__all__ = ["Segment", "check_names", "check_options", "check_prompt", "check_track", "probe"]


def check_options(options: JobOptions, models: Sequence[str], limits: ServerLimits) -> None:
    """Check that only offered things are requested; a model is never a path or an address.

    Raises:
        InvalidError: It is.
    """
    if options.model not in models:
        raise InvalidError(f"`model`: expected one of {', '.join(models)}, got {options.model[:80]!r}.", "model")
    if not options.formats or not set(options.formats) <= set(FORMATS):
        given = ", ".join(options.formats)[:80] or "none"
        raise InvalidError(f"`formats`: expected some of {', '.join(FORMATS)}, got {given}.", "formats")
    try:
        if options.rate != "auto":
            check_rate(options.rate, most=limits.rate)
        Request(options.rate, **options.of_masks)
    except ValueError as error:
        name = re.match(r"`(\w+)`", str(error))
        raise InvalidError(str(error), name and name[1]) from error
    if not 0 <= options.start < float("inf"):
        raise InvalidError(f"`start`: expected seconds from 0 on, got {options.start}.", "start")
    if options.end is not None and not options.end > options.start:
        raise InvalidError(f"`end`: expected more than `start` ({options.start:g} s), got {options.end:g} s.", "end")
    length = float("inf") if options.end is None else options.end - options.start
    if length != float("inf") and length > limits.seconds + 0.5:
        raise InvalidError(
            f"`end`: the part has {length:.0f} s, and the limit is {limits.seconds:.0f} s. Choose a shorter part.",
            "end",
        )


def check_names(options: JobOptions, model: str, things: Sequence[str]) -> None:
    """Check that the requested names are known.

    Args:
        options: Options of the job.
        model: Its name, for messages.
        things: Names that the model knows.

    Raises:
        InvalidError: It knows no names, or not that one.
    """
    for field, words in (("only", options.only), ("not", options.without)):
        try:
            check_words(words, ModelConfig(model, things=tuple(things)))
        except ValueError as error:
            raise InvalidError(str(error), field) from error


def check_prompt(options: JobOptions, prompts: Collection[str]) -> None:
    """Check that the model takes prompts where there are some.

    Args:
        options: Options of the job.
        prompts: Names of the models that do.

    Raises:
        InvalidError: It takes none.
    """
    if options.prompt and options.model not in prompts:
        others = f"Take {' or '.join(prompts)}" if prompts else "No model that is offered here does. Leave it out"
        raise InvalidError(
            f"`prompt`: the model {options.model} takes no free words. {others}, or `only` with a name that the model knows.",
            "prompt",
        )


def check_track(options: JobOptions, tracks: Sequence[Mapping[str, Any]]) -> None:
    """Check that the requested sound track exists.

    Raises:
        InvalidError: It is not; the message lists the tracks.
    """
    if options.audio_track is None:
        return
    try:
        choose_tracks([AudioTrack(**track) for track in tracks], options.audio_track, lambda _: None, "the video")
    except MediaError as error:
        raise InvalidError(str(error), "audio_track") from error


def probe(path: Path, limits: ServerLimits) -> dict[str, Any]:
    """Describe a video, read by the guarded child process.

    Raises:
        MediaError: It is no video, or beyond a limit.
    """
    with open_upload(path, limits) as reader:
        info = reader.info
        return {
            "width": info.width, "height": info.height, "fps": round(float(info.fps), 3),
            "duration": None if info.duration is None else round(info.duration, 3), "has_audio": info.has_audio,
            "audio_tracks": [asdict(track) for track in info.audio_tracks], "heard": list(info.heard),
        }  # fmt: skip


class Segment:
    """A job's work, with models that stay loaded.

    Args:
        models: Argument of `load` for each offered name.
        device: "auto", "cpu", "cuda" or "mps".
    """

    def __init__(self, models: Mapping[str, str], device: str = "auto") -> None:
        self.models, self.device = dict(models), device
        self.loaded: dict[str, Any] = {}
        self.paces: dict[str, float] = {}
        self.lock = threading.Lock()

    def model(self, name: str) -> Any:
        """The model of that name, loaded once."""
        from sonomask.api import load_fast

        with self.lock:
            if name not in self.loaded:
                self.loaded[name] = load_fast(self.models[name], self.device)
            return self.loaded[name]

    def rate(self, options: JobOptions, limits: ServerLimits) -> Rate:
        """Masks per second of a job; "auto" becomes a number, found out once for each model."""
        if options.rate != "auto":
            return options.rate
        model = self.model(options.model)
        with self.lock:
            if options.model not in self.paces:
                self.paces[options.model] = real_time_rate(as_scorer(model, self.device))
        return min(self.paces[options.model], limits.rate)

    def __call__(self, job: Job) -> None:
        """Write the files of a job.

        Raises:
            MediaError: The video can't be read.
            ValueError: A requested value is beyond a limit or not in the video.
        """
        from sonomask.api import write_masks

        options = job.options
        rate = self.rate(options, job.limits)
        request = Request(rate, device=self.device, attention=True, **options.of_masks)
        model = self.model(options.model)
        if job.parent is None:
            segmenter = Segmenter(model, request)
        else:
            segmenter = SelectingSegmenter(selecting(job.parent, job.sources), model, request)
        said = read_corrections(job.folder / CORRECTIONS) if job.corrected else None
        paths = paths_of(job.folder / "result", options.formats)  # type: ignore[arg-type]
        reader = open_upload(job.source, job.limits, replace(options, rate=request.rate))
        with reader:
            job.on_stop(reader.kill)
            total = reader.info.duration
            with write_view(
                job.folder / "view", reader, classes=segmenter.config.class_names, threshold=segmenter.threshold,
                check=lambda: job.report(0, None), glance=job.show,
            ) as show:  # fmt: skip
                result = write_masks(
                    segmenter, reader, paths, source=job.name, sinks=[show, _counter(job.limits.masks)], corrections=said,
                    progress=lambda seconds, _: job.report(0.97 * seconds, total),
                )  # fmt: skip
        if job.parent is not None:
            shutil.rmtree(job.parent, ignore_errors=True)
        job.warnings, job.heard = result.warnings, result.audio_track
        job.files = dict(paths)  # type: ignore[arg-type]


def _counter(most: int) -> Callable[[Masks], None]:
    """A sink that ends a job with more masks than the limit.

    Raises:
        ValueError: There are more.
    """
    made = 0

    def count(masks: Masks) -> None:
        nonlocal made
        made += len(masks)
        if made > most:
            raise ValueError(f"More than {most} masks, the limit. Choose fewer per second, or a shorter part.")

    return count
