"""Routes for what a job gives: events while it works, a preview, then its files and the parts of the player."""

from __future__ import annotations

import asyncio
import json
import re
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from sonomask.outputs.formats import FORMATS
from sonomask.server.answers import RESPONSES, state_of
from sonomask.server.jobs import Job
from sonomask.server.problems import NotReadyError, UnknownError

if TYPE_CHECKING:
    from sonomask.server.rest import Service

__all__ = ["router", "view_of"]

VIEW = re.compile(r"view\.json|preview\.mp4|maps\d{1,5}\.png")
POLL, SIGN = 0.4, 15.0  # seconds between two looks at a job, and after which a silent stream gives a sign of life
CHUNK = 2**16
BINARY: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "A `JobState` for each change",
    }
}


def router(service: Service) -> APIRouter:
    """The routes."""
    routes, runner = APIRouter(tags=["results"], responses=RESPONSES), service.runner

    @routes.get("/jobs/{job_id}/events", response_class=StreamingResponse, responses=EVENTS)
    async def events(job_id: str, request: Request) -> StreamingResponse:
        """Server-sent events: the job's state whenever it changes, until it is over."""
        job = runner.job(job_id)

        def poll() -> tuple[str, bool]:
            return state_of(runner, job, request).model_dump_json(by_alias=True), job.over

        return _stream(service, poll)

    @routes.get("/events", include_in_schema=False)
    async def all_events(request: Request) -> StreamingResponse:
        """The same for all jobs of a session, for the page: a browser has few connections for many jobs."""
        from sonomask.server.rest import session_of

        session = session_of(request)

        def poll() -> tuple[str, bool]:
            return json.dumps(
                [state_of(runner, job, request).model_dump(by_alias=True) for job in runner.of(session)]
            ), False

        return _stream(service, poll)

    @routes.get("/jobs/{job_id}/preview", response_class=Response, responses=BINARY)
    async def preview(job_id: str, number: int | None = None) -> Response:  # noqa: ARG001 - a browser shows a new address anew
        """The newest picture of a running job with its masks, as JPEG."""
        _, jpeg = runner.job(job_id).preview
        if not jpeg:
            raise NotReadyError("There is no preview now.")
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    _add_files(routes, service)
    return routes


def _add_files(routes: APIRouter, service: Service) -> None:
    runner = service.runner

    @routes.get("/jobs/{job_id}/files/{format}", response_class=FileResponse, responses=BINARY)
    async def fetch(job_id: str, format: str) -> Response:  # noqa: A002
        """A result of a finished job; a folder as a zip."""
        job = _done(runner.job(job_id))
        if format not in job.files:
            raise UnknownError(f"This job has {', '.join(job.files)}, not {format[:40]!r}.")
        path = job.files[format]
        name = _stem(job) + FORMATS[format].suffix  # type: ignore[index]
        return FileResponse(path, filename=name) if path.is_file() else _zipped({name: path}, f"{name}.zip")

    @routes.get("/jobs/{job_id}/archive", response_class=StreamingResponse, responses=BINARY)
    async def archive(job_id: str) -> Response:
        """All results of a finished job in one zip."""
        job = _done(runner.job(job_id))
        names = {_stem(job) + FORMATS[name].suffix: path for name, path in job.files.items()}  # type: ignore[index]
        return _zipped(names, f"{_stem(job)}.zip")

    @routes.get("/jobs/{job_id}/view/{part}", include_in_schema=False)
    async def view(job_id: str, part: str) -> FileResponse:
        """A piece of what the player shows; only names that it asks for."""
        job = _done(runner.job(job_id))
        if not VIEW.fullmatch(part) or not (job.folder / "view" / part).is_file():
            raise UnknownError("There is no such part.")
        return FileResponse(job.folder / "view" / part, headers={"Cache-Control": "private, max-age=3600"})


def view_of(job: Job) -> dict[str, Any]:
    """The data of a finished job for the player.

    Raises:
        NotReadyError: It is not finished.
    """
    about: dict[str, Any] = json.loads((_done(job).folder / "view" / "view.json").read_text(encoding="utf-8"))
    return about


def _done(job: Job) -> Job:
    if job.state != "done":
        raise NotReadyError(f"The job is {job.state}, not done.")
    return job


def _stem(job: Job) -> str:
    return Path(job.name).stem or "video"


def _stream(service: Service, poll: Callable[[], tuple[str, bool]]) -> StreamingResponse:
    async def pieces() -> AsyncIterator[str]:
        clock = asyncio.get_running_loop().time
        last, sent = "", clock()
        yield "retry: 2000\n\n"
        while not service.ending.is_set():
            text, over = poll()
            if text != last:
                last, sent = text, clock()
                yield f"data: {text}\n\n"
            elif clock() > sent + SIGN:
                sent = clock()
                yield ": still here\n\n"
            if over:
                return
            await asyncio.sleep(POLL)

    return StreamingResponse(pieces(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


class _Pipe:
    """A file object for a zip file that is streamed and not stored."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.place = 0

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        self.place += len(data)
        return len(data)

    def tell(self) -> int:
        return self.place

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        data, self.pieces = b"".join(self.pieces), []
        return data


def _zipped(paths: dict[str, Path], name: str) -> StreamingResponse:
    """Stream a zip file; it is not compressed, since videos and pictures are compressed already."""

    def pieces() -> Iterator[bytes]:
        pipe = _Pipe()
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
            for inside, path in _files(paths):
                with (
                    archive.open(zipfile.ZipInfo.from_file(path, inside), "w", force_zip64=True) as out,
                    path.open("rb") as file,
                ):
                    while chunk := file.read(CHUNK):
                        out.write(chunk)
                        yield pipe.take()
                yield pipe.take()
        yield pipe.take()

    headers = {"Content-Disposition": f"attachment; filename*=utf-8''{quote(name)}"}
    return StreamingResponse(pieces(), media_type="application/zip", headers=headers)


def _files(paths: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    for name, path in paths.items():
        if path.is_file():
            yield name, path
        else:
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    yield f"{name}/{file.relative_to(path).as_posix()}", file
