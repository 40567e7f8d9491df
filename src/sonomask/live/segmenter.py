"""The model's thread: always the newest picture, with the sound that belongs to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from sonomask.audio.spectrum import HOP, SAMPLE_RATE, Align, patches_at
from sonomask.errors import WeightsError
from sonomask.inference.editing import MaskEditor
from sonomask.inference.finish import Maps, finish, reduce
from sonomask.inference.pace import quickest
from sonomask.inference.scorer import StreamScorer, Waveform, as_asked
from sonomask.inference.segmenter import check_request
from sonomask.inference.smoothing import Smoother
from sonomask.live.feed import KEPT, Feed, PendingPicture
from sonomask.live.meters import Histogram, OnsetMeter
from sonomask.media.live.reader import LivePicture
from sonomask.request import FOR_STREAMS, Request
from sonomask.structures import Masks
from sonomask.visualise.overlay import overlay

AHEAD = {"end": 0.02, "centre": 0.5}  # seconds of sound after a picture's moment that its patch needs
LAG = 0.1  # seconds by which the past that is heard may end before the picture, where later sound has not come yet
MEMORY = 30.0  # seconds after which the weight of what a recurrent model heard has fallen to 1/e
BEAT = 0.2  # seconds after which None is given if nothing came


@dataclass(frozen=True)
class LiveMasks:
    """The masks of one picture of a stream.

    Attributes:
        masks: One frame; its time is in seconds since the run began.
        picture: Picture that the masks belong to.
        captured: Time at which the picture was captured, at the earliest, by the clock.
        ready: Time at which its masks were ready.
        classes: Names of a semantic model's classes.
    """

    masks: Masks
    picture: LivePicture
    captured: float
    ready: float
    classes: tuple[str, ...] = ()

    @property
    def time(self) -> float:
        """Seconds since the run began."""
        return self.masks.times[0]

    @property
    def delay(self) -> float:
        """Seconds from capture to mask."""
        return self.ready - self.captured

    @cached_property
    def labels(self) -> UInt8[np.ndarray, "H W"]:
        """0 where nothing sounds, 1 or the class elsewhere."""
        masks = self.masks
        return (masks.mask if masks.labels is None else masks.labels)[0].astype(np.uint8)

    @cached_property
    def share(self) -> float:
        """Fraction of the picture that sounds."""
        return float((self.labels > 0).mean())

    @cached_property
    def drawn(self) -> UInt8[np.ndarray, "H W 3"]:
        """The picture with its masks drawn on it, made on first use."""
        return overlay(self.picture.image(self.labels.shape), self.labels, self.classes)


class LiveSegmenter:
    """Marks what sounds in a stream, as fast as it can and no faster than `rate`.

    Args:
        model: A network with `start` and `step` (the `avs_…` and `avss_…` models), or a `scorer.StreamScorer`.
        request: Options of the masks; its rate is the highest one, and without a request that of `FOR_STREAMS`.
        pairing: "end" takes the 0.96 s that end with the picture, or up to `LAG` before it, with no wait; "model" the sound
            that the model was trained with, which may lie half a second ahead of the picture.
        height: Height of the masks at most, in pixels; a larger picture is scaled down.
        **options: Fields of `Request` in place of those of `request`.

    Raises:
        ValueError: An argument is out of range, or the model has no streaming form.
    """

    def __init__(
        self,
        model: Any,
        request: Request | None = None,
        *,
        pairing: Literal["end", "model"] = "end",
        height: int = 720,
        **options: Any,
    ) -> None:
        request = replace(request or FOR_STREAMS, **options)
        if request.rate == "auto":  # the newest picture is taken as soon as the model is free
            request = replace(request, rate=FOR_STREAMS.rate)
        if isinstance(request.rate, str):
            raise ValueError(f"`rate`: expected masks per second, got {request.rate!r}.")  # noqa: TRY004
        if height < 16:
            raise ValueError(f"`height`: expected 16 or more, got {height}.")
        scorer = as_asked(model, request)
        if request.precision == "auto":
            scorer = quickest(scorer)
        if not isinstance(scorer, StreamScorer):
            raise ValueError("`model`: has no streaming form. Take one of `avs_…`, `avss_…`, `world…` or `open…`.")  # noqa: TRY004
        check_request(request, scorer.config)
        self.scorer, self.config, self.request = scorer, scorer.config, request
        scorer.start()  # tells now what the model can't do
        self.rate, self.height = request.rate, height
        self.align: Align = "centre" if pairing == "model" and self.config.pairing == "centre" else "end"
        self.ahead = 0.0
        if self.config.listens:
            self.ahead = AHEAD[self.align] - (LAG if self.align == "end" else 0.0)
        self.delays, self.onsets = Histogram(), OnsetMeter()
        self.seconds = {"model": 0.0, "masks": 0.0}  # of work
        self.heard_to: float | None = None
        self.before: float | None = None  # time of the last step
        self.smoother, self.edited = Smoother(request.smooth), MaskEditor(request)

    def __call__(self, feed: Feed) -> Iterator[LiveMasks | None]:
        """Masks until the feed ends; None each time that nothing came for a while.

        Raises:
            MediaError: The source was lost for good.
            WeightsError: The model gives something that isn't a number.
        """
        past, last, self.smoother = self.scorer.start(), -math.inf, Smoother(self.request.smooth)
        self.edited = MaskEditor(self.request)
        self.before = None
        while True:
            waiting = feed.take(last + 1 / self.rate - 1e-3, timeout=BEAT)
            if waiting is None:
                if feed.ended:
                    return
                yield None
                continue
            begun = feed.now()
            maps, past = self._step(waiting.picture, feed, past)
            scored = feed.now()
            result = self._finish(waiting, maps, feed)
            self.seconds["model"] += scored - begun
            self.seconds["masks"] += result.ready - scored
            last = result.time
            yield result

    def _step(self, picture: LivePicture, feed: Feed, past: Any) -> tuple[Maps, Any]:
        patch, more = None, dict[str, Any]()
        if self.config.listens:
            moment = self._moment(picture.time, feed.ring.end)
            start = round(moment * SAMPLE_RATE / HOP) * HOP / SAMPLE_RATE - 2  # on the grid of the patches
            track, count = feed.ring.between(start, start + 3), self.config.patches
            patch = patches_at(track, [moment], count, start=start, align=self.align)[0]
            if getattr(self.scorer, "wants_waveform", False):
                more = {"waveform": Waveform(track, start, (moment,))}
        if self.config.recurrent and self.before is not None:  # it is linear in what was heard
            share = math.exp((self.before - picture.time) / MEMORY)
            past = self.scorer.faded(past, share) if hasattr(self.scorer, "faded") else past * share
        self.before = picture.time
        image = picture.image(self.config.size_of(*picture.size))
        scored, past = self.scorer.step(image, patch, past, picture.time, **more)
        if not np.isfinite(scored.logits).all():
            raise WeightsError(
                f"The model {self.config.name} gives NaN or infinity at {picture.time:.2f} s. Its weights are damaged, or "
                "too large for its precision."
            )
        return self.smoother(picture.time, image, reduce(scored)), past

    def _moment(self, time: float, end: float) -> float:
        """End of the sound for a picture: the picture's time, or slightly earlier if sound has arrived only up to `end`."""
        if self.align == "end" and time - LAG <= end - AHEAD["end"] < time:
            return end - AHEAD["end"]
        return time

    def _finish(self, waiting: PendingPicture, maps: Maps, feed: Feed) -> LiveMasks:
        picture = waiting.picture
        size = _within(picture.size, self.height)
        masks = self.edited(finish(picture.time, maps, size, self.config, self.request))
        ready = feed.now()
        result = LiveMasks(masks, picture, waiting.captured, ready, self.config.class_names)
        self.delays.add(result.delay)
        if self.config.listens:
            self._measure(feed, waiting.captured - picture.time)
            self.onsets.see(result.share, ready)
        return result

    def _measure(self, feed: Feed, offset: float) -> None:
        """Hand the sound that came since the last time to the meter; `offset` leads from time to the clock."""
        end = feed.ring.end
        if math.isfinite(end):
            start = max(end - KEPT, end if self.heard_to is None else self.heard_to)
            if end > start:
                self.onsets.hear(feed.ring.between(start, end), start + offset)
            self.heard_to = max(end, start)


def _within(size: tuple[int, int], height: int) -> tuple[int, int]:
    """The size, scaled down to a height if it is more."""
    scale = min(1.0, height / size[0])
    return (round(size[0] * scale), max(1, round(size[1] * scale)))
