"""A page that shows a live stream: the application of `serve`, with a stream of pictures in place of jobs.

Access, refusals and what a page may load follow the rules of `serve` (`sonomask.server.guard`).
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Literal

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import StreamingResponse
from PIL import Image
from pydantic import BaseModel, Field

from sonomask import __version__
from sonomask.live.segmenter import LiveMasks
from sonomask.live.sinks.base import Sink
from sonomask.live.sinks.events import EventHub
from sonomask.live.sinks.programs import shown
from sonomask.server.answers import RESPONSES, install, known_options
from sonomask.server.guard import Guard
from sonomask.server.limits import ServerLimits
from sonomask.server.patience import patient
from sonomask.server.problems import BusyError, NotReadyError
from sonomask.server.serve import ListenOptions, bind, is_loopback, link
from sonomask.server.site import STATIC, add_static, send_file
from sonomask.visualise.overlay import layer

__all__ = ["LivePage", "parse_address"]

VIEWERS = 8  # streams at a time
LIMITS = ServerLimits(connections=64, connections_client=16, taking=10.0)
QUALITY = 80  # of JPEG and WebP
FRAME = "frame"
WAIT = 10.0  # seconds without a picture after which a viewer is looked after
Kind = Literal["picture", "mask", "cutout"]
TYPES: dict[Kind, str] = {"picture": "image/jpeg", "mask": "image/png", "cutout": "image/webp"}


class LiveState(BaseModel):
    """The state of a live run at its newest picture."""

    time: float = Field(description="Seconds since the run began.")
    share: float = Field(description="Of the picture that sounds, 0 to 1.")
    delay: float = Field(description="Seconds from capture to mask.")
    pictures: int = Field(description="LiveMasks so far.")


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "PORT", "HOST:PORT" or "[HOST]:PORT"; loopback unless given.

    Raises:
        ValueError: It is none of these.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not int(port) < 65536:
        raise ValueError(f"`page`: expected PORT or HOST:PORT, got {text!r}.")
    return host.strip("[]") or ListenOptions.host, int(port)


class LivePage(Sink):
    """Serves the newest picture; use it in a `with` block.

    Pictures are compressed only while somebody watches. Each viewer gets the newest one, so a slow viewer does not delay
    others.

    Args:
        address: Address as `parse_address` takes it; port 0 takes a free one. Other than loopback, it asks for a token, part of
            `url`.

    Raises:
        ValueError: It is no address, or it is taken.
    """

    def __init__(self, address: str) -> None:
        self.options = ListenOptions(*parse_address(address))
        self.newest: LiveMasks | None = None
        self.hub = EventHub()
        self.number = 0
        self.files: dict[Kind, tuple[int, bytes]] = {}  # the newest that was asked for, and which picture it is of
        self.viewers = 0
        self.encoding = threading.Lock()
        self.changed = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        access = self.options.access()
        self.socket = bind(self.options.host, self.options.port)
        self.host, self.port = self.options.host, int(self.socket.getsockname()[1])
        self.url = link(self.options, self.port, access.token)
        self.guard = Guard(self._application(), access, LIMITS)
        config = uvicorn.Config(
            self.guard, http=patient(LIMITS), ws="none", log_level="error", server_header=False, lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self._run, name="page", daemon=True)

    @property
    def private(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def __enter__(self) -> LivePage:
        self.thread.start()
        while not self.server.started and self.thread.is_alive():
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.guard.ending.set()
        self.server.should_exit = True
        self._call(self._ring)
        self.thread.join(10)
        self.socket.close()

    def write(self, result: LiveMasks) -> None:
        """Show a picture."""
        self.newest, self.number = result, self.number + 1
        self._call(self._ring)

    def state(self) -> LiveState:
        """The state of a live run at its newest picture."""
        newest = self.newest
        if newest is None:
            return LiveState(time=0.0, share=0.0, delay=0.0, pictures=0)
        return LiveState(
            time=round(newest.time, 4), share=round(newest.share, 4), delay=round(newest.delay, 4), pictures=self.number
        )

    def picture(self, kind: Kind = "picture") -> tuple[int, bytes]:
        """The newest picture's number and its file, made once for all who watch.

        Args:
            kind: "picture" with its masks (JPEG), the "mask" alone to lay over it (PNG), or the "cutout" of what sounds
                (WebP), the last two clear elsewhere.
        """
        with self.encoding:
            number, newest = self.number, self.newest
            made = self.files.get(kind, (-1, b""))
            if newest is not None and made[0] < number:
                store = io.BytesIO()
                if kind == "picture":
                    Image.fromarray(newest.drawn).save(store, "JPEG", quality=QUALITY)
                elif kind == "mask":
                    Image.fromarray(layer(newest.labels)).save(store, "PNG", compress_level=1)
                else:
                    Image.fromarray(shown(newest, "alpha")).save(store, "WEBP", quality=QUALITY, method=0)
                made = self.files[kind] = number, store.getvalue()
            return made

    def _run(self) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            await self.server.serve([self.socket])

        asyncio.run(serve())

    def _call(self, function: Any) -> None:
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(function)

    def _ring(self) -> None:
        """Wake all who wait for a picture."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _application(self) -> FastAPI:
        app = FastAPI(
            title="sonomask live", version=__version__, openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None
        )
        router = APIRouter(responses=RESPONSES, dependencies=[Depends(known_options)])

        @router.get("/v1/live")
        async def state() -> LiveState:
            """The state of a live run at its newest picture."""
            return self.state()

        @router.get("/v1/live/picture", response_class=Response)
        async def picture() -> Response:
            """The newest picture with its masks, as JPEG."""
            number, jpeg = await asyncio.to_thread(self.picture)
            if number < 0:
                raise NotReadyError("There is no picture yet.")
            return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

        @router.get(
            "/v1/live/mask", response_class=Response, responses={204: {"description": "No newer one came for a while."}}
        )
        async def mask(shows: Literal["mask", "cutout"] = "mask", after: int = -1) -> Response:
            """The newest mask alone as PNG, or what sounds cut out as WebP, clear elsewhere; `Picture-Number` counts them.

            With `after` it waits for one with a higher number.
            """
            number, data = await self._newer(shows, after)
            head = {"Cache-Control": "no-store", "Picture-Number": str(number)}
            return Response(data, 200 if data else 204, media_type=TYPES[shows], headers=head)

        @router.get("/v1/live/stream", response_class=StreamingResponse)
        async def stream() -> StreamingResponse:
            """Stream pictures as MJPEG."""
            if self.viewers >= VIEWERS:
                raise BusyError(f"{VIEWERS} are watching, as many as can. Try again in a minute.")
            kind = f"multipart/x-mixed-replace; boundary={FRAME}"
            return StreamingResponse(self._pictures(), media_type=kind, headers={"Cache-Control": "no-store"})

        @router.get("/v1/live/events", response_class=StreamingResponse)
        async def events() -> StreamingResponse:
            """Stream events from now on, as server-sent events of JSON (docs/live.md, Events)."""
            if self.viewers >= VIEWERS:
                raise BusyError(f"{VIEWERS} are watching, as many as can. Try again in a minute.")
            return StreamingResponse(
                self._events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
            )

        app.include_router(router)

        @app.get("/", include_in_schema=False)
        async def home(mask: str = "") -> Response:
            return send_file(STATIC / ("mask.html" if mask else "live.html"))

        add_static(app)
        install(app)
        return app

    async def _newer(self, kind: Kind, after: int) -> tuple[int, bytes]:
        """The newest file of that kind and its number, once it is higher; no bytes if none came for a while."""
        if self.viewers >= VIEWERS:
            raise BusyError(f"{VIEWERS} are watching, as many as can. Try again in a minute.")
        self.viewers += 1
        try:
            async with asyncio.timeout(WAIT):
                while not self.guard.ending.is_set():
                    changed = self.changed
                    if self.number > max(after, 0):
                        return await asyncio.to_thread(self.picture, kind)
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            self.viewers -= 1
        return after, b""

    async def _events(self) -> AsyncIterator[bytes]:
        self.viewers += 1
        try:
            with self.hub.watch() as mine:
                yield b": these are the events from now on\n\n"
                while not self.guard.ending.is_set():
                    changed = self.changed
                    while not mine.empty():
                        event = mine.get_nowait()
                        yield f"event: {event['event']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
                    try:
                        async with asyncio.timeout(WAIT):
                            await changed.wait()
                    except TimeoutError:
                        yield b": nothing yet\n\n"  # whoever went away is noticed
        finally:
            self.viewers -= 1

    async def _pictures(self) -> AsyncIterator[bytes]:
        self.viewers += 1
        shown, end = -1, f"\r\n--{FRAME}\r\n".encode()  # right after a picture: browsers show it when they see its end
        try:
            yield end[2:]
            while not self.guard.ending.is_set():
                changed = self.changed
                number, jpeg = await asyncio.to_thread(self.picture)
                if number > shown:
                    shown = number
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    yield head.encode() + jpeg + end
                else:  # the source is silent; so are we
                    try:
                        async with asyncio.timeout(WAIT):
                            await changed.wait()
                    except TimeoutError:
                        continue
        finally:
            self.viewers -= 1
