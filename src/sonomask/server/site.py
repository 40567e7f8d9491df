"""The page's own files: HTML, a style sheet, ES modules. Nothing is made up for a request, so nothing can be put into it."""

from __future__ import annotations

import mimetypes
import secrets
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, Response

from sonomask.server.problems import UnknownError
from sonomask.server.rest import SESSION, session_of

__all__ = ["STATIC", "add_pages", "add_static", "example", "send_file"]

STATIC = Path(__file__).with_name("static")
EXAMPLE = "three_things.mp4"
MONTH = 30 * 24 * 3600
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


def example() -> Path | None:
    """The clip that came with the package, or lies beside it in a checkout."""
    places = (STATIC / EXAMPLE, Path(__file__).parents[3] / "examples" / EXAMPLE)
    return next((place for place in places if place.is_file()), None)


def add_static(app: FastAPI) -> None:
    """Serve the files that pages load, by a list made once."""
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in KINDS}
    clip = example()
    if clip is not None:
        files[EXAMPLE] = clip

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> FileResponse:
        if name not in files:
            raise UnknownError("There is no such file.")
        return send_file(files[name])


def add_pages(app: FastAPI) -> None:
    """Serve the pages, and the cookie by which a browser finds its jobs again."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def home() -> FileResponse:
        return send_file(STATIC / "index.html")

    @router.get("/job/{job_id}")
    async def job(job_id: str) -> FileResponse:  # noqa: ARG001 - its script reads the address
        return send_file(STATIC / "job.html")

    @router.post("/v1/session", status_code=204)
    async def session(request: Request) -> Response:
        """Asked for by the page's script: with the page itself, a link from elsewhere would lose the cookie that is there."""
        response = Response(status_code=204)
        if session_of(request) is None:
            response.set_cookie(
                SESSION, secrets.token_urlsafe(24), max_age=MONTH, path=request.scope["root_path"] or "/",
                secure=request.scope["scheme"] == "https", httponly=True, samesite="strict",
            )  # fmt: skip
        return response

    app.include_router(router)
    add_static(app)


def send_file(path: Path) -> FileResponse:
    """A file of ours; the browser asks each time whether it has changed."""
    kind = KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return FileResponse(path, media_type=kind, headers={"Cache-Control": "no-cache"})
