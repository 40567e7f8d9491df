"""The REST service, described by OpenAPI at `/v1/openapi.json`. The page is a client of it like any other.

POST /v1/uploads   the video, as the body     → an upload with its id
POST /v1/jobs      which upload, what to do   → a job; then poll it, or listen to its events, and fetch its files
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from sonomask import __version__
from sonomask.errors import MediaError
from sonomask.outputs.formats import FORMATS
from sonomask.server import correcting, results
from sonomask.server.answers import RESPONSES, install, known_options, state_of
from sonomask.server.guard import client_of, cookies_of
from sonomask.server.jobs import Job, Runner
from sonomask.server.limits import ServerLimits
from sonomask.server.problems import BusyError, InvalidError, Problem, TooLargeError, UnknownError
from sonomask.server.schemas import (
    About,
    FormatAbout,
    Health,
    JobRequest,
    JobState,
    ModelAbout,
    SourceRequest,
    SourceState,
    UploadState,
)
from sonomask.server.store import Upload
from sonomask.server.work import check_names, check_options, check_prompt, check_track, probe

__all__ = ["Service", "build"]

KINDS = ("application/octet-stream", "video/", "audio/")
BODY = {
    "requestBody": {
        "required": True,
        "description": "The video itself.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
PROBES = 2  # uploads that are looked into at once
SESSION = "sonomask_session"


class SlowError(Problem):
    """An upload came too slowly."""

    status = 408


class KindError(Problem):
    """A body is of another kind."""

    status = 415


@dataclass
class Service:
    """The objects that the routes work with.

    Attributes:
        runner: Does the jobs; closed with the service.
        models: Description of each offered model in one line; the first one is the default.
        things: Names that each model knows; empty if it knows none.
        prompts: Names of the models that take free words.
        probe: Function that describes a video.
        warnings: Warnings for whoever runs the server.
    """

    runner: Runner
    models: Mapping[str, str]
    things: Mapping[str, Sequence[str]] = field(default_factory=dict)
    prompts: Collection[str] = ()
    probe: Callable[[Path, ServerLimits], dict[str, Any]] = probe
    warnings: tuple[str, ...] = ()
    receiving: int = 0
    probing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PROBES))
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def place_to_probe(self) -> Iterator[None]:
        """A place among the uploads that come in or wait to be looked into.

        Raises:
            BusyError: There is none.
        """
        if self.receiving >= self.limits.queue:
            raise BusyError(f"{self.receiving} uploads are coming in, as many as can. Try again in a minute.")
        self.receiving += 1
        try:
            yield
        finally:
            self.receiving -= 1

    @property
    def limits(self) -> ServerLimits:
        """The limits of its jobs."""
        return self.runner.limits


def build(service: Service) -> FastAPI:
    """The service as an ASGI application, without the guard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.runner.close)

    app = FastAPI(
        title="sonomask", version=__version__, description="Marks the pixels of what makes the sound in a video.",
        openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None, lifespan=lifespan,
        generate_unique_id_function=_operation,
    )  # fmt: skip
    for router in (
        _about(service),
        _uploads(service),
        _jobs(service),
        _sources(service),
        results.router(service),
        correcting.router(service),
    ):
        app.include_router(router, prefix="/v1", dependencies=[Depends(known_options)])
    install(app)
    return app


def _operation(route: APIRoute) -> str:
    return route.name


def session_of(request: Request) -> str | None:
    """Whose a request is: a sum of its cookie, so that no cookie lies on a disk; None for a program without."""
    given = cookies_of(request.headers.get("cookie", "")).get(SESSION, "")
    return hashlib.sha256(given.encode()).hexdigest() if 16 <= len(given) <= 100 else None


Session = Annotated[str | None, Depends(session_of)]


def _about(service: Service) -> APIRouter:
    router, limits = APIRouter(tags=["service"], responses=RESPONSES), service.limits

    @router.get("/health")
    async def health() -> Health:
        """Report the service's health and load."""
        return Health(busy=service.runner.busy, queue=limits.queue)

    @router.get("/about")
    async def about() -> About:
        """Report models, formats and limits."""
        return About(
            version=__version__, boot=service.runner.boot,
            models=[
                ModelAbout(
                    name=name, about=text, names=list(service.things.get(name, ())), prompts=name in service.prompts
                )
                for name, text in service.models.items()
            ],
            formats=[FormatAbout(name=name, suffix=row.suffix, about=row.what) for name, row in FORMATS.items()],
            max_bytes=limits.bytes, max_seconds=limits.seconds, max_rate=limits.rate, max_masks=limits.masks,
            queue=limits.queue, keep_seconds=limits.keep, keeps_results=service.runner.keeps,
            warnings=list(service.warnings),
        )  # fmt: skip

    return router


def _uploads(service: Service) -> APIRouter:
    router, store = APIRouter(tags=["uploads"], responses=RESPONSES), service.runner.store

    @router.post("/uploads", status_code=201, openapi_extra=BODY)
    async def upload(
        request: Request,
        session: Session,
        name: Annotated[str, Query(max_length=200, description="What to call it.")] = "video",
    ) -> UploadState:
        """Send a video, the body of the request."""
        _check_head(request, service.limits)
        with service.place_to_probe():
            with store.receive(name, session=session, client=client_of(request.scope)) as (fresh, write):
                await _receive(request, write, service.limits)
            try:
                async with service.probing:
                    store.know(fresh, await asyncio.to_thread(service.probe, fresh.path, service.limits))
            except (MediaError, ValueError) as error:
                store.remove(fresh)
                raise InvalidError(str(error).replace(str(fresh.path), fresh.name), "upload") from error
            except BaseException:
                store.remove(fresh)
                raise
        return _upload_state(fresh)

    @router.get("/uploads/{upload_id}")
    async def get_upload(upload_id: str, session: Session) -> UploadState:
        """Describe an upload."""
        return _upload_state(store.find(upload_id, session))

    @router.delete("/uploads/{upload_id}", status_code=204)
    async def delete_upload(upload_id: str, session: Session) -> None:
        """Remove an upload; jobs that read it go on."""
        await asyncio.to_thread(store.remove, store.find(upload_id, session))

    return router


def _jobs(service: Service) -> APIRouter:
    router, runner = APIRouter(tags=["jobs"], responses=RESPONSES), service.runner

    @router.post("/jobs", status_code=202)
    async def submit(job_request: JobRequest, request: Request, response: Response, session: Session) -> JobState:
        """Have an upload segmented; then poll the job, or listen to its events."""
        options = job_request.options(next(iter(service.models)))
        check_options(options, list(service.models), service.limits)
        upload = runner.store.find(job_request.upload, session)
        _check_part(options.start, upload)
        check_names(options, options.model, service.things.get(options.model, ()))
        check_prompt(options, service.prompts)
        check_track(options, upload.facts["audio_tracks"])
        return _accepted(service, runner.submit(upload, options, name=job_request.name), request, response)

    @router.get("/jobs")
    async def list_jobs(request: Request, session: Session) -> list[JobState]:
        """The jobs of this session (its cookie), the newest first."""
        return [state_of(runner, job, request) for job in runner.of(session)]

    @router.get("/jobs/{job_id}")
    async def poll(job_id: str, request: Request) -> JobState:
        """Report a job's state."""
        return state_of(runner, runner.job(job_id), request)

    @router.post("/jobs/{job_id}/cancel")
    async def cancel(job_id: str, request: Request) -> JobState:
        """Stop a job; it stays in the list."""
        job = runner.job(job_id)
        await asyncio.to_thread(runner.cancel, job)
        return state_of(runner, job, request)

    @router.delete("/jobs/{job_id}", status_code=204)
    async def delete(job_id: str) -> None:
        """Stop a job and remove its files."""
        await asyncio.to_thread(runner.remove, runner.job(job_id))

    return router


def _sources(service: Service) -> APIRouter:
    router, runner = APIRouter(tags=["jobs"], responses=RESPONSES), service.runner

    @router.get("/jobs/{job_id}/sources")
    def sources(job_id: str) -> list[SourceState]:
        """List what sounds in the video of a finished job, and when."""
        return [
            SourceState(**{key: row[key] for key in SourceState.model_fields})
            for row in results.view_of(runner.job(job_id))["sources"]
        ]

    @router.post("/jobs/{job_id}/sources", status_code=202)
    def take_sources(
        job_id: str, source_request: SourceRequest, request: Request, response: Response, session: Session
    ) -> JobState:
        """Make files in which some sources of a finished job are marked and nothing else: a new job on the same video."""
        parent = runner.job(job_id)
        names = {row["id"]: str(row["name"]) for row in results.view_of(parent)["sources"]}
        wrong = [number for number in source_request.sources if number not in names]
        if wrong:
            known = ", ".join(map(str, names)) or "none"
            raise InvalidError(f"`sources`: this job has {known}, got {wrong[0]}.", "sources")
        if parent.upload is None:
            raise UnknownError("The video is no longer here. Send it again.", "upload")
        upload = runner.store.find(parent.upload.id, session)
        options = (
            parent.options
            if source_request.formats is None
            else replace(parent.options, formats=tuple(source_request.formats))
        )
        name, wanted = Path(parent.name), ", ".join(names[number] for number in source_request.sources)
        called = f"{name.stem[:40]} – {wanted[:30]}{name.suffix[:8]}"
        return _accepted(
            service,
            runner.submit(upload, options, name=called, parent=parent, sources=tuple(source_request.sources)),
            request,
            response,
        )

    return router


def _accepted(service: Service, job: Job, request: Request, response: Response) -> JobState:
    response.headers["Location"] = f"{request.scope['root_path']}/v1/jobs/{job.id}"
    return state_of(service.runner, job, request)


def _check_part(start: float, upload: Upload) -> None:
    duration = upload.facts.get("duration")
    if duration is not None and start >= duration:
        raise InvalidError(f"`start`: the video has {duration:.1f} s, so there is nothing at {start:g} s.", "start")


def _check_head(request: Request, limits: ServerLimits) -> None:
    kind = request.headers.get("content-type", "")
    if not kind.startswith(KINDS):
        raise KindError(
            "Expected the video as the body, with Content-Type: application/octet-stream, video/… or audio/…."
        )
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limits.bytes:
        raise TooLargeError(
            f"The video has more than {limits.bytes / 2**20:.0f} MB, the limit. Cut it first.", "upload"
        )


async def _receive(request: Request, write: Callable[[bytes], None], limits: ServerLimits) -> None:
    """Write the body as it arrives, while it is within the limits and keeps coming.

    Raises:
        TooLargeError: It is.
        BusyError: There is no room for it now.
        InvalidError: It is empty, or broke off.
        SlowError: It comes too slowly.
    """
    clock = asyncio.get_running_loop().time
    size, began = 0, clock()
    pieces = aiter(request.stream())
    try:
        async with asyncio.timeout(limits.work):
            while True:
                async with asyncio.timeout(limits.silence):
                    chunk = await anext(pieces, None)
                if chunk is None:
                    break
                size += len(chunk)
                if size < limits.pace * (clock() - began - limits.silence):
                    raise TimeoutError
                await asyncio.to_thread(write, chunk)
    except TimeoutError as error:
        raise SlowError("The upload came too slowly. Try again.", "upload") from error
    except ClientDisconnect as error:  # nobody reads the answer, but the log stays free of tracebacks
        raise InvalidError("The upload broke off.", "upload") from error
    if not size:
        raise InvalidError("The body is empty. Send the video as the body.", "upload")


def _upload_state(upload: Upload) -> UploadState:
    return UploadState(id=upload.id, name=upload.name, bytes=upload.size, **upload.facts)
