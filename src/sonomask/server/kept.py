"""Records of finished jobs beside their files, so that the next server on the same folder has them too.

The folder belongs to the server alone (0700), and of what is read no text becomes a path: files are found by their formats.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sonomask.outputs.formats import FORMATS, paths_of
from sonomask.server.job import Job, JobOptions
from sonomask.server.limits import ServerLimits
from sonomask.server.store import Upload
from sonomask.workspace import atomic_path

__all__ = ["RECORD", "note", "recall"]

RECORD = "job.json"
STEM = "result"  # of the files of a job
PLAIN = ("name", "session", "client", "submitted", "warnings", "heard")

logger = logging.getLogger(__name__)


def note(job: Job) -> None:
    """Record a job that is about to finish; if that fails, the log says that it won't survive a restart."""
    told = {name: getattr(job, name) for name in PLAIN}
    told["upload"] = None if job.upload is None else job.upload.id
    record = {
        **told,
        "corrected": job.corrected,
        "ended": time.time(),
        "formats": list(job.files),
        "options": asdict(job.options),
    }
    try:
        with atomic_path(job.folder / RECORD) as path:
            path.write_text(json.dumps(record), encoding="utf-8")
    except OSError as error:
        logger.error("job %s can't be kept: %s", job.id, error)


def recall(folder: Path, limits: ServerLimits, uploads: Mapping[str, Upload]) -> Iterator[Job]:
    """The finished jobs that lie in a folder, the oldest first; whatever else lies there is removed.

    Args:
        folder: Folder of all jobs.
        limits: Limits on jobs.
        uploads: Videos that are still there, by id.
    """
    found = [(path, _read(path, limits, uploads)) for path in folder.iterdir()]
    for path, job in found:
        if job is None:
            shutil.rmtree(path, ignore_errors=True)
    yield from sorted((job for _, job in found if job is not None), key=lambda job: job.submitted)


def _read(folder: Path, limits: ServerLimits, uploads: Mapping[str, Upload]) -> Job | None:
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        options: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in record["options"].items()
        }
        plain = {name: record[name] for name in PLAIN}
        plain["warnings"] = tuple(plain["warnings"])
        plain["corrected"] = int(record.get("corrected", 0))  # older records have none
        job = Job(folder.name, folder, options=JobOptions(**options), limits=limits, source=folder, **plain)
        paths = paths_of(folder / STEM, [name for name in record["formats"] if name in FORMATS])
        job.files = {name: path for name, path in paths.items() if path.exists()}
        if not job.files or not (folder / "view" / "view.json").is_file():
            return None
        job.upload = uploads.get(str(record.get("upload")))
        job.end("done")
        job.ended = time.monotonic() - max(0.0, time.time() - float(record["ended"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return job
