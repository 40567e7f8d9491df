"""Verbs for someone with a video."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from sonomask.cli.shared import bar, told
from sonomask.outputs.formats import FORMATS, Format
from sonomask.request import DEFAULT, Request

if TYPE_CHECKING:
    from sonomask.api import Result

ASKED = ("rate", "threshold", "min_presence", "maskige", "device", "start", "end", "audio_track")
FORMAT_HELP = "what to write, any number of: " + "; ".join(f"{name}: {info.what}" for name, info in FORMATS.items())


def segment(
    videos: Annotated[Sequence[str], "paths or addresses"],
    model: Annotated[str | None, "built-in name, folder or hub repository; the built-in model unless given"] = None,
    out: Annotated[str | None, "folder for the results; beside each video unless given"] = None,
    request: Annotated[
        Request,
        ("rate", "threshold", "min_presence", "only", "without", "maskige", "device", "start", "end", "audio_track"),
    ] = DEFAULT,
    backend: Annotated[
        Literal["auto", "torch", "onnx"], "what runs the model; auto takes ONNX Runtime on a CPU where there is a graph"
    ] = "auto",
    format: Annotated[Sequence[Format], FORMAT_HELP] = ("overlay",),  # noqa: A002
    labels: Annotated[bool, "write the names of what sounds on the overlay"] = False,
    overwrite: Annotated[bool, "replace existing results"] = False,
    sandbox: Annotated[bool, "decode in a child process with limits: for videos that you don't trust"] = False,
) -> int:
    """Mark the pixels of what sounds in videos."""
    from sonomask import api

    api.check_names(videos, out)
    network, maker = api.load_fast(model, request.device, backend), api.load_maker(request.maskige, request.device)
    done = 0
    for video in videos:
        with told(video):
            with bar(video) as progress:
                result = api.segment(
                    video, out, network, request, maker=maker, formats=format, labels=labels, overwrite=overwrite,
                    sandbox=sandbox, progress=progress,
                )  # fmt: skip
            _report(result)
            done += 1
    return 0 if done == len(videos) else 1 if done else 2


def _report(result: Result) -> None:
    for warning in result.warnings:
        print(f"sonomask: {warning}", file=sys.stderr)
    if result.maskige is not None:
        print(f"sonomask: the second picture was made by {result.maskige}.", file=sys.stderr)
    for path in result.files.values():
        print(f"{path}  ({result.frames} masks, {result.area:.1%} of the picture sounds)")


VERBS = (segment,)
