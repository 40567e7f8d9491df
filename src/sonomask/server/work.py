"""What a job does: masks of an upload, the files that were wished for, and what the player shows."""

from __future__ import annotations

import shutil
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from sonomask.api import class_names, load_fast, write_masks
from sonomask.inference.segmenter import Segmenter
from sonomask.media.opening import Limits as MediaLimits
from sonomask.media.sandbox.reader import Cage, SandboxedReader
from sonomask.outputs.formats import FORMATS, paths_of
from sonomask.request import Request, check_rate
from sonomask.server.jobs import Job, Limits, Wish
from sonomask.server.view import write_view

__all__ = ["Segment", "check_wish", "open_upload"]


def open_upload(path: Path, limits: Limits) -> SandboxedReader:
    """The one place where a stranger's video is opened, and that in a child process without rights.

    Raises:
        MediaError: It is no video, or beyond a limit.
    """
    return SandboxedReader(path, MediaLimits(pixels=limits.pixels, seconds=limits.seconds), Cage(cpu=int(limits.work)))


def check_wish(wish: Wish, models: Sequence[str]) -> None:
    """Make sure that nothing but what is offered is asked for; a model is never a path or an address.

    Raises:
        ValueError: It is.
    """
    if wish.model not in models:
        raise ValueError(f"`model`: expected one of {', '.join(models)}, got {wish.model!r}.")
    if not wish.formats or not set(wish.formats) <= set(FORMATS):
        raise ValueError(f"`formats`: expected some of {', '.join(FORMATS)}, got {', '.join(wish.formats) or 'none'}.")
    check_rate(wish.rate, most=60)
    Request(wish.rate, wish.threshold, wish.min_presence)


class Segment:
    """A job's work, with models that stay loaded.

    Args:
        models: What `load` takes, by the name that is offered.
        device: "auto", "cpu", "cuda" or "mps".
    """

    def __init__(self, models: Mapping[str, str], device: str = "auto") -> None:
        self.models, self.device = dict(models), device
        self.loaded: dict[str, nn.Module] = {}
        self.lock = threading.Lock()

    def model(self, name: str) -> nn.Module:
        """The model of that name, loaded once."""
        with self.lock:
            if name not in self.loaded:
                self.loaded[name] = load_fast(self.models[name], self.device)
            return self.loaded[name]

    def __call__(self, job: Job) -> None:
        """Write the files of a job.

        Raises:
            MediaError: The video can't be read.
            ValueError: A wish can't be met, or a limit is passed.
        """
        wish = job.wish
        request = Request(wish.rate, wish.threshold, wish.min_presence, self.device, attention=True)
        segmenter = Segmenter(self.model(wish.model), request)
        paths = paths_of(job.folder / "result", wish.formats)  # type: ignore[arg-type]
        with open_upload(job.source, job.limits) as reader:
            total = reader.info.duration
            with write_view(
                job.folder / "view", reader, classes=class_names(segmenter.config), threshold=segmenter.threshold,
                check=lambda: job.report(0, None),
            ) as show:  # fmt: skip
                result = write_masks(
                    segmenter, reader, paths, source=job.name, sinks=[show],
                    progress=lambda seconds, _: job.report(0.97 * seconds, total),
                )  # fmt: skip
        job.warnings = result.warnings
        job.files = {name: _one_file(path) for name, path in paths.items()}


def _one_file(path: Path) -> Path:
    """The file itself, or a zip of the folder."""
    if path.is_file():
        return path
    packed = path.with_name(path.name + ".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                archive.write(file, f"{path.name}/{file.relative_to(path).as_posix()}")
    shutil.rmtree(path)
    return packed
