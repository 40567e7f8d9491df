"""Verbs that make pictures to judge models by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from sonomask.cli.shared import bar
from sonomask.request import Request


def compare(
    video: Annotated[str, "path or address"],
    models: Annotated[Sequence[str], "built-in names, folders, hub repositories or .onnx files"] = ("world_duo.real",),
    out: Annotated[str | None, "folder for the results; beside the video unless given"] = None,
    rate: Annotated[float | Literal["native", "avsbench"], "masks per second, 'native' for each frame"] = 5.0,
    device: Annotated[str, "auto, cpu, cuda or mps"] = "auto",
    start: Annotated[str, "where to begin in the video: seconds or h:mm:ss"] = "0",
    end: Annotated[str | None, "where to end in the video: seconds or h:mm:ss"] = None,
    audio_track: Annotated[str | None, "sound track to listen to: number from 1, language, or 'mix'"] = None,
    overwrite: Annotated[bool, "replace existing results"] = False,
) -> int:
    """Show several models on one video: a side-by-side video and one picture."""
    from sonomask.side_by_side.compare import compare as run

    with bar(video) as progress:
        part = Request(start=start, end=end, audio_track=audio_track).part
        made = run(video, models, out, rate=rate, device=device, overwrite=overwrite, progress=progress, part=part)
    print(*made, sep="\n")
    return 0


def attention(
    video: Annotated[str, "path or address"],
    model: Annotated[str | None, "built-in name, folder or hub repository; the built-in model unless given"] = None,
    second: Annotated[float, "position in the video of the clip to show, in seconds"] = 0.0,
    out: Annotated[str | None, "folder for the picture; beside the video unless given"] = None,
    device: Annotated[str, "auto, cpu, cuda or mps"] = "auto",
    start: Annotated[str, "where to begin in the video: seconds or h:mm:ss"] = "0",
    end: Annotated[str | None, "where to end in the video: seconds or h:mm:ss"] = None,
    audio_track: Annotated[str | None, "sound track to listen to: number from 1, language, or 'mix'"] = None,
    overwrite: Annotated[bool, "replace an existing picture"] = False,
) -> int:
    """Draw where a model's fusion attends to the sound, level by level, for one clip."""
    from sonomask.side_by_side.compare import attention as run

    part = Request(start=start, end=end, audio_track=audio_track).part
    print(run(video, model, out, second=second, device=device, overwrite=overwrite, part=part))
    return 0


VERBS = (compare, attention)
