"""List the videos of a corpus from globs, folders, lists, tables and tar files, in a reproducible order."""

from __future__ import annotations

import csv
import io
import logging
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from sonomask.batch.fetch import is_address, open_store
from sonomask.batch.job import VideoJob
from sonomask.errors import DatasetError, MissingExtraError
from sonomask.media.suffixes import VIDEOS, skipped, videos_in

__all__ = ["VIDEOS", "expand"]

logger = logging.getLogger(__name__)

LISTS, TABLES = {".txt", ".lst"}, {".csv", ".tsv", ".parquet"}
COLUMNS = ("video", "url", "path", "file", "address")  # the first of these that a table has
THREADS = 16  # that list tar shards


def expand(sources: Sequence[str]) -> list[VideoJob]:
    """Every video of the sources, in their order, each once.

    A source is a video; a glob or a folder (its videos, sorted); a `.txt` list, one a line; a `.csv`, `.tsv` or `.parquet`
    table with a column `video`, `url`, `path`, `file` or `address`; or a `.tar` with videos. A list or table may name any of
    these but lists and tables; a relative path in it starts from its folder.

    Raises:
        DatasetError: A source is empty, can't be read or is none of these.
    """
    places = [place for source in sources for place in _named(source)]
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [job for found in pool.map(_jobs, places) for job in found]
    once = {job.video: job for job in reversed(jobs)}
    chosen = [job for job in jobs if once.pop(job.video, None) is not None]
    if not chosen:
        raise DatasetError(f"{', '.join(sources)}: expected videos, found none.")
    return chosen


def _suffix(place: str) -> str:
    return PurePosixPath(urlsplit(place).path if is_address(place) else place.replace("\\", "/")).suffix.lower()


def _named(source: str) -> Iterator[str]:
    """A source, or what a list or table names."""
    kind = _suffix(source)
    if kind not in LISTS | TABLES:
        yield source
        return
    rows = _lines(source) if kind in LISTS else _column(source, kind)
    folder = source.rpartition("/")[0] if is_address(source) else str(Path(source).parent)
    for row in rows:
        if _suffix(row) in LISTS | TABLES:
            raise DatasetError(f"{source}: names {row}; a list holds videos, no lists.")
        absolute = is_address(row) or Path(row).is_absolute()
        yield row if absolute else f"{folder}/{row}" if is_address(folder) else str(Path(folder, row))


def _read(source: str) -> bytes:
    system, path = open_store(source)
    try:
        return bytes(system.cat_file(path))
    except Exception as error:  # each store has its own tree of errors
        raise DatasetError(f"{source}: can't be read ({' '.join(str(error).split())}).") from error


def _text(source: str) -> str:
    try:
        return _read(source).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{source}: expected text in UTF-8 ({error}).") from error


def _lines(source: str) -> list[str]:
    return [line for raw in _text(source).splitlines() if (line := raw.strip()) and not line.startswith("#")]


def _column(source: str, kind: str) -> list[str]:
    if kind == ".parquet":
        return _parquet_column(source)
    reader = csv.DictReader(io.StringIO(_text(source), newline=""), delimiter="\t" if kind == ".tsv" else ",")
    try:
        name = _choose(source, reader.fieldnames or ())
        return [cell for row in reader if (cell := (row[name] or "").strip())]
    except csv.Error as error:
        raise DatasetError(f"{source}: can't be read as a table ({error}). Save it as csv in UTF-8.") from error


def _parquet_column(source: str) -> list[str]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("Reading parquet", "batch") from error
    try:
        file = pq.ParquetFile(io.BytesIO(_read(source)))
        name = _choose(source, file.schema_arrow.names)
        return [str(cell) for cell in file.read([name]).column(0).to_pylist() if cell]
    except pa.ArrowException as error:
        raise DatasetError(f"{source}: can't be read as parquet ({error}).") from error


def _choose(source: str, names: Sequence[str]) -> str:
    for name in COLUMNS:
        if name in names:
            return name
    raise DatasetError(f"{source}: expected a column {', '.join(COLUMNS)}; it has {', '.join(names) or 'none'}.")


def _jobs(place: str) -> list[VideoJob]:
    """The videos at a place."""
    if place.lower().startswith(("http://", "https://")) and _suffix(place) != ".tar":
        return [_job(place)]
    if any(sign in place for sign in "*?[") and not _is_file_here(place):
        return [job for found in _glob(place) for job in _single(found)]
    if not is_address(place) and Path(place).is_dir():
        if others := skipped(place):
            logger.warning("%s: skipped, as no videos by their names: %s.", place, others)
        return [_job(str(path)) for path in videos_in(place)]
    return _single(place)


def _single(place: str) -> list[VideoJob]:
    return list(_members(place)) if _suffix(place) == ".tar" else [_job(place)]


def _job(place: str) -> VideoJob:
    return VideoJob(_readable(place), _whole(place))


def _readable(name: str) -> str:
    """A name that tables can hold: bytes that are no UTF-8, as of a file that was named in Latin-1, are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace") if not name.isascii() else name


def _whole(place: str) -> str:
    """A path that means the same in every process of every machine."""
    return place if is_address(place) else str(Path(place).absolute())


def _is_file_here(place: str) -> bool:
    return not is_address(place) and Path(place).is_file()


def _glob(pattern: str) -> list[str]:
    if not is_address(pattern):
        anchor = Path(pattern).anchor
        found = sorted(str(p) for p in Path(anchor).glob(str(Path(pattern).relative_to(anchor))) if p.is_file())
    else:
        system, path = open_store(pattern)
        found = sorted(system.unstrip_protocol(p) for p in system.glob(path))
    if not found:
        raise DatasetError(f"{pattern}: nothing matches.")
    return found


def _members(tar: str) -> Iterator[VideoJob]:
    """The videos of a tar: where each begins, so that one can be read without the others."""
    system, path = open_store(tar)
    try:
        with system.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.issparse():
                    raise tarfile.ReadError(f"{member.name} has holes")
                if member.isfile() and PurePosixPath(member.name).suffix.lower() in VIDEOS:
                    yield VideoJob(
                        _readable(f"tar://{member.name}::{tar}"), _whole(tar), member.offset_data, member.size
                    )
    except (
        tarfile.TarError,
        OSError,
        RecursionError,
        ValueError,
    ) as error:  # heads that follow one another without end
        raise DatasetError(
            f"{tar}: can't be read as a tar of videos ({error}). A compressed one must be unpacked."
        ) from error
