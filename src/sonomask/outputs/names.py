"""Names and paths of outputs."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from sonomask.outputs.formats import FORMATS, Format, paths_of

__all__ = ["names_a_file", "output_paths", "output_stem", "output_stems", "shortened"]

REFUSED = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')  # by Windows, in names of files
RESERVED = re.compile(r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")  # devices there
LONGEST_NAME = 200  # bytes; the longest suffix, and that of a file in the making, fit into the 255 of a file system


def output_stem(source: str | Path, out: str | Path | None = None) -> Path:
    """Path of a video's outputs, without suffixes.

    A name that is too long for a file system is shortened; characters of an address that some systems refuse become "_".
    """
    if "://" not in str(source):
        path = Path(source)
        folder = path.parent if out is None else Path(out).expanduser()
        return folder / shortened(path.stem or "video")
    name = REFUSED.sub("_", PurePosixPath(unquote(urlsplit(str(source)).path)).stem).rstrip(" .") or "video"
    folder = Path() if out is None else Path(out).expanduser()
    return folder / shortened(f"_{name}" if RESERVED.fullmatch(name) else name)


def shortened(name: str) -> str:
    """A shortened name with room for every suffix, made unique by a hash of the whole name."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) <= LONGEST_NAME:
        return name
    begin = raw[: LONGEST_NAME - 9].decode("utf-8", "ignore")
    return f"{begin}-{hashlib.sha256(raw).hexdigest()[:8]}"


def output_stems(sources: Sequence[str | Path], out: str | Path | None = None) -> list[Path]:
    """Paths of the outputs of several videos.

    As `output_stem`; where two would be the same, with the names of their folders or suffixes besides.
    """
    stems = [output_stem(source, out) for source in sources]
    for longer in (lambda path: f"{path.absolute().parent.name}_{path.stem}", lambda path: path.name.replace(".", "_")):
        for place, source in enumerate(sources):
            same = [i for i, stem in enumerate(stems) if _key(stem) == _key(stems[place])]
            if len(same) > 1 and "://" not in str(source):
                found = [shortened(longer(Path(sources[i]))) for i in same]
                if len(set(found)) > 1:
                    for i, name in zip(same, found, strict=True):
                        stems[i] = stems[i].with_name(name)
    taken: set[str] = set()
    for place, stem in enumerate(stems):
        names = itertools.chain([stem], (stem.with_name(f"{stem.name}_{count}") for count in itertools.count(2)))
        stems[place] = next(name for name in names if _key(name) not in taken and (name == stem or name not in stems))
        taken.add(_key(stems[place]))
    return stems


def _key(path: Path) -> str:
    """A key that is equal for names that some file systems (macOS, Windows) treat as the same file."""
    return unicodedata.normalize("NFC", str(path.absolute())).casefold()


def names_a_file(out: str | Path) -> bool:
    """Whether `out` names a file, by its suffix, and not a folder."""
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
