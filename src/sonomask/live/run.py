"""A run from a source to its sinks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sonomask.inference.scorer import precision_of
from sonomask.live.capture import Capture, Clock, Say
from sonomask.live.feed import Feed
from sonomask.live.meters import Histogram
from sonomask.live.segmenter import LiveSegmenter
from sonomask.live.sinks.base import Sink
from sonomask.live.sinks.events import EventSink
from sonomask.live.sinks.lines import JsonLines
from sonomask.live.sinks.programs import PipeSink, Shows, VirtualCamera
from sonomask.live.sinks.video import VideoSink
from sonomask.live.sinks.window import DesktopWindow
from sonomask.media.live.reader import LIVE_LIMITS, Epoch
from sonomask.media.live.source import LiveSource
from sonomask.monitoring import Figure

STATUS_SECONDS = 10.0  # between two lines that tell how it goes
DEFAULT_PAGE = "127.0.0.1:8765"


@dataclass(frozen=True)
class Outputs:
    """Outputs for the masks; a page on loopback if none is given.

    Attributes:
        window: Show them in a window.
        page: [HOST:]PORT to serve them at.
        make_page: Serves the page at an address, such as `sonomask.server.live.LivePage`; needed for a page.
        out: File or address for a video.
        json: File for JSON lines, or "-".
        events: Targets of events, see `EventSink`.
        pipe: Named pipe for pictures, or "-".
        pipe_shows: Kind of pictures to send.
        pipe_kind: "nut" or "ffv1", see `PipeWriter`.
        camera: Whether to be a virtual camera.
        overwrite: Replace existing files.
    """

    window: bool = False
    page: str | None = None
    out: str | None = None
    json: str | None = None
    overwrite: bool = False
    make_page: Callable[[str], Any] | None = None
    events: tuple[str, ...] = ()
    pipe: str | None = None
    pipe_shows: Shows = "alpha"
    pipe_kind: Literal["nut", "ffv1"] = "nut"
    camera: bool = False

    def open(self, stack: ExitStack, segmenter: LiveSegmenter, feed: Feed, say: Say) -> list[Sink]:
        """The sinks, which close with the stack.

        Raises:
            MediaError: A file exists, or there is no display.
            ValueError: A target is of no known kind.
            OSError: A port is taken.
        """
        sinks: list[Sink] = []
        if self.json is not None:
            lines = JsonLines(self.json, segmenter.config.class_names, overwrite=self.overwrite)
            sinks.append(stack.enter_context(lines))
        if self.out is not None:
            ring = feed.ring if segmenter.config.listens else None
            video = VideoSink(self.out, ring, overwrite=self.overwrite, say=say)
            sinks.append(stack.enter_context(video))
        if self.events:
            sinks.append(stack.enter_context(EventSink(self.events, overwrite=self.overwrite, say=say)))
        if self.pipe is not None:
            pipe = PipeSink(self.pipe, self.pipe_shows, self.pipe_kind, feather=segmenter.request.feather, say=say)
            sinks.append(stack.enter_context(pipe))
        if self.camera:
            sinks.append(stack.enter_context(VirtualCamera(segmenter.rate)))
        if self.window:
            sinks.append(stack.enter_context(DesktopWindow()))
        if self.page is not None or not sinks:
            if self.make_page is None:
                raise ValueError("`make_page`: expected what serves the page, such as `sonomask.server.live.LivePage`.")
            page = stack.enter_context(self.make_page(self.page or DEFAULT_PAGE))
            if page.hub is not None:  # before the page, which then wakes those who watch
                sinks.append(stack.enter_context(EventSink((), page.hub)))
            sinks.append(page)
            say(f"watch at {page.url}{'' if page.private else ' (whoever has this link can)'}")
        return sinks


@dataclass
class LiveRun:
    """A run on one live source; `report()` describes its state.

    Args:
        segmenter: The model's side.
        source: Source of pictures, and of sound unless that is given.
        sound: Source of the sound; that of the pictures if None.
        outputs: Places to which the masks go.
        sound_delay: Seconds by which that sound is late against the pictures.
        timeout: Seconds that a source may be silent.
        patience: Seconds after a loss at which to give up.
        seconds: Length of the run; None for as long as there is something.
        clock: Tests hand in another.
        say: Function called with each message, a line at a time.
    """

    segmenter: LiveSegmenter
    source: LiveSource
    sound: LiveSource | None = None
    outputs: Outputs = field(default_factory=Outputs)
    sound_delay: float = 0.0
    timeout: float = 10.0
    patience: float = 300.0
    seconds: float | None = None
    clock: Clock = field(default_factory=Clock)
    say: Say = print

    def __post_init__(self) -> None:
        for name in ("timeout", "patience"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"`{name}`: expected 0 or more seconds, got {getattr(self, name)}.")
        listens = self.segmenter.config.listens
        self.feed = Feed(self.clock.now, listens=listens, ahead=self.segmenter.ahead)
        self.stop = threading.Event()
        shared: dict[str, Any] = {
            "feed": self.feed, "clock": self.clock, "say": self.say, "stop": self.stop, "patience": self.patience,
            "limits": replace(LIVE_LIMITS, timeout=self.timeout), "epoch": Epoch(),
        }  # fmt: skip
        own = self.sound is not None and listens
        self.captures = [Capture(self.source, takes="pictures" if own else "both", **shared)]
        if self.sound is not None and listens:
            self.captures.append(Capture(self.sound, takes="sound", late=self.sound_delay, **shared))
        self.masks, self.begun, self.reported = 0, self.clock.now(), self.clock.now()
        self.running, self.stopping = False, False
        self.sinks: list[Sink] = []
        self.told = 0.0  # seconds spent on handing masks to the outputs

    def ask_to_end(self) -> bool:
        """Ask to end after the present picture; False before the first picture, or if it was asked already."""
        will = self.running and not self.stopping
        self.stopping = True
        return will

    def run(self) -> None:
        """Until the source ends, the time is over, the window is closed, or `ask_to_end`.

        Everything written so far is complete in any case.

        Raises:
            MediaError: The source can't be opened or was lost for good, or a file can't be written to.
        """
        with ExitStack() as stack:
            stack.callback(self.stop.set)
            for capture in self.captures:  # first: a source that can't be opened leaves no empty files behind
                capture.start()
            sinks = self.sinks = self.outputs.open(stack, self.segmenter, self.feed, self.say)
            self.begun = self.reported = self.clock.now()
            self.running = True
            for result in self.segmenter(self.feed):
                begun = self.clock.now()
                for sink in sinks:
                    if result is not None:
                        sink.write(result)
                    else:
                        sink.beat()
                self.told += self.clock.now() - begun
                self.masks += result is not None
                if self._over(sinks):
                    return

    def _over(self, sinks: list[Sink]) -> bool:
        now = self.clock.now()
        if now - self.reported >= STATUS_SECONDS:
            self.reported = now
            self.say(self.report())
        limit = self.seconds is not None and now - self.begun >= self.seconds
        return self.stopping or limit or any(sink.closed for sink in sinks)

    def figures(self) -> list[Figure]:
        """For Prometheus."""
        feed, segmenter, name = self.feed, self.segmenter, "sonomask_live_"
        quantiles = {"0.5": 0.5, "0.95": 0.95}

        def of(histogram: Histogram) -> dict[str, float]:
            return {text: histogram.quantile(share) for text, share in quantiles.items()} if len(histogram) else {}

        def sinks(what: Callable[[Sink], float | None]) -> dict[str, float]:
            found = {type(sink).__name__: what(sink) for sink in self.sinks}
            return {sink: number for sink, number in found.items() if number is not None}

        return [
            Figure(f"{name}masks", "Masks made.", lambda: self.masks),
            Figure(f"{name}pictures", "Pictures that came, those that were not decoded too.", self._came),
            Figure(f"{name}pictures_left_out", "Of these, not marked.", lambda: self._came() - feed.taken),
            Figure(f"{name}pictures_unheard", "Marked without their sound.", lambda: feed.unheard),
            Figure(f"{name}pictures_waiting", "Pictures that wait for the model.", lambda: len(feed.waiting)),
            Figure(f"{name}source_losses", "Times that a source was lost.", self._losses),
            Figure(f"{name}capture_to_mask_seconds", "Delay.", lambda: of(segmenter.delays), "quantile"),
            Figure(f"{name}onset_to_mask_seconds", "Delay.", lambda: of(segmenter.onsets.delays), "quantile"),
            Figure(f"{name}onsets_missed", "Onsets that no mask answered.", lambda: segmenter.onsets.missed),
            Figure(f"{name}stage_seconds", "Seconds of work.", lambda: {**segmenter.seconds, "outputs": self.told}, "stage"),
            Figure(f"{name}output_waiting", "Pictures that wait for an output.",
                   lambda: sinks(lambda sink: sink.waiting), "output"),
            Figure(f"{name}output_left_out", "Pictures that an output was too slow for.",
                   lambda: sinks(lambda sink: sink.left_out), "output"),
            Figure(f"{name}run_seconds", "Seconds since the run began.", lambda: self.clock.now() - self.begun),
        ]  # fmt: skip

    def _came(self) -> int:
        return self.feed.came + sum(capture.left_out for capture in self.captures)

    def _losses(self) -> int:
        return sum(capture.losses for capture in self.captures)

    def report(self) -> str:
        """A report on the run in one line."""
        feed, delays, onsets = self.feed, self.segmenter.delays, self.segmenter.onsets
        spent = max(self.clock.now() - self.begun, 1e-9)
        minutes, seconds = divmod(int(spent), 60)
        precision = precision_of(self.segmenter.scorer)
        form = "" if precision == "float32" else f" in {precision}"
        parts = [f"{minutes}:{seconds:02d}", f"{self.masks} masks{form} ({self.masks / spent:.1f} a second)"]
        came = self._came()
        parts.append(f"{came - feed.taken} of {came} pictures left out")
        if len(delays):
            parts.append(f"capture to mask {delays.quantile(0.5):.2f} s (95 %: {delays.quantile(0.95):.2f} s)")
        if len(onsets.delays):
            parts.append(f"onset to mask {onsets.delays.quantile(0.5):.2f} s ({len(onsets.delays)} onsets)")
        if self._losses():
            parts.append(f"source lost {self._losses()} times")
        if feed.unheard:
            parts.append(f"{feed.unheard} pictures without their sound")
        return ", ".join(parts)
