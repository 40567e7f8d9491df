"""Routes for corrections of a finished job, and for files that follow them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from sonomask.outputs.formats import FORMATS
from sonomask.safe_reading.corrections import Correction, Corrections
from sonomask.server import corrections
from sonomask.server.answers import RESPONSES, state_of
from sonomask.server.jobs import Job
from sonomask.server.problems import InvalidError, NotReadyError, UnknownError
from sonomask.server.results import view_of
from sonomask.server.schemas import CorrectedRequest, CorrectionRequest, JobState

if TYPE_CHECKING:
    from sonomask.server.rest import Service

__all__ = ["router"]

JSON: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}}, "description": "The file of corrections"}
}
BODY = {
    "requestBody": {
        "required": True,
        "description": "The file of corrections.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


def router(service: Service) -> APIRouter:
    """The routes."""
    routes, runner = APIRouter(tags=["corrections"]), service.runner

    def finished(job_id: str) -> Job:
        job = runner.job(job_id)
        view_of(job)
        return job

    @routes.get("/jobs/{job_id}/corrections", response_class=Response, responses=RESPONSES | JSON)
    def get_corrections(job_id: str) -> Response:
        """What was said of a finished job, as the file that `segment --corrections` and `train --corrections` take."""
        job = finished(job_id)
        return _file(job, corrections.of_job(job))

    @routes.post("/jobs/{job_id}/corrections", response_class=Response, responses=RESPONSES | JSON)
    def add_correction(job_id: str, said: CorrectionRequest) -> Response:
        """Say one thing of a finished job; it is carried along the track, and the whole file comes back."""
        job = finished(job_id)
        values = said.model_dump(exclude={"source"}, exclude_none=True)
        if said.source is not None:
            values["time"], values["x"], values["y"] = corrections.point_of(job, said.source, said.time)
        try:
            item = Correction(**values)
        except ValueError as error:
            raise InvalidError(str(error), str(error).split("`")[1]) from error
        return _file(job, corrections.add(job, item))

    @routes.put("/jobs/{job_id}/corrections", response_class=Response, responses=RESPONSES | JSON, openapi_extra=BODY)
    async def put_corrections(job_id: str, request: Request) -> Response:
        """Replace what was said of a finished job by a file, such as one that was downloaded before."""
        job = finished(job_id)
        return _file(job, await asyncio.to_thread(corrections.put, job, await request.body()))

    @routes.delete("/jobs/{job_id}/corrections/{number}", response_class=Response, responses=RESPONSES | JSON)
    def remove_correction(job_id: str, number: int) -> Response:
        """Take back one thing, by its place in the list from 1 on."""
        job = finished(job_id)
        return _file(job, corrections.remove(job, number))

    @routes.delete("/jobs/{job_id}/corrections", response_class=Response, responses=RESPONSES | JSON)
    def remove_corrections(job_id: str) -> Response:
        """Take back everything."""
        job = finished(job_id)
        return _file(job, corrections.remove(job, None))

    _add_making(routes, service, finished)
    return routes


def _add_making(routes: APIRouter, service: Service, finished: Any) -> None:
    from sonomask.server.rest import session_of

    runner = service.runner

    @routes.post("/jobs/{job_id}/corrected", status_code=202, responses=RESPONSES)
    def make_corrected(job_id: str, wanted: CorrectedRequest, request: Request, response: Response) -> JobState:
        """Make the files of a finished job anew as its corrections say: a new job on the same video."""
        parent = finished(job_id)
        said = corrections.of_job(parent)
        if parent.upload is None:
            raise UnknownError(
                "The video is no longer here. Send it again, load the corrections on its new page, or use "
                "`sonomask segment --corrections`.",
                "upload",
            )
        if not len(said) and not parent.corrected:
            raise NotReadyError("Nothing was said of this result, so its files would be the same.")
        upload = runner.store.find(parent.upload.id, session_of(request))
        formats = parent.options.formats if wanted.formats is None else tuple(wanted.formats)
        name = Path(parent.name)
        stem = name.stem.removesuffix(" – corrected")

        def prepare(job: Job) -> None:
            own = said.with_items(
                [replace(item, id=None) for item in said.items]
            )  # numbers are those of the old result
            own.save(job.folder / corrections.FILE)
            job.corrected = len(own)

        job = runner.submit(
            upload,
            replace(parent.options, formats=tuple(name for name in formats if name in FORMATS)),
            name=f"{stem[:60]} – corrected{name.suffix[:8]}",
            prepare=prepare,
        )
        response.headers["Location"] = f"{request.scope['root_path']}/v1/jobs/{job.id}"
        return state_of(runner, job, request)


def _file(job: Job, said: Corrections) -> Response:
    name = quote(f"{Path(job.name).stem or 'video'}.corrections.json")
    headers = {"Content-Disposition": f"attachment; filename*=utf-8''{name}", "Cache-Control": "no-store"}
    return Response(said.to_json(), media_type="application/json", headers=headers)
