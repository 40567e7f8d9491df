import asyncio
import contextlib
import socket
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason="the extra `demo` is not installed")
import uvicorn

from sonomask.server.patience import Patient

ASK = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


class Hasty(Patient):
    asking, taking = 0.3, 0.3


async def app(scope, _, send):
    """As many bytes as the path says; the last of them come later than a client may ask."""
    size = int(scope["path"][1:])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": bytes(size - 9), "more_body": True})
    await asyncio.sleep(0.6)
    await send({"type": "http.response.body", "body": bytes(9)})


@pytest.fixture
def line():
    """A connection to a hasty server."""
    config = uvicorn.Config(app, port=0, http=Hasty, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with socket.create_connection(server.servers[0].sockets[0].getsockname(), timeout=20) as line:
        yield line
    server.should_exit = True
    thread.join(20)


def rest(line):
    """What comes until the server cuts the connection off."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := line.recv(2**16):
            got += piece
    return got


def test_half_a_head_is_cut_off(line):
    line.sendall(ASK[:9])
    assert rest(line) == b""


def test_half_a_second_head_is_cut_off(line):
    line.sendall(ASK % 9)
    while not line.recv(2**16).endswith(bytes(9)):
        pass
    line.sendall(ASK[:9])
    assert rest(line) == b""


def test_a_slow_answer_is_waited_for(line):
    line.sendall(ASK % 9)
    assert rest(line).endswith(bytes(9))


def test_who_takes_nothing_of_an_answer_is_cut_off(line):
    size = 64 * 2**20
    line.sendall(ASK % size)
    time.sleep(1.5)
    assert len(rest(line)) < size
