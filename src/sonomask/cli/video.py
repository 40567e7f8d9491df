"""Verbs for someone with a video."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from sonomask.cli.inputs import inputs, opened
from sonomask.cli.shared import bar, complain, reporting
from sonomask.outputs.formats import FORMATS, Format
from sonomask.request import DEFAULT, Request

if TYPE_CHECKING:
    from sonomask.api import Result

FORMAT_HELP = "what to write, any number of: " + "; ".join(f"{name}: {info.what}" for name, info in FORMATS.items())


def segment(
    videos: Annotated[
        Sequence[str],
        "paths, addresses, folders, globs, lists (.txt), '-' for standard input, or a folder of pictures with a sound",
    ],
    model: Annotated[str | None, "built-in name, folder or hub repository; the built-in model unless given"] = None,
    out: Annotated[
        str | None, "folder for the results, or the file of one video's one format; beside each video unless given"
    ] = None,
    request: Annotated[
        Request,
        (
            "rate",
            "threshold",
            "min_presence",
            "smooth",
            "only",
            "without",
            "maskige",
            "device",
            "start",
            "end",
            "audio_track",
        ),
    ] = DEFAULT,
    backend: Annotated[
        Literal["auto", "torch", "onnx"], "what runs the model; auto takes ONNX Runtime on a CPU where there is a graph"
    ] = "auto",
    format: Annotated[Sequence[Format], FORMAT_HELP] = ("overlay",),  # noqa: A002
    labels: Annotated[bool, "write the names of what sounds on the overlay"] = False,
    picture_rate: Annotated[
        float | None, "pictures a second of a folder of pictures; by its sound, or 25, unless given"
    ] = None,
    overwrite: Annotated[bool, "replace existing results"] = False,
    sandbox: Annotated[bool, "decode in a child process with limits: for videos that you don't trust"] = False,
) -> int:
    """Mark the pixels of what sounds in videos."""
    from sonomask import api

    items, notes = inputs(videos)
    for note in notes:
        complain(note)
    if len(items) > 1 and out is not None and api.names_a_file(out):
        raise ValueError(f"`out`: {out} names a file, and there are {len(items)} videos. Give a folder.")
    stems = api.output_stems([item.place for item in items], out)
    network, maker = api.load_fast(model, request.device, backend), api.load_maker(request.maskige, request.device)
    done = 0
    for item, stem in zip(items, stems, strict=True):
        with reporting(item.name), opened(item, picture_rate) as path:
            with bar(item.name) as progress:
                result = api.segment(
                    path, out, network, request, maker=maker, formats=format, labels=labels, overwrite=overwrite,
                    sandbox=sandbox, progress=progress, stem=stem, name=item.name,
                )  # fmt: skip
            _report(result, item.place, stem)
            done += 1
    return 0 if done == len(items) else 1 if done else 2


def _report(result: Result, place: str, stem: Path) -> None:
    whole = Path(place).stem
    if "://" not in place and stem.name != whole:
        complain(f"{place}: its results are called {stem.name}, since the name is too long or another video has it.")
    for warning in result.warnings:
        print(f"sonomask: {warning}", file=sys.stderr)
    if result.maskige is not None:
        print(f"sonomask: the second picture was made by {result.maskige}.", file=sys.stderr)
    for path in result.files.values():
        print(f"{path}  ({result.frames} masks, {result.area:.1%} of the picture sounds)")


VERBS = (segment,)
