"""Checks of every request before it is handled (host, origin, token, size), and headers of every answer."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sonomask.server.limits import ServerLimits
from sonomask.server.problems import MEDIA_TYPE, as_json

__all__ = ["LOCAL", "Access", "Guard", "client_of", "cookies_of"]

LOCAL = ("localhost", "127.0.0.1", "::1")
TOKEN_COOKIE = "sonomask_token"  # noqa: S105 - its name
OPEN = ("/v1/health", "/static/style.css")  # needs no token: tells nothing but that the server is well
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""What a page of ours may load: nothing from elsewhere, and no code within the page."""
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(self), geolocation=(), payment=(), usb=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Access:
    """Rules of access.

    Attributes:
        hosts: Names under which the server is reached, without ports; a name in it is also taken as an origin.
        addresses: Whether it may be reached by any address of the machine, given as a number. A page of another site can't
            do that: its own name would be in the request.
        token: Token that each request must carry, in a cookie or as `Authorization: Bearer`; None for none.
        origins: Names whose pages are ours though `Host` is another: those that a proxy is reached under.
        root: Path under which a proxy shows the server, such as "/sonomask"; "" for none. The proxy may cut it off or not.
    """

    hosts: tuple[str, ...] = LOCAL
    addresses: bool = False
    token: str | None = None
    origins: tuple[str, ...] = ()
    root: str = ""

    def serves(self, host: str) -> bool:
        """Whether a `Host` header names this server."""
        name = _name(host)
        if name in {known.lower() for known in self.hosts}:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.addresses

    def same_origin(self, origin: str, host: str) -> bool:
        """Whether a request comes from one of our pages; behind a proxy, `Host` may differ from the page's."""
        place = origin.partition("://")[2].lower()
        return bool(place) and (place == host.lower() or _name(place) in {name.lower() for name in self.origins})

    def admits(self, given: str | None) -> bool:
        """Whether a token is valid."""
        return self.token is None or (given is not None and hmac.compare_digest(given.encode(), self.token.encode()))


class Guard:
    """Refuses requests that name another host, that a page of another site sent, or that lack the token.

    The first keeps a stranger's domain that resolves to this machine from reading answers, the second keeps a stranger's page
    from sending work here. Programs send no `Origin`, so they are not concerned.

    Args:
        app: The ASGI application behind.
        access: Rules of access.
        limits: Limits for the bodies of requests other than uploads.
        ending: Set when the server is told to end, for streams that would go on.
    """

    def __init__(
        self,
        app: Any,
        access: Access | None = None,
        limits: ServerLimits | None = None,
        *,
        ending: asyncio.Event | None = None,
    ) -> None:
        self.app, self.access, self.limits = app, access or Access(), limits or ServerLimits()
        self.ending = ending or asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        root, path = self.access.root, str(scope["path"])
        scope = {**scope, "root_path": root, "path": path if path.startswith(f"{root}/") else root + path}
        headers = {key.lower(): value.decode("latin-1") for key, value in scope["headers"]}
        extra = list(HEADERS)
        if scope["scheme"] == "https":
            extra.append((b"strict-transport-security", b"max-age=31536000"))

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = {key.lower() for key, _ in message.get("headers", ())}
                message["headers"] = [*message.get("headers", ()), *(h for h in extra if h[0] not in given)]
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            page = ASKING.format(root=root) if refusal[0] == 401 and _wants_page(scope, headers) else None
            await _refuse(send_with_headers, *refusal, page=page)
            return
        token = self._token_of_link(scope)
        if token is not None:
            secure = "; Secure" if scope["scheme"] == "https" else ""
            cookie = f"{TOKEN_COOKIE}={token}; Path={root or '/'}; HttpOnly; SameSite=Strict{secure}; Max-Age=2592000"
            extra.append((b"set-cookie", cookie.encode()))
        if _route(scope) == "/v1/uploads":
            await self.app(scope, receive, send_with_headers)
        else:
            await self._serve_small(scope, receive, send_with_headers)

    async def _serve_small(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request whose body is small and comes soon."""
        corrections = scope["method"] == "PUT" and _route(scope).endswith("/corrections")
        body = _Body(receive, self.limits, self.limits.corrections if corrections else self.limits.body)

        async def send_unless_wrong(message: Any) -> None:
            if body.fault is None:
                await send(message)

        with contextlib.suppress(_BodyError):
            await self.app(scope, body.receive, send_unless_wrong)
        if body.fault is not None:
            await _refuse(send, body.fault.status, str(body.fault))

    def _refusal(self, scope: Any, headers: dict[bytes, str]) -> tuple[int, str] | None:
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if not self.access.serves(host):
            return 403, "This host name is not served here. Start the server with --allowed-hosts to name it."
        if origin is not None and not self.access.same_origin(origin, host):
            return (
                403,
                "Requests from pages of other sites are not taken. Behind a proxy, name its host by --allowed-hosts.",
            )
        if scope["method"] not in SAFE and headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "Requests from pages of other sites are not taken."
        if _route(scope) in OPEN or self.access.token is None:
            return None
        words = headers.get(b"authorization", "").split(" ", 1)
        bearer = words[1].strip() if words[0].lower() == "bearer" and len(words) == 2 else None
        cookie = cookies_of(headers.get(b"cookie", "")).get(TOKEN_COOKIE)
        if any(
            self.access.admits(given) for given in (bearer, cookie, self._token_of_link(scope)) if given is not None
        ):
            return None
        return (
            401,
            "This server asks for a token. Open the link that it printed, or send `Authorization: Bearer TOKEN`.",
        )

    def _token_of_link(self, scope: Any) -> str | None:
        """The right token, if a page is opened by a link that has it."""
        if self.access.token is None or scope["method"] != "GET" or _route(scope).startswith("/v1/"):
            return None
        query = scope.get("query_string", b"").decode("latin-1")
        given = parse_qs(query).get("token", [""])[0]
        return given if self.access.admits(given) else None


class _BodyError(Exception):
    """A body is too large, or comes too slowly."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Body:
    """Receive a body within a size and a time; messages after it (the client has gone) may take long.

    Attributes:
        fault: Description of the fault.
    """

    def __init__(self, receive: Callable[[], Awaitable[Any]], limits: ServerLimits, most: int) -> None:
        self.ask, self.limits, self.most = receive, limits, most
        self.fault: _BodyError | None = None
        self.size, self.over = 0, False

    async def receive(self) -> Any:
        """The next piece."""
        if self.over:
            return await self.ask()
        try:
            async with asyncio.timeout(self.limits.head):
                message = await self.ask()
        except TimeoutError as error:
            self.fault = _BodyError(408, "The body of the request came too slowly. Try again.")
            raise self.fault from error
        self.size += len(message.get("body", b""))
        self.over = message["type"] == "http.disconnect" or not message.get("more_body", False)
        if self.size > self.most:
            message = f"The body has more than {self.most} bytes, the limit. Send videos to /v1/uploads."
            self.fault = _BodyError(413, message)
            raise self.fault
        return message


def client_of(scope: Any) -> str:
    """Whom a request counts for: an IPv4 address, or the network of an IPv6 address, of which everybody has many."""
    given = (scope.get("client") or ("unknown", 0))[0]
    try:
        address = ipaddress.ip_address(given)
    except ValueError:
        return str(given)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)


def cookies_of(header: str) -> dict[str, str]:
    """Names and values; none where the header is no list of cookies."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def _route(scope: Any) -> str:
    """The path within the application."""
    return str(scope["path"]).removeprefix(str(scope["root_path"]))


def _name(host: str) -> str:
    """The host without its port, in small letters; "" for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _wants_page(scope: Any, headers: dict[bytes, str]) -> bool:
    return (
        scope["method"] == "GET" and not _route(scope).startswith("/v1/") and "text/html" in headers.get(b"accept", "")
    )


ASKING = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>sonomask: token needed</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="{root}/static/style.css"></head>
<body><main class="page narrow"><h1>This server asks for a token</h1>
<p>Open the link that it printed when it started, or paste the token from that link. If you came here by a link from
another site and have been here before, reload this page.</p>
<form method="get" class="card"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" required><button class="primary">Come in</button></form>
</main></body></html>"""


async def _refuse(send: Any, status: int, detail: str, *, page: str | None = None) -> None:
    if page is not None:
        kind, body = b"text/html; charset=utf-8", page.encode()
    else:
        kind, body = MEDIA_TYPE.encode(), json.dumps(as_json(status, detail)).encode()
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
