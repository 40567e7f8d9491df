"""Connections: how many, and how long one may be held that does nothing."""

import asyncio
import contextlib
import json
import socket
import time
from dataclasses import replace

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from sonomask.server.limits import ServerLimits

ASK = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
HASTY = ServerLimits(head=0.3, taking=0.3)


async def app(scope, _, send):
    """As many bytes as the path says; the last of them come later than a client may ask."""
    if scope["type"] == "lifespan":
        return
    size = int(scope["path"][1:])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": bytes(size - 9), "more_body": True})
    await asyncio.sleep(0.6)
    await send({"type": "http.response.body", "body": bytes(9)})


@pytest.fixture
def connect(serve_app):
    """Makes connections to a server with the limits given."""
    with contextlib.ExitStack() as stack:

        def make(limits=HASTY, count=1, source="127.0.0.1"):
            nonlocal place
            if place is None:
                address = stack.enter_context(serve_app(app, limits))
                place = ("127.0.0.1", int(address.rsplit(":", 1)[1].strip("/")))
            made = [socket.create_connection(place, timeout=20, source_address=(source, 0)) for _ in range(count)]
            for line in made:
                stack.callback(line.close)
            return made

        place = None
        yield make


def rest(line):
    """What comes until the server cuts the connection off."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := line.recv(2**16):
            got += piece
    return got


def test_half_a_head_is_cut_off(connect):
    (line,) = connect()
    line.sendall(ASK[:9])
    assert rest(line) == b""


def test_half_a_second_head_is_cut_off(connect):
    (line,) = connect()
    line.sendall(ASK % 9)
    while not line.recv(2**16).endswith(bytes(9)):
        pass
    line.sendall(ASK[:9])
    assert rest(line) == b""


def test_a_slow_answer_is_waited_for(connect):
    (line,) = connect()
    line.sendall(ASK % 9)
    assert rest(line).endswith(bytes(9))


def test_who_takes_nothing_of_an_answer_is_cut_off(connect):
    (line,) = connect()
    size = 64 * 2**20
    line.sendall(ASK % size)
    time.sleep(1.5)
    assert len(rest(line)) < size


def test_a_client_has_so_many_connections_and_others_come_in(connect):
    limits = replace(HASTY, head=30.0, connections_client=3)
    held = connect(limits, 3)
    (beyond,) = connect(limits)
    answer = rest(beyond)
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["status"] == 429
    (other,) = connect(limits, source="127.0.0.2")
    other.sendall(ASK % 9)
    assert other.recv(100).startswith(b"HTTP/1.1 200")
    for line in held:
        line.close()
    time.sleep(0.3)
    (again,) = connect(limits)
    again.sendall(ASK % 9)
    assert again.recv(100).startswith(b"HTTP/1.1 200")


def test_all_together_have_so_many_connections(connect):
    limits = replace(HASTY, head=30.0, connections=4)
    for number in range(4):
        connect(limits, source=f"127.0.0.{number + 2}")
    (beyond,) = connect(limits, source="127.0.0.9")
    assert rest(beyond).startswith(b"HTTP/1.1 503 ")


def test_260_heads_without_a_body_do_not_silence_it(connect):
    limits = ServerLimits(head=30.0)
    lines = connect(limits, 260)
    for line in lines:
        with contextlib.suppress(ConnectionError):
            line.sendall(b"POST /9 HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
    (other,) = connect(limits, source="127.0.0.2")
    other.sendall(ASK % 9)
    assert other.recv(100).startswith(b"HTTP/1.1 200")


def test_what_is_no_http_is_told_in_the_one_form(connect):
    (line,) = connect()
    line.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
    answer = rest(line)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["title"] == "Bad request"
