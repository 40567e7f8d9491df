"""The three stages of a video: decode, score, finish. Each takes and gives `Piece`s, and may run in another process.

    decode(job)    -> Piece(Window) …, Piece(Ending)             CPU; never raises
    score(piece)   -> Piece((Window without pictures, scores))   the model's device
    finish(piece)  -> Piece([row of the table of masks, …])      CPU

A piece with a fault passes through unchanged, and so does the ending. Results do not depend on the process that computes them:
on a CPU the model has one thread, since sums in another order differ in their last digits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as runs

from sonomask.batch.fetch import Fetched, fetch
from sonomask.batch.job import Ending, Options, Piece, VideoJob
from sonomask.errors import MissingExtraError, SonomaskError
from sonomask.inference.editing import MaskEditor
from sonomask.inference.inputs import cut
from sonomask.inference.loading import load_fast
from sonomask.inference.naming import SPECK
from sonomask.inference.segmenter import Segmenter, Stream, finished
from sonomask.media.opening import Limits
from sonomask.media.sandbox.reader import open_reader
from sonomask.media.windows import Window
from sonomask.structures import Masks, ModelConfig, Names

__all__ = ["DecodeStage", "FinishStage", "ScoreStage", "start_decoder", "start_whole"]


class DecodeStage:
    """First stage."""

    def __init__(self, options: Options, config: ModelConfig) -> None:
        self.options, self.config = options, config

    def __call__(self, job: VideoJob) -> Iterator[Piece]:
        """The windows of a video, and how it ended."""
        began, count, clock = time.perf_counter(), 0, {"fetch": 0.0, "decode": 0.0}
        facts: dict[str, Any] = {}
        try:
            with fetch(job, self.options.max_bytes) as file:
                clock["fetch"] = time.perf_counter() - began
                for window in self._windows(job, file, facts, clock):
                    yield Piece(job.video, count, (window, (facts["height"], facts["width"])))
                    count += 1
            ending = Ending("done", clock=clock, **facts)
        except Exception as error:
            ending = Ending("failed", _reason(error, facts.pop("here", ""), job.video), clock=clock, **facts)
        yield Piece(job.video, count, ending)

    def _windows(
        self, job: VideoJob, file: Fetched, facts: dict[str, Any], clock: dict[str, float]
    ) -> Iterator[Window]:
        limits = Limits(pixels=self.options.max_pixels, seconds=self.options.max_seconds)
        facts |= {"bytes": file.bytes, "sha256": file.sha256, "here": str(file.path)}
        began = time.perf_counter()
        part = self.options.request.part
        with open_reader(file.path, limits, sandbox=not self.options.trusted, **part) as reader:
            info = reader.info
            facts |= {"seconds": info.duration, "width": info.width, "height": info.height}
            for window in cut(reader, self.config, self.options.request):
                clock["decode"] += time.perf_counter() - began
                yield window
                began = time.perf_counter()
            warnings = dict.fromkeys(text.replace(str(file.path), job.video) for text in reader.warnings)
            facts["warnings"] = tuple(warnings)
        clock["decode"] += time.perf_counter() - began
        del facts["here"]


class ScoreStage:
    """Second stage; holds the model."""

    def __init__(self, options: Options, model: Any, device: str | None = None) -> None:
        self.segmenter = Segmenter(model, options.request, device=device or options.request.device)
        self.streams: dict[str, Stream] = {}  # of the videos that have not ended

    def __call__(self, piece: Piece) -> Piece:
        """Scores of a window."""
        if isinstance(piece.body, Ending):
            self.streams.pop(piece.video, None)
        if isinstance(piece.body, Ending) or piece.fault:
            return piece
        began = time.perf_counter()
        window, size = piece.body
        try:
            if piece.video not in self.streams:
                self.streams[piece.video] = self.segmenter.new_stream()
            maps = self.segmenter.maps(window, piece.video, self.streams[piece.video])
        except Exception as error:
            return replace(piece, body=None, fault=_reason(error, "", piece.video))
        return replace(piece, body=(_times_only(window), maps, size), clock={"model": time.perf_counter() - began})


class FinishStage:
    """Third stage."""

    def __init__(self, options: Options, config: ModelConfig) -> None:
        self.options, self.config = options, config

    def __call__(self, piece: Piece) -> Piece:
        """Rows of the table of masks."""
        if isinstance(piece.body, Ending) or piece.fault:
            return piece
        began = time.perf_counter()
        window, maps, size = piece.body
        request = self.options.request
        found = map(MaskEditor(request), finished(window, maps, size, self.config, request))
        rows = [row for masks in found for row in _rows(piece.video, masks, float(self.options.request.start))]
        return replace(piece, body=rows, clock={**piece.clock, "finish": time.perf_counter() - began})


def start_decoder(options: Options, config: ModelConfig) -> DecodeStage:
    """The first stage in a child process (see `guard`), with FFmpeg in a sandboxed one of its own unless videos are trusted."""
    return DecodeStage(options, config)


def start_whole(options: Options, device: str) -> Any:
    """All three stages in one process, see `guard`."""
    score = ScoreStage(options, load_fast(options.model, device, threads=1), device)
    config = score.segmenter.config
    decode, finish = DecodeStage(options, config), FinishStage(options, config)

    def work(job: VideoJob) -> Iterator[Piece]:
        for piece in decode(job):
            yield finish(score(piece))

    return work


def _reason(error: Exception, here: str, video: str) -> str:
    """An error message in one line, without the path at which the video happened to be."""
    if isinstance(error, MissingExtraError):
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if isinstance(error, SonomaskError | ValueError) else f"not foreseen: {type(error).__name__}: {text}"
    return text.replace(here, video) if here else text


def _times_only(window: Window) -> Window:
    """A window without pictures and sound, which the last stage does not look at."""
    nothing = np.zeros((0, 0, 3), np.uint8)
    frames = tuple(tuple(replace(frame, image=nothing) for frame in second) for second in window.frames)
    return replace(window, frames=frames, waveform=None)


def _rows(video: str, masks: Masks, start: float = 0.0) -> Iterator[Mapping[str, Any]]:
    """A row for each mask; of a semantic model for each class of a frame, or one of class 0 where there is none.

    Args:
        video: Name of the video.
        masks: Masks of a part of it.
        start: Seconds of the video at which that part begins.
    """
    for i, time_ in enumerate(masks.times):
        labels = masks.mask[i].astype(np.uint8) if masks.labels is None else masks.labels[i]
        names = None if masks.names is None else masks.names[i]
        heard = None if names is None else [{"name": name, "score": score} for name, score in names.heard]
        found = [1] if masks.labels is None else [int(n) for n in np.unique(labels) if n] or [0]
        for label in found:
            mask = labels == label if label else np.zeros_like(labels, bool)
            yield {
                "video": video, "time": start + time_, "label": label, "height": mask.shape[0], "width": mask.shape[1],
                "counts": runs.encode(np.asfortranarray(mask, np.uint8))["counts"], "area": int(mask.sum()),
                "max_probability": float(masks.probability[i].max()),
                "presence": None if masks.presence is None else masks.presence[i],
                "things": None if names is None else _things(names, mask), "heard": heard,
            }  # fmt: skip


def _things(names: Names, mask: Bool[np.ndarray, "H W"]) -> list[dict[str, Any]]:
    """The things that a mask marks, largest first, without specks."""
    areas = np.bincount(names.seen[mask], minlength=len(names.things))
    order = [i for i in np.argsort(-areas, kind="stable").tolist() if areas[i] > SPECK * mask.size]
    return [
        {"name": names.things[i], "area": int(areas[i]), "sound": names.sounds[i], "score": float(names.scores[i])}
        for i in order
    ]
