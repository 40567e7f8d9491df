"""From a job to a file on this machine: opened through fsspec, counted, hashed, within a limit."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

import fsspec

from sonomask.batch.job import VideoJob
from sonomask.errors import MediaError

__all__ = ["PROTOCOLS", "Fetched", "fetch", "is_address", "open_store"]

PROTOCOLS = {"file", "local", "memory", "http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hdfs", "hf"}
ADDRESS = re.compile(
    r"([a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]*://", re.IGNORECASE
)  # chained ones are to be refused, not globbed
BLOCK = 1 << 20
TRIES, PAUSE = 3, 0.5  # seconds, doubled each time


class Fetched(NamedTuple):
    """A video on this machine."""

    path: Path
    bytes: int
    sha256: str


def is_address(name: str) -> bool:
    """Whether a source is an address rather than a path."""
    return bool(ADDRESS.match(name))


def open_store(address: str) -> tuple[Any, str]:
    """The file system of a path or address, and its path there.

    Raises:
        MediaError: The protocol is none that is allowed here, or its package is not installed.
    """
    protocol = urlsplit(address).scheme.lower() if is_address(address) else "file"
    if protocol not in PROTOCOLS or "::" in address:
        raise MediaError(f"{address}: expected a path or an address of {', '.join(sorted(PROTOCOLS))}.")
    try:
        system, path = fsspec.core.url_to_fs(address if protocol != "file" else _absolute(address))
    except ImportError as error:
        raise MediaError(f"{address}: this kind of address needs a package ({error}).") from error
    return system, path


def _absolute(address: str) -> str:
    path = address.partition("://")[2] if is_address(address) else address
    return str(Path(path).absolute())


@contextmanager
def fetch(job: VideoJob, most: int) -> Iterator[Fetched]:
    """The video as a file, for as long as the block lasts; a local one stays where it is.

    A failed transfer is repeated a few times.

    Args:
        job: Video to fetch.
        most: Bytes that it may have.

    Raises:
        MediaError: It isn't there, can't be read or is too large.
    """
    if not is_address(job.file) and job.offset is None:
        yield _again(job, lambda: _hash_here(job, most))
        return
    suffix = Path(urlsplit(job.video.partition("::")[0]).path).suffix[:8]
    with tempfile.TemporaryDirectory(prefix="sonomask-", ignore_cleanup_errors=True) as folder:
        target = Path(folder, "video").with_suffix(suffix if suffix.isascii() and suffix[1:].isalnum() else "")
        yield _again(job, lambda: _copy(job, target, most))


def _again(job: VideoJob, work: Any) -> Fetched:
    for left in range(TRIES - 1, -1, -1):
        try:
            return work()
        except MediaError:
            raise
        except Exception as error:  # each store has its own tree of errors
            if isinstance(error, FileNotFoundError) and not _stumbled(error):
                raise MediaError(f"{job.video}: no such file.") from error
            if not left:
                reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
                raise MediaError(f"{job.video}: can't be read after {TRIES} tries ({reason}).") from error
            time.sleep(PAUSE * 2 ** (TRIES - 1 - left))
    raise AssertionError


def _stumbled(error: BaseException) -> bool:
    """Whether a file could not be read only because its server did not answer, or was temporarily unavailable.

    fsspec reports every HTTP failure as a missing file, with the actual error as its cause.
    """
    cause = error.__cause__ or error.__context__
    while cause is not None:
        status = getattr(cause, "status", None)
        if isinstance(status, int):
            return status >= 500 or status in (408, 429)
        if isinstance(cause, OSError | TimeoutError) and not isinstance(cause, FileNotFoundError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _hash_here(job: VideoJob, most: int) -> Fetched:
    path = Path(job.file)
    if not path.exists():
        raise FileNotFoundError
    if not path.is_file():
        raise MediaError(f"{job.video}: expected a video file, this is a folder or a device.")
    with path.open("rb") as file:
        return Fetched(path, *_drain(job, file, None, None, most))


def _copy(job: VideoJob, target: Path, most: int) -> Fetched:
    system, path = open_store(job.file)
    with system.open(path, "rb") as source, target.open("wb") as file:
        if job.offset:
            source.seek(job.offset)
        return Fetched(target, *_drain(job, source, file, job.size, most))


def _drain(job: VideoJob, source: IO[bytes], target: IO[bytes] | None, size: int | None, most: int) -> tuple[int, str]:
    """Bytes and their hash; copied along if there is a target, and no more than `size`."""
    seen, found = 0, hashlib.sha256()
    while block := source.read(BLOCK if size is None else min(BLOCK, size - seen)):
        seen += len(block)
        if seen > most:
            raise MediaError(f"{job.video}: more than {most} bytes, the limit.")
        found.update(block)
        if target is not None:
            target.write(block)
    return seen, found.hexdigest()
