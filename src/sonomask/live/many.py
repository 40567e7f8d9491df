"""Several streams in one process, with one model."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from sonomask.errors import SonomaskError
from sonomask.live.run import DEFAULT_PAGE, LiveRun, Outputs
from sonomask.monitoring import Figure

__all__ = ["LiveRuns", "numbered"]

NUMBER = "{}"
BEAT = 0.2  # seconds between two looks, so that a signal is heard


def numbered(outputs: Outputs, index: int) -> Outputs:
    """The outputs of one of several streams: `{}` in each target is its number, from 1; pages have ports one after the other.

    Raises:
        ValueError: Two streams would write to the same place.
    """
    if outputs.window or outputs.camera:
        raise ValueError("`window`, `camera_out`: expected one source, there is one window and one camera.")
    named = {name: getattr(outputs, name) for name in ("out", "json", "pipe") if getattr(outputs, name) is not None} | {
        f"events {i + 1}": text for i, text in enumerate(outputs.events)
    }
    for name, target in named.items():
        if NUMBER not in target:
            raise ValueError(
                f"`{name}`: expected {NUMBER} in it with several sources, for their numbers; got {target!r}."
            )
    number = str(index + 1)

    def fill(text: str | None) -> str | None:
        return None if text is None else text.replace(NUMBER, number)

    page = outputs.page
    if page is not None or not named:
        host, _, port = (page or DEFAULT_PAGE).rpartition(":")
        if port.isdecimal() and int(port):
            page = f"{host}:{int(port) + index}" if host else str(int(port) + index)
    return replace(
        outputs, page=page, out=fill(outputs.out), json=fill(outputs.json), pipe=fill(outputs.pipe),
        events=tuple(text.replace(NUMBER, number) for text in outputs.events),
    )  # fmt: skip


class LiveRuns:
    """Run several streams in threads of their own, so that one that stalls or fails does not hold up the others.

    Args:
        runs: The streams; their segmenters share a `SharedScorer`.
    """

    def __init__(self, runs: Sequence[LiveRun]) -> None:
        self.runs = list(runs)
        self.errors: dict[int, SonomaskError | ValueError | OSError] = {}

    def run(self) -> None:
        """Until all have ended.

        Raises:
            SonomaskError: The error of the first stream, if every one failed.
            ValueError: The same.
            OSError: The same.
        """
        threads = [
            threading.Thread(target=self._one, args=(index,), name=f"stream {index + 1}", daemon=True)
            for index in range(len(self.runs))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(BEAT)
        except BaseException:
            for run in self.runs:
                run.stop.set()
            raise
        if len(self.errors) == len(self.runs):
            raise self.errors[0]

    def _one(self, index: int) -> None:
        try:
            self.runs[index].run()
        except (SonomaskError, ValueError, OSError) as error:
            self.errors[index] = error
            self.runs[index].say(str(error))

    def ask_to_end(self) -> bool:
        """Ask all runs to end, like `LiveRun.ask_to_end`; returns whether any of them will."""
        asked = [run.ask_to_end() for run in self.runs]  # each, whatever the others say
        return any(asked)

    def report(self) -> str:
        """A report line for each run."""
        return "\n".join(f"{run.source.text}: {run.report()}" for run in self.runs)

    def figures(self) -> list[Figure]:
        """For Prometheus, with the stream's number."""
        return [
            replace(figure, fixed=(("stream", str(index + 1)),))
            for index, run in enumerate(self.runs)
            for figure in run.figures()
        ]
