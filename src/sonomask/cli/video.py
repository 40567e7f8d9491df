"""Verbs for someone with a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from sonomask.cli.inputs import Input, corrections_of, inputs, opened
from sonomask.cli.shared import bar, logger, plain, reporting
from sonomask.outputs.formats import FORMATS, Format
from sonomask.request import DEFAULT, EDITING, Request

if TYPE_CHECKING:
    from sonomask.api import Result

FORMAT_TABLE = "formats:\n" + "".join(f"  {name:<14} {info.what}\n" for name, info in FORMATS.items()) + "\n"


def segment(
    videos: Annotated[
        Sequence[str],
        "paths, addresses, folders, globs, lists (.txt), '-' for standard input, or a folder of pictures and a sound file",
    ],
    format: Annotated[Sequence[Format], "one or more of the formats below"] = ("overlay",),  # noqa: A002
    out: Annotated[
        str | None, "folder for the results, or a file name for one format of one video; beside each video unless given"
    ] = None,
    overwrite: Annotated[bool, "replace existing results"] = False,
    labels: Annotated[bool, "write the names of sound sources on the overlay"] = False,
    model: Annotated[
        str | None, "built-in name (`sonomask models`), folder or hub repository; world_duo.real unless given"
    ] = None,
    request: Annotated[
        Request,
        (
            "rate",
            "only",
            "without",
            "prompt",
            "start",
            "end",
            "audio_track",
            "threshold",
            "min_presence",
            *EDITING,
            "maskige",
            "device",
            "precision",
        ),
    ] = DEFAULT,
    backend: Annotated[
        Literal["auto", "torch", "onnx"],
        "engine that runs the model; auto uses ONNX Runtime on a CPU if the model has a graph",
    ] = "auto",
    picture_rate: Annotated[
        float | None, "frames per second of a folder of pictures; fitted to its sound, else 25, unless given"
    ] = None,
    sandbox: Annotated[bool, "decode in a child process with limits: for videos that you don't trust"] = False,
    corrections: Annotated[
        Sequence[str], "files of what a person said of these videos' masks; by their names where there are several"
    ] = (),
    resume: Annotated[
        bool, "keep what the model says until the results are done, go on after a kill, leave out what is there"
    ] = False,
) -> int:
    """Mark the pixels of what sounds in videos.

    Examples:
      sonomask segment talk.mp4
      sonomask segment talk.mp4 street.mkv --format overlay masks --out results
      sonomask segment dogs.mp4 --only dog --start 0:10 --end 0:20
      sonomask segment concert.mov --rate native --format alpha-mov matte
      sonomask segment three_hours.mkv --resume
      sonomask segment talk.mp4 --corrections talk.corrections.json
    """
    from sonomask import api

    items, notes = inputs(videos)
    for note in notes:
        logger.warning(note)
    if len(items) > 1 and out is not None and api.names_a_file(out):
        raise ValueError(f"`out`: {out} names a file, and there are {len(items)} videos. Give a folder.")
    if resume and any(item.kind != "video" for item in items):
        raise ValueError(
            "`resume`: expected videos in files. Standard input and folders of pictures are put together anew each time; "
            "make a video of them first."
        )
    said = corrections_of(corrections, [item.place for item in items])
    stems = api.output_stems([item.place for item in items], out)
    logger.info("%s: marking what sounds with %s", _called(items), model or api.DEFAULT_MODEL)
    network, maker = api.load_fast(model, request.device, backend), api.load_maker(request.maskige, request.device)
    done = 0
    for item, stem, own in zip(items, stems, said, strict=True):
        with reporting(item.name), opened(item, picture_rate) as path:
            with bar(item.name) as progress:
                result = api.segment(
                    path, out, network, request, maker=maker, formats=format, labels=labels, overwrite=overwrite,
                    sandbox=sandbox, resume=resume, progress=progress, stem=stem, name=item.name,
                    corrections=own,
                )  # fmt: skip
            _report(result, item.place, stem)
            done += 1
    return 0 if done == len(items) else 1 if done else 2


def _called(items: Sequence[Input]) -> str:
    return items[0].name if len(items) == 1 else f"{len(items)} videos"


def _report(result: Result, place: str, stem: Path) -> None:
    whole = Path(place).stem
    if "://" not in place and stem.name != whole:
        logger.warning(
            "%s: its results are called %s, since the name is too long or another video has it.", place, stem.name
        )
    for warning in result.warnings:
        logger.warning(warning)
    if result.maskige is not None:
        logger.info("the second picture was made by %s.", result.maskige)
    for path in result.files.values():
        print(f"{plain(str(path))}  ({result.frames} masks, {result.area:.1%} of the picture sounds)")


VERBS = (segment,)
