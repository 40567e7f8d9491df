"""What is checked of every request before anything else sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Guard"]

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'self'; frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)
"""What a page of ours may load: nothing from elsewhere. Gradio's own pages need inline code."""
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """Refuses requests that name another host, or that a page of another site sent.

    The first keeps a stranger's domain that resolves to this machine from reading answers, the second keeps a stranger's
    page from sending work here. Programs send no `Origin`, so they are not concerned.

    Args:
        app: The ASGI application behind.
        hosts: Names under which it is reached, without ports; None for any.
    """

    def __init__(self, app: Any, hosts: Sequence[str] | None = None) -> None:
        self.app, self.hosts = app, None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {key.lower(): value.decode("latin-1") for key, value in scope["headers"]}
        fault = self._fault(headers.get(b"host", ""), headers.get(b"origin"))
        if fault is not None:
            await _refuse(scope, send, fault)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _fault(self, host: str, origin: str | None) -> str | None:
        if self.hosts is not None and _name(host) not in self.hosts:
            return "This host name is not served here. Start the server with --host to name it."
        if origin is not None and origin.partition("://")[2] != host:
            return "Requests from pages of other sites are not taken."
        return None


def _name(host: str) -> str:
    """The host without its port; "" for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _refuse(scope: Any, send: Any, fault: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    kind = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": kind})
    await send({"type": "http.response.body", "body": fault.encode()})
