"""The values that travel between the stages: a video's location, the options of the run, and pieces of results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from sonomask.request import FOR_CORPORA, Request
from sonomask.schemas import SCHEMAS

__all__ = ["FORMAT", "Ending", "Options", "Piece", "VideoJob", "digest"]

FORMAT = SCHEMAS["corpus"]  # of the tables; part of every name, so that another format is another output

Status: TypeAlias = Literal["done", "failed"]


def digest(*parts: str) -> str:
    """Twenty hexadecimal digits of SHA-256."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class VideoJob:
    """A video of the corpus.

    Attributes:
        video: Its name in the tables: path or address; of a member of a tar `tar://MEMBER::TAR`, as fsspec spells it.
        file: File to open.
        offset: Position of the video in the file; None if the file is the video.
        size: Its bytes, where it lies inside a file.
    """

    video: str
    file: str
    offset: int | None = None
    size: int | None = None


@dataclass(frozen=True)
class Options:
    """The options that apply to every video.

    Attributes:
        model: Name or folder, see `weights.load`.
        request: Options of the masks.
        max_seconds: A longer video fails.
        max_bytes: A larger file fails.
        max_pixels: A video with larger frames fails.
        timeout: Seconds of work after which a video that has not ended fails.
        trusted: Decode without a sandbox, which is about 0.3 s a video faster.
    """

    model: str
    request: Request = FOR_CORPORA
    max_seconds: float = 3600.0
    max_bytes: int = 2**31
    max_pixels: int = 2**24
    timeout: float = 600.0
    trusted: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range, or can't be done for a corpus.

        Raises:
            ValueError: It is one of these.
        """
        if self.request.hold or self.request.feather is not None:
            raise ValueError(
                "`hold`, `feather`: tables of a corpus have no held masks, since the frames of a video may be finished in "
                "several processes, and no soft edges. Leave both out."
            )
        for name in ("max_seconds", "max_bytes", "max_pixels", "timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}`: expected more than 0, got {getattr(self, name)}.")

    def mask_settings(self) -> dict[str, Any]:
        """The options that determine the results; device, timeout and sandbox don't."""
        how = ("model", "request", "timeout", "trusted")
        limits = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in how}
        return self.request.mask_settings() | limits

    def fingerprint(self) -> str:
        """Hash of `mask_settings` and of the format of the tables."""
        return digest(str(FORMAT), json.dumps(self.mask_settings(), sort_keys=True))


@dataclass(frozen=True)
class Ending:
    """The result for one video.

    Attributes:
        status: "done" or "failed".
        reason: Why it failed, in one line.
        seconds: Length; None if unknown.
        width: Width as displayed, in pixels.
        height: Height as displayed, in pixels.
        bytes: Bytes of the file.
        sha256: Sha256 of the file.
        warnings: Warnings about parts that could not be read.
        clock: Seconds of work by stage ("fetch", "decode", "model", "finish"); for the report, in no table.
    """

    status: Status
    reason: str = ""
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sha256: str = ""
    warnings: tuple[str, ...] = ()
    clock: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A part of a video on its way: a window, then its scores, then its masks; the last one is an `Ending`.

    Attributes:
        video: Name of the video.
        order: Place among its pieces, from 0.
        body: Content, which depends on the stage (see `stages`).
        fault: Reason why a stage failed; "" if none did.
        clock: Seconds of work by stage.
    """

    video: str
    order: int
    body: Any = None
    fault: str = ""
    clock: Mapping[str, float] = field(default_factory=dict)
