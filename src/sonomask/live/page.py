"""A page that shows the stream in a browser: MJPEG over HTTP, from the standard library."""

from __future__ import annotations

import io
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from PIL import Image

from sonomask.live.segmenter import LiveMasks

VIEWERS, CONNECTIONS = 8, 32  # at a time
TIMEOUT = 10.0  # seconds that a browser may take nothing
QUALITY = 80  # of JPEG
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FRAME = "frame"

PAGE = b"""<!doctype html><meta charset="utf-8"><title>sonomask live</title>
<style>body{margin:0;background:#101216;color:#aebac8;font:14px sans-serif;text-align:center}
img{max-width:100%;max-height:92vh}</style>
<img src="stream.mjpg" alt="What sounds is filled and outlined"><p id="status"></p>
<script>setInterval(async()=>{const s=await(await fetch("status.json")).json();document.getElementById("status")
.textContent=`${s.time.toFixed(1)} s \\u00b7 ${(100*s.share).toFixed(1)} % of the picture sounds \\u00b7 `
+`${s.delay.toFixed(2)} s behind`},1000)</script>
"""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "PORT", "HOST:PORT" or "[HOST]:PORT"; loopback unless given.

    Raises:
        ValueError: It is none of these.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not int(port) < 65536:
        raise ValueError(f"`page`: expected PORT or HOST:PORT, got {text!r}.")
    return host.strip("[]") or LOOPBACK[0], int(port)


class Page:
    """Serves the newest picture; use it in a `with` block.

    Pictures are compressed only while somebody watches, and each viewer gets the newest, so a slow one holds up nobody. On a
    loopback address only requests that name loopback are answered: another site's script can't reach the camera.

    Args:
        address: As `parse_address` takes it; port 0 takes a free one.

    Raises:
        ValueError: It is no address.
        OSError: The port is taken.
    """

    def __init__(self, address: str) -> None:
        host, port = parse_address(address)
        self.newest: LiveMasks | None = None
        self.number, self.jpeg, self.jpeg_number = 0, b"", -1
        self.bell, self.encoding = threading.Condition(), threading.Lock()
        self.viewers = threading.BoundedSemaphore(VIEWERS)
        self.open = True
        self.server = _Server(host, port, self)
        self.host, self.port = host, int(self.server.server_address[1])

    @property
    def private(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"

    def __enter__(self) -> Page:
        threading.Thread(target=self.server.serve_forever, args=(0.1,), name="page", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.bell:
            self.open = False
            self.bell.notify_all()
        self.server.shutdown()
        self.server.server_close()

    def write(self, result: LiveMasks) -> None:
        """Show a picture."""
        with self.bell:
            self.newest, self.number = result, self.number + 1
            self.bell.notify_all()

    def picture(self, after: int) -> tuple[int, bytes] | None:
        """The newest picture's number, above `after`, and its JPEG; None if none comes in time or the page is closed."""
        with self.bell:
            self.bell.wait_for(lambda: self.number > after or not self.open, TIMEOUT)
            number, newest = self.number, self.newest
        if not self.open or newest is None or number <= after:
            return None
        with self.encoding:  # once for all who watch
            if self.jpeg_number < number:
                store = io.BytesIO()
                Image.fromarray(newest.drawn).save(store, "JPEG", quality=QUALITY)
                self.jpeg, self.jpeg_number = store.getvalue(), number
            return self.jpeg_number, self.jpeg

    def status(self) -> dict[str, Any]:
        """Of the newest picture."""
        newest = self.newest
        if newest is None:
            return {"time": 0.0, "share": 0.0, "delay": 0.0, "pictures": 0}
        values = {"time": newest.time, "share": newest.share, "delay": newest.delay}
        return {name: round(value, 4) for name, value in values.items()} | {"pictures": self.number}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, page: Page) -> None:
        self.page, self.connections = page, threading.BoundedSemaphore(CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is nobody's concern."""


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT
    server: _Server

    def do_GET(self) -> None:
        page = self.server.page
        host = self.headers.get("Host", "").rpartition(":")[0].strip("[]") or self.headers.get("Host", "")
        if page.private and host not in LOOPBACK:
            self.send_error(403, "Ask by the name localhost")
        elif self.path == "/":
            self._send("text/html; charset=utf-8", PAGE)
        elif self.path == "/status.json":
            self._send("application/json", json.dumps(page.status()).encode())
        elif self.path == "/picture.jpg":
            found = page.picture(-1)
            if found is None:
                self.send_error(503, "No picture yet")
            else:
                self._send("image/jpeg", found[1])
        elif self.path == "/stream.mjpg":
            self._stream(page)
        else:
            self.send_error(404)

    def _send(self, kind: str, body: bytes) -> None:
        self._head(kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _head(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        for name, value in HEADERS.items():
            self.send_header(name, value)

    def _stream(self, page: Page) -> None:
        if not page.viewers.acquire(blocking=False):
            self.send_error(503, "Too many viewers")
            return
        try:
            self._head(f"multipart/x-mixed-replace; boundary={FRAME}")
            self.end_headers()
            number = -1
            while page.open:
                found = page.picture(number)
                if found is None:
                    continue  # the source is silent; so are we
                number, jpeg = found
                head = f"--{FRAME}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
        finally:
            page.viewers.release()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: the terminal belongs to the run."""
