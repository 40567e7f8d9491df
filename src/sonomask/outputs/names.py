"""How the outputs of videos are called and where they go."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sonomask.outputs.formats import FORMATS, Format, paths_of

__all__ = ["names_a_file", "output_paths", "output_stem", "output_stems", "shortened"]

LONGEST_NAME = 200  # bytes; the longest suffix, and that of a file in the making, fit into the 255 of a file system


def output_stem(source: str | Path, out: str | Path | None = None) -> Path:
    """Where the outputs of a video go, without their suffixes; a name that is too long for a file system is shortened."""
    address = "://" in str(source)
    path = Path(unquote(urlsplit(str(source)).path)) if address else Path(source)
    folder = Path(out).expanduser() if out is not None else Path() if address else path.parent
    return folder / shortened(path.stem or "video")


def shortened(name: str) -> str:
    """A name with room for every suffix, told apart from others with the same beginning by a sum of the whole."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) <= LONGEST_NAME:
        return name
    begin = raw[: LONGEST_NAME - 9].decode("utf-8", "ignore")
    return f"{begin}-{hashlib.sha256(raw).hexdigest()[:8]}"


def output_stems(sources: Sequence[str | Path], out: str | Path | None = None) -> list[Path]:
    """Where the outputs of several videos go.

    As `output_stem`; where two would be the same, with the names of their folders or suffixes besides.
    """
    stems = [output_stem(source, out) for source in sources]
    for longer in (lambda path: f"{path.absolute().parent.name}_{path.stem}", lambda path: path.name.replace(".", "_")):
        for place, source in enumerate(sources):
            same = [i for i, stem in enumerate(stems) if stem.absolute() == stems[place].absolute()]
            if len(same) > 1 and "://" not in str(source):
                found = [shortened(longer(Path(sources[i]))) for i in same]
                if len(set(found)) > 1:
                    for i, name in zip(same, found, strict=True):
                        stems[i] = stems[i].with_name(name)
    counts: Counter[Path] = Counter()
    for place, stem in enumerate(stems):
        counts[stem.absolute()] += 1
        if counts[stem.absolute()] > 1:
            stems[place] = stem.with_name(f"{stem.name}_{counts[stem.absolute()]}")
    return stems


def names_a_file(out: str | Path) -> bool:
    """Whether `out` is meant as a file, by its suffix, and not as a folder."""
    files = {Path(f"x{info.suffix}").suffix for info in FORMATS.values() if not info.marker}
    return Path(out).suffix.lower() in files and not Path(out).is_dir()


def output_paths(
    source: str | Path, out: str | Path | None, formats: Sequence[Format], *, stem: Path | None = None
) -> dict[Format, Path]:
    """The output of each format: beside one another under the video's name, or `out` itself where that names a file.

    Raises:
        ValueError: `out` names a file, and the formats are not one whose file has that suffix.
    """
    if out is None or not names_a_file(out):
        return paths_of(stem or output_stem(source, out), formats)
    made = paths_of(Path("x"), formats)
    only = next(iter(made))
    if len(made) > 1 or FORMATS[only].marker or made[only].suffix != Path(out).suffix.lower():
        raise ValueError(
            f"`out`: {out} names a file, which holds one format of that kind; asked for are {', '.join(made)}. Give a folder."
        )
    return {only: Path(out).expanduser()}
