"""Verbs for someone with a live stream."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Annotated, Any, Literal

from sonomask.cli.shared import logger, needs
from sonomask.request import EDITING, FOR_STREAMS, Request


def live(
    sources: Annotated[
        Sequence[str],
        "address, 'camera', /dev/video0, a file, or '-' for standard input; several share one model, and {} in an "
        "output's name is the source's number",
    ],
    model: Annotated[str | None, "built-in name, folder or hub repository; the built-in model unless given"] = None,
    sound: Annotated[
        str | None, "separate source of the sound, e.g. 'microphone'; the pictures' source unless given"
    ] = None,
    sound_delay: Annotated[float, "seconds by which the separate sound is late"] = 0.0,
    window: Annotated[bool, "show the masks in a window"] = False,
    page: Annotated[
        str | None, "[HOST:]PORT of a page that shows the masks; 127.0.0.1:8765 if no other output is given"
    ] = None,
    out: Annotated[str | None, "write a video: a file (.mp4, .mkv, .ts) or an rtmp, rtsp, srt, udp address"] = None,
    json: Annotated[str | None, "write JSON lines with run lengths: a file, or '-' for standard output"] = None,
    events: Annotated[
        Sequence[str], "report what begins and ends: to a file, '-', http(s)://…, mqtt://HOST[:PORT]/TOPIC"
    ] = (),
    pipe: Annotated[str | None, "send pictures to another program: a named pipe, or '-' for standard output"] = None,
    pipe_shows: Annotated[Literal["alpha", "mask", "overlay"], "pictures to send"] = "alpha",
    pipe_format: Annotated[Literal["nut", "ffv1"], "raw pictures in NUT, or FFV1 in Matroska"] = "nut",
    camera_out: Annotated[bool, "appear as a camera that other programs can use (pyvirtualcam)"] = False,
    request: Annotated[
        Request,
        (
            "rate",
            "threshold",
            "min_presence",
            *EDITING,
            "only",
            "without",
            "prompt",
            "device",
            "precision",
            "audio_track",
        ),
    ] = FOR_STREAMS,
    pairing: Annotated[
        Literal["end", "model"],
        "sound for each picture: 'end' for the second before it, without waiting; 'model' as the model was trained, "
        "up to half a second later",
    ] = "end",
    height: Annotated[int, "greatest height of masks and pictures, in pixels"] = 720,
    seconds: Annotated[float | None, "seconds after which to stop"] = None,
    timeout: Annotated[float, "seconds that the source may be silent before it counts as lost"] = 10.0,
    patience: Annotated[float, "seconds after which a lost source is given up"] = 300.0,
    metrics: Annotated[str | None, "[HOST:]PORT at which Prometheus can read delays and counts"] = None,
    overwrite: Annotated[bool, "replace existing files"] = False,
) -> int:
    """Mark the pixels of what sounds in live streams."""
    from sonomask import api
    from sonomask.inference.pace import quickest
    from sonomask.inference.scorer import as_asked
    from sonomask.inference.shared import SharedScorer
    from sonomask.live.many import LiveRuns, numbered
    from sonomask.live.run import LiveRun, Outputs
    from sonomask.live.segmenter import LiveSegmenter
    from sonomask.media.live.source import parse_source
    from sonomask.monitoring import served

    track, many = request.audio_track, len(sources) > 1
    if many and sound is not None:
        raise ValueError("`sound`: expected one source of pictures with it.")
    heard = None if sound is None else replace(parse_source(sound), audio_track=track)
    outputs = Outputs(
        window, page, out, json, overwrite, _page, events=tuple(events), pipe=pipe, pipe_shows=pipe_shows,
        pipe_kind=pipe_format, camera=camera_out,
    )  # fmt: skip
    with ExitStack() as stack:
        scorer: Any = as_asked(api.load_fast(model, request.device), request)
        if many:
            quick: Any = quickest(scorer) if request.precision == "auto" else scorer
            scorer = stack.enter_context(SharedScorer(quick))

        def made(index: int, text: str) -> LiveRun:
            return LiveRun(
                LiveSegmenter(scorer, request, pairing=pairing, height=height),
                replace(parse_source(text), audio_track=track), heard,
                outputs=numbered(outputs, index) if many else outputs, sound_delay=sound_delay, timeout=timeout,
                patience=patience, seconds=seconds, say=partial(_say_of, text) if many else _say,
            )  # fmt: skip

        runs = [made(*each) for each in enumerate(sources)]
        run = LiveRuns(runs) if many else runs[0]
        try:
            with served(run.figures(), metrics, "live"), _ends(run.ask_to_end) as code:
                run.run()
        finally:
            for line in run.report().splitlines():
                _say(line)
    return code()


def _page(address: str) -> Any:
    """The page, which is the server's."""
    with needs("The page of a live stream", "serve"):
        from sonomask.server.live import LivePage
    return LivePage(address)


@contextmanager
def _ends(ask: Callable[[], bool]) -> Iterator[Callable[[], int]]:
    """Make Ctrl-C, SIGTERM and SIGHUP end the run, the second time at once; returns a function that gives the exit code.

    An exception at any place, as Python raises it, may fall into one where it is lost (a destructor of the decoder's).
    """
    came: list[int] = []

    def answer(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if not ask():
            before[signal.Signals(number)](number, frame)

    found = (
        (number, signal.getsignal(number))
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
    )
    before = {
        number: handler for number, handler in found if callable(handler)
    }  # others are ignored, by who started it
    for number in before:
        signal.signal(number, answer)
    try:
        yield lambda: 128 + came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    logger.info(text)


def _say_of(source: str, text: str) -> None:
    _say(f"{source}: {text.removeprefix(f'{source}: ')}")


VERBS = (live,)
