"""`sonomask train --corrections FILE`: fine-tune a model with a person's corrections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sonomask.cli.shared import logger, needs
from sonomask.errors import MediaError, WeightsError
from sonomask.media.suffixes import videos_in
from sonomask.safe_reading.corrections import Corrections, read_corrections

if TYPE_CHECKING:
    from sonomask.teaching import Lesson, Taught

__all__ = ["FLAGS", "teach"]

FLAGS = {"--corrections", "--masks"}


def teach(
    *,
    out: Annotated[str, "folder for the new model, which --model takes"],
    corrections: Annotated[Sequence[str], "files of what a person said, from the page or by hand"] = (),
    masks: Annotated[
        Sequence[str], "masks of videos' frames: NAME.masks (PNGs named by their second), NAME.coco or COCO's NAME.json"
    ] = (),
    videos: Annotated[
        Sequence[str], "the videos, or folders with them; beside the corrections and masks unless given"
    ] = (),
    model: Annotated[str | None, "model to go on from; world_duo.real unless given"] = None,
    seed: Annotated[int, "of the choice of examples"] = 0,
) -> int:
    """Continue from a model with a person's corrections, in minutes on a CPU; it keeps what else it knows.

    Examples:
      sonomask train --corrections talk.corrections.json --videos talk.mp4 --out mine
      sonomask train --corrections *.corrections.json --masks street.masks --videos films --out mine
    """
    with needs("Training", "torch"):
        from sonomask.checkpoints.folder import fingerprint, load, save
        from sonomask.checkpoints.places import CONFIG, DEFAULT_MODEL
        from sonomask.teaching import teach as learn
    if Path(out).exists() and not (Path(out) / CONFIG).is_file():  # before minutes of work
        raise WeightsError(f"{out} exists and is not a model. Give the folder of a model, or a new one.")
    lessons = _lessons(corrections, masks, videos)
    name = model or DEFAULT_MODEL
    network: Any = load(name)
    taught = learn(network, lessons, seed=seed, progress=lambda video: logger.info("looking at %s …", video))
    for note in taught.notes:
        logger.warning(note)
    config = taught.model.config
    about = f"Goes on from {name} by {_told(taught, lessons)}. {config.about}"
    taught.model.config = replace(config, about=about)
    _write_card(save(taught.model, out), taught, lessons, name, fingerprint(network), seed)
    print(f"{out}  (goes on from {name}; {_told(taught, lessons)}; {taught.seconds:.0f} s)")
    return 0


def _told(taught: Taught, lessons: Sequence[Lesson]) -> str:
    videos = f"{len(lessons)} video{'s' * (len(lessons) != 1)}"
    return f"{taught.corrections} corrections and {taught.masks} masks of {videos}"


def _write_card(folder: Path, taught: Taught, lessons: Sequence[Lesson], origin: str, weights: str, seed: int) -> None:
    memory = taught.model.memory
    size = 0 if memory is None else len(memory.weights)
    text = f"""# {folder.name}

Goes on from `{origin}` (weights {weights}), whose own weights are unchanged. It learnt {_told(taught, lessons)}:
{size} remembered places, by a ridge regression on {taught.examples} examples, seed {seed}.

What it learnt counts about where it was said, for things that look so and sound so; everything else is marked as before.
Licence and limits are those of `{origin}`.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")


def _lessons(corrections: Sequence[str], masks: Sequence[str], videos: Sequence[str]) -> list[Lesson]:
    from sonomask.data.known_masks import read_masks, video_stem
    from sonomask.teaching import Lesson

    if not corrections and not masks:
        raise ValueError("`corrections`: expected files of corrections or --masks, got none.")
    found: dict[Path, dict[str, Any]] = {}
    for file in corrections:
        said = read_corrections(file)
        own = found.setdefault(_video_of(file, said, videos), {})
        before: Corrections | None = own.get("corrections")
        own["corrections"] = said if before is None else before.with_items([*before.items, *said.items])
    for file in masks:
        own = found.setdefault(_video(file, video_stem(file), videos, whole=False), {})
        own["masks"] = [*own.get("masks", ()), *read_masks(file)]
    return [Lesson(video, **own) for video, own in found.items()]


def _video_of(file: str, said: Corrections, videos: Sequence[str]) -> Path:
    name = "" if said.video is None else said.video.name
    return _video(file, name, videos, whole=True)


def _video(file: str, name: str, videos: Sequence[str], *, whole: bool) -> Path:
    """The video of that name among those given, or beside the file; names come from strangers and are compared only.

    Raises:
        MediaError: There is none, or there are several.
    """
    listed = [Path(path) for video in videos or [str(Path(file).parent)] for path in _listed(video)]
    if len(listed) == 1 and videos:
        return listed[0]
    same = [path for path in listed if name and (path.name if whole else path.stem) == name]
    if len(same) != 1:
        raise MediaError(
            f"{file}: its video {name or '(which it does not name)'} is {len(same)} of the {len(listed)} videos at hand. "
            "Name it with --videos."
        )
    return same[0]


def _listed(place: str) -> list[str]:
    if not Path(place).exists():
        raise MediaError(f"{place}: no such video or folder.")
    return [str(path) for path in videos_in(place)] if Path(place).is_dir() else [place]
