"""The REST service: submit, poll, fetch, delete; described by OpenAPI at `/v1/openapi.json`.

A video is the body of the request itself, so it is counted and written as it comes. Only a body that says what it is
(`Content-Type: video/…`) is taken: a page of another site can't send that without asking first, and is never allowed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from sonomask import __version__
from sonomask.outputs.formats import FORMATS
from sonomask.server.jobs import Job, Limits, QueueFullError, Runner, State, UnknownJobError, Wish
from sonomask.server.work import check_wish

__all__ = ["About", "JobState", "build"]

HERE = Path(__file__).parent
PLAYER = {"player.html": "text/html", "player.js": "text/javascript", "player.css": "text/css"}
VIEW = re.compile(r"view\.json|preview\.mp4|maps\d{1,5}\.png")
BODY = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("video/*", "audio/*")},
    }
}


class JobState(BaseModel):
    """A job as a client sees it."""

    id: str = Field(description="Opaque; whoever has it has the job.")
    name: str = Field(description="Of the upload.")
    state: State
    done: float = Field(description="Share of the work, 0 to 1.")
    ahead: int = Field(description="Jobs before it in the queue.")
    error: str | None = Field(description="Why it failed, in one line.")
    warnings: list[str]
    files: dict[str, str] = Field(description="Address of each result, by format; a folder comes as a zip.")
    player: str | None = Field(description="Address of a page that shows the result.")


class About(BaseModel):
    """What this service offers and allows."""

    version: str
    models: list[str]
    formats: list[str]
    max_bytes: int
    max_seconds: float
    queue: int
    keep_seconds: float


class Health(BaseModel):
    """Whether the service works, and how busy it is."""

    status: Literal["ok"] = "ok"
    busy: int
    queue: int


class Fault(BaseModel):
    """What was wrong, in one line."""

    detail: str


def build(runner: Runner, models: Sequence[str]) -> FastAPI:
    """The service.

    Args:
        runner: Does the jobs; closed with the service.
        models: Names that are offered, the first by default.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(runner.close)

    app = FastAPI(
        title="sonomask", version=__version__, description="Marks the pixels of what makes the sound in a video.",
        openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None, lifespan=lifespan,
    )  # fmt: skip
    for router in (_service(runner, list(models)), _jobs(runner, list(models)), _results(runner)):
        app.include_router(router, prefix="/v1")
    app.add_exception_handler(UnknownJobError, _fault(404))
    app.add_exception_handler(QueueFullError, _fault(503, {"Retry-After": "60"}))
    app.add_exception_handler(ValueError, _fault(422))

    return app


def _fault(status: int, headers: dict[str, str] | None = None) -> Any:
    def answer(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": " ".join(str(error).split())}, status, headers)

    return answer


def _service(runner: Runner, models: list[str]) -> APIRouter:
    router = APIRouter(tags=["service"])

    @router.get("/health")
    async def health() -> Health:
        """Whether the service works, and how busy it is."""
        return Health(busy=runner.busy, queue=runner.limits.queue)

    @router.get("/about")
    async def about() -> About:
        """What is offered and allowed."""
        limits = runner.limits
        return About(
            version=__version__, models=models, formats=list(FORMATS), max_bytes=limits.bytes,
            max_seconds=limits.seconds, queue=limits.queue, keep_seconds=limits.keep,
        )  # fmt: skip

    return router


def _jobs(runner: Runner, models: list[str]) -> APIRouter:
    router = APIRouter(tags=["jobs"], responses={404: {"model": Fault}})

    @router.post(
        "/jobs",
        status_code=202,
        openapi_extra=BODY,
        responses={code: {"model": Fault} for code in (408, 411, 413, 415, 503)},
    )
    async def submit(
        request: Request,
        response: Response,
        model: Annotated[str, Query(description="One of /v1/about.")] = models[0],
        rate: Annotated[float | Literal["native", "avsbench"], Query(description="Masks per second.")] = 5.0,
        threshold: Annotated[float | None, Query(ge=0, le=1, description="The model's own unless given.")] = None,
        min_presence: Annotated[float, Query(ge=0, le=1, description="Empty masks below it.")] = 0.0,
        formats: Annotated[list[str] | None, Query(description="Of /v1/about; repeat for several.")] = None,
        name: Annotated[str, Query(max_length=200, description="What to call the results.")] = "video",
    ) -> JobState:
        """Submit a video, the body of the request; then poll the job."""
        wish = Wish(model, rate, threshold, min_presence, tuple(formats or ["overlay"]))
        check_wish(wish, models)
        _check_head(request, runner.limits)
        job = runner.new(wish, name)
        try:
            async with asyncio.timeout(runner.limits.work):
                await _receive(request, job)
        except BaseException as error:
            runner.remove(job)
            if isinstance(error, TimeoutError):
                raise HTTPException(408, "The upload came too slowly. Try again.") from error
            if isinstance(error, ClientDisconnect):  # nobody reads the answer, but the log stays free of tracebacks
                raise HTTPException(400, "The upload broke off.") from error
            raise
        runner.start(job)
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return _state(runner, job)

    @router.get("/jobs/{job_id}")
    async def poll(job_id: str) -> JobState:
        """Where a job is."""
        return _state(runner, runner.job(job_id))

    @router.delete("/jobs/{job_id}", status_code=204)
    async def delete(job_id: str) -> None:
        """Stop a job and remove its files."""
        await asyncio.to_thread(runner.remove, runner.job(job_id))

    return router


def _results(runner: Runner) -> APIRouter:
    router = APIRouter(tags=["jobs"], responses={404: {"model": Fault}})

    @router.get("/jobs/{job_id}/files/{format}", response_class=FileResponse, responses={409: {"model": Fault}})
    async def fetch(job_id: str, format: str) -> FileResponse:  # noqa: A002
        """A result of a finished job."""
        job = runner.job(job_id)
        if job.state != "done":
            raise HTTPException(409, f"The job is {job.state}, not done.")
        if format not in job.files:
            raise HTTPException(404, f"This job has {', '.join(job.files)}, not {format[:40]!r}.")
        file = job.files[format]
        return FileResponse(file, filename=Path(job.name).stem + file.name.removeprefix("result"))

    @router.get("/jobs/{job_id}/view/{part}", include_in_schema=False)
    async def view(job_id: str, part: str) -> FileResponse:
        """A piece of the player; of a job only names that the player asks for."""
        job = runner.job(job_id)
        if part in PLAYER:
            return FileResponse(HERE / part, media_type=PLAYER[part], headers={"Cache-Control": "no-cache"})
        if job.state != "done" or not VIEW.fullmatch(part) or not (job.folder / "view" / part).is_file():
            raise HTTPException(404, "There is no such part.")
        return FileResponse(job.folder / "view" / part, headers={"Cache-Control": "private, max-age=3600"})

    return router


def _check_head(request: Request, limits: Limits) -> None:
    kind = request.headers.get("content-type", "")
    if not kind.startswith(("video/", "audio/")):
        raise HTTPException(415, "Expected the video as the body, with Content-Type: video/mp4 or the like.")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limits.bytes:
        raise HTTPException(413, f"The video has more than {limits.bytes >> 20} MB, the limit. Cut it first.")


async def _receive(request: Request, job: Job) -> None:
    """Write the body as it comes, as long as it is within the limit and keeps coming.

    Raises:
        HTTPException: It is too large, or empty.
        TimeoutError: It comes too slowly: whoever does so keeps others from the queue.
    """
    size, limits, began = 0, job.limits, asyncio.get_running_loop().time()
    pieces = aiter(request.stream())
    with job.source.open("wb") as file:
        while True:
            async with asyncio.timeout(limits.silence):
                chunk = await anext(pieces, None)
            if chunk is None:
                break
            size += len(chunk)
            if size < limits.pace * (asyncio.get_running_loop().time() - began - limits.silence):
                raise TimeoutError
            if size > job.limits.bytes:
                raise HTTPException(
                    413, f"The video has more than {job.limits.bytes >> 20} MB, the limit. Cut it first."
                )
            await asyncio.to_thread(file.write, chunk)
    if not size:
        raise HTTPException(422, "The body is empty. Send the video as the body.")


def _state(runner: Runner, job: Job) -> JobState:
    here = f"/v1/jobs/{quote(job.id)}"
    return JobState(
        id=job.id, name=job.name, state=job.state, done=job.done, ahead=runner.ahead(job), error=job.error,
        warnings=list(job.warnings), files={name: f"{here}/files/{name}" for name in job.files},
        player=f"{here}/view/player.html" if job.state == "done" else None,
    )  # fmt: skip
