"""The form of all answers: one kind of error, refusal of unknown options, a job's state with its addresses."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sonomask.errors import SonomaskError
from sonomask.server.jobs import Job, Runner
from sonomask.server.problems import MEDIA_TYPE, InvalidError, Problem, as_json
from sonomask.server.schemas import JobState, ProblemBody

__all__ = ["RESPONSES", "install", "known_options", "state_of"]

RESPONSES: dict[int | str, dict[str, Any]] = {"default": {"model": ProblemBody, "description": "What went wrong"}}

logger = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Tell every error in the one form, and describe that in OpenAPI."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(SonomaskError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = describe()
            for operation in (one for path in schema["paths"].values() for one in path.values()):
                content = operation["responses"].get("default", {}).get("content", {})
                if "application/json" in content:
                    content[MEDIA_TYPE] = content.pop("application/json")
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def answer(status: int, detail: str, errors: Iterable[tuple[str, str]] = (), retry: int | None = None) -> JSONResponse:
    """An error as a response."""
    headers = {"Cache-Control": "no-store"} | ({} if retry is None else {"Retry-After": str(retry)})
    return JSONResponse(as_json(status, detail, list(errors)), status, headers, media_type=MEDIA_TYPE)


async def _problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101 - for the type checker
    errors = [] if error.field is None else [(error.field, str(error))]
    return answer(error.status, str(error), errors, error.retry)


async def _known(_: Request, error: Exception) -> JSONResponse:
    return answer(422, str(error))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
    found: dict[str, list[str]] = {}
    for row in error.errors():  # of an option of several kinds there is one for each kind
        found.setdefault(_field(row["loc"]), []).append(str(row["msg"]))
    errors = [(name, ", or: ".join(dict.fromkeys(texts))) for name, texts in found.items()]
    detail = "; ".join(f"`{name}`: {text}" for name, text in errors)
    return answer(422, f"Expected other options: {detail}."[:1000], errors)


def _field(place: tuple[Any, ...]) -> str:
    """The option's name, of "body", "rate", "float" the second."""
    names = [str(part) for part in place if part not in ("body", "query", "path")]
    return names[0][:80] if names else "body"


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    texts = {404: "There is nothing at this address.", 405: "This address does not take this method."}
    made = answer(error.status_code, texts.get(error.status_code, str(error.detail)))
    made.headers.update(error.headers or {})
    return made


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s", request.method, request.url.path, exc_info=error)
    return answer(500, "An error that was not foreseen; the server's log has it.")


async def known_options(request: Request) -> None:
    """Refuse unknown options in the address, most of which are misspelt.

    Raises:
        InvalidError: There is one.
    """
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise InvalidError(f"`{name[:80]}`: unknown. The options of this address: {names}.", name[:80])


def state_of(runner: Runner, job: Job, request: Request) -> JobState:
    """A job as a client sees it."""
    root = request.scope.get("root_path", "")
    here = f"{root}/v1/jobs/{job.id}"
    done = job.state == "done"
    return JobState(
        id=job.id, name=job.name, state=job.state, done=round(job.done, 4), left=job.left, ahead=runner.ahead(job),
        submitted=round(job.submitted, 3), model=job.options.model, error=job.error, warnings=list(job.warnings),
        audio_track=job.heard, corrections=job.corrected,
        files={name: f"{here}/files/{name}" for name in job.files} if done else {},
        archive=f"{here}/archive" if done else None, page=f"{root}/job/{job.id}", preview=job.preview[0],
    )  # fmt: skip
