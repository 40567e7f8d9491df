"""The inputs of `segment`: files, addresses, folders, globs, lists, standard input, and pictures with a sound."""

from __future__ import annotations

import glob
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from sonomask.errors import MediaError
from sonomask.media.suffixes import skipped, videos_in
from sonomask.safe_reading.corrections import Corrections, read_corrections

__all__ = ["Input", "corrections_of", "inputs", "opened"]

LISTS = {".txt", ".lst"}
STDIN = "-"


@dataclass(frozen=True)
class Input:
    """A video to segment.

    Attributes:
        name: Name as the user wrote it, or the path of a file that was found.
        kind: "video"; "pipe" for standard input; "pictures" for a folder of pictures.
    """

    name: str
    kind: str = "video"

    @property
    def place(self) -> str:
        """The name that outputs are derived from."""
        return "standard_input" if self.kind == "pipe" else self.name


def inputs(words: Sequence[str]) -> tuple[list[Input], list[str]]:
    """Resolve the words of a command line to videos, without duplicates, and to messages about them.

    Raises:
        MediaError: A folder or glob holds no video.
    """
    found: dict[str, Input] = {}
    notes: list[str] = []
    for word in words:
        for item in _found(word, notes):
            found.setdefault(item.name, item)
    return list(found.values()), notes


def _found(word: str, notes: list[str]) -> Iterator[Input]:
    path = Path(word)
    if word == STDIN:
        yield Input(word, "pipe")
    elif "://" in word:
        yield Input(word)
    elif path.is_dir():
        yield from _in_folder(word, notes)
    elif path.suffix.lower() in LISTS and path.is_file():
        yield from _in_list(path)
    elif not path.exists() and glob.has_magic(word):
        root = Path(path.anchor)  # a pattern of pathlib is relative
        names = sorted(str(found) for found in root.glob(str(path.relative_to(root))) if found.is_file())
        if not names:
            raise MediaError(f"{word}: nothing matches.")
        yield from map(Input, names)
    else:
        yield Input(word)


def _in_folder(word: str, notes: list[str]) -> Iterator[Input]:
    from sonomask.media.sequence import sequence_in

    videos = videos_in(word)
    if not videos and sequence_in(Path(word))[0]:
        yield Input(word, "pictures")
        return
    if not videos:
        raise MediaError(f"{word}: a folder without videos, and without pictures that could be one.")
    if others := skipped(word):
        notes.append(f"{word}: skipped, as no videos by their names: {others}.")
    yield from (Input(str(path)) for path in videos)


def _in_list(path: Path) -> Iterator[Input]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise MediaError(f"{path}: expected a list of videos as text in UTF-8 ({error}).") from error
    for line in (line.strip() for line in lines):
        if line and not line.startswith("#"):
            yield Input(line if "://" in line else str(path.parent / line))


def corrections_of(files: Sequence[str], videos: Sequence[str]) -> list[Corrections | None]:
    """The corrections for each video, or None: a single file belongs to a single video, several are matched by name.

    Args:
        files: Files of corrections.
        videos: Paths or addresses of the videos.

    Raises:
        MediaError: A file is none, or belongs to no video of these or to several.
    """
    found: list[Corrections | None] = [None] * len(videos)
    for file in files:
        own = read_corrections(file)
        name = "" if own.video is None else own.video.name
        places = [i for i, video in enumerate(videos) if len(videos) == 1 or Path(video).name == name]
        if len(places) != 1:
            raise MediaError(
                f"{file}: its corrections are of {name or 'a video that it does not name'}, which is {len(places)} of the "
                f"{len(videos)} videos here. Give the file with its one video."
            )
        if found[places[0]] is not None:
            raise MediaError(
                f"{file}: there are corrections of {videos[places[0]]} already. Give one file for each video."
            )
        found[places[0]] = own
    return found


@contextmanager
def opened(item: Input, fps: float | None = None) -> Iterator[str]:
    """The path or address of a video; what is none yet becomes one in a temporary folder.

    Args:
        item: Item from `inputs`.
        fps: Frame rate of a folder of pictures; by its sound, or 25, if None.

    Raises:
        MediaError: Nothing came, or the pictures can't be read.
    """
    if item.kind == "video":
        yield item.name
        return
    with TemporaryDirectory(prefix="sonomask-") as folder:
        target = Path(folder) / "video.mkv"
        if item.kind == "pipe":
            with target.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            if not target.stat().st_size:
                raise MediaError("standard input: nothing came. Pipe a video in.")
        else:
            from sonomask.media.sequence import assemble, sequence_in

            rate = None if fps is None else Fraction(fps).limit_denominator(1001)
            assemble(*sequence_in(Path(item.name)), target, rate)
        yield str(target)
