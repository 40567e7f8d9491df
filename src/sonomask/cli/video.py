"""Verbs for someone with a video."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from sonomask.cli.shared import bar, told
from sonomask.outputs.formats import FORMATS, Format

if TYPE_CHECKING:
    from sonomask.api import Result

FORMAT_HELP = "what to write, any number of: " + "; ".join(f"{name}: {info.what}" for name, info in FORMATS.items())


def segment(
    videos: Annotated[Sequence[str], "paths or addresses"],
    model: Annotated[str | None, "built-in name, folder or hub repository; the built-in model unless given"] = None,
    out: Annotated[str | None, "folder for the results; beside each video unless given"] = None,
    rate: Annotated[float | Literal["native", "avsbench"], "masks per second, 'native' for each frame"] = 5.0,
    threshold: Annotated[
        float | None, "probability above which a pixel is masked; the model's own unless given"
    ] = None,
    min_presence: Annotated[float, "empty masks where the calibrated presence score is lower, 0 to 1"] = 0.0,
    regions: Annotated[
        str | None, "picture of regions for COMBO and VCT: superpixels, maskrcnn:FILE or sam:FOLDER"
    ] = None,
    device: Annotated[str, "auto, cpu, cuda or mps"] = "auto",
    backend: Annotated[
        Literal["torch", "onnx"], "what runs the model; a .onnx file as --model needs no option"
    ] = "torch",
    format: Annotated[Sequence[Format], FORMAT_HELP] = ("overlay",),  # noqa: A002
    overwrite: Annotated[bool, "replace existing results"] = False,
    sandbox: Annotated[bool, "decode in a child process with limits: for videos that you don't trust"] = False,
) -> int:
    """Mark the pixels of what sounds in videos."""
    from sonomask import api

    api.check_names(videos, out)
    network, maker = api.load_fast(model, device, backend), api.load_regions(regions, device)
    done = 0
    for video in videos:
        with told(video):
            with bar(video) as progress:
                result = api.segment(
                    video, out, network, rate=rate, threshold=threshold, min_presence=min_presence, regions=maker,
                    device=device, formats=format, overwrite=overwrite, sandbox=sandbox, progress=progress,
                )  # fmt: skip
            _report(result)
            done += 1
    return 0 if done == len(videos) else 1 if done else 2


def _report(result: Result) -> None:
    for warning in result.warnings:
        print(f"sonomask: {warning}", file=sys.stderr)
    if result.regions is not None:
        print(f"sonomask: the picture of regions was made by {result.regions}.", file=sys.stderr)
    for path in result.files.values():
        print(f"{path}  ({result.frames} masks, {result.area:.1%} of the picture sounds)")


VERBS = (segment,)
