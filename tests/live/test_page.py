"""The page in a browser."""

import http.client
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sonomask.live.page import VIEWERS, Page, parse_address


def result(value=200, time=1.5):
    return SimpleNamespace(drawn=np.full((24, 32, 3), value, np.uint8), time=time, share=0.25, delay=0.125)


@pytest.fixture
def page():
    with Page("0") as one:
        yield one


def ask(page, path, method="GET", **headers):
    connection = http.client.HTTPConnection(page.host, page.port, timeout=10)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def test_the_page_shows_the_stream_and_runs_nothing_from_elsewhere(page):
    answer = ask(page, "/")
    assert b"stream.mjpg" in answer.read()
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_the_picture_is_the_newest(page):
    page.write(result(10))
    page.write(result(200))
    picture = Image.open(io.BytesIO(ask(page, "/picture.jpg").read()))
    assert picture.size == (32, 24)
    assert abs(np.asarray(picture).mean() - 200) < 3


def test_the_stream_brings_one_picture_after_the_other(page):
    page.write(result(0))
    answer = ask(page, "/stream.mjpg")
    for value in (0, 80, 160):
        length = int([answer.readline() for _ in range(4)][2].split()[1])
        picture = Image.open(io.BytesIO(answer.read(length)))
        assert abs(np.asarray(picture).mean() - value) < 3
        answer.readline()
        page.write(result(value + 80))


def test_the_status_tells_of_the_newest_picture(page):
    assert json.loads(ask(page, "/status.json").read())["pictures"] == 0
    page.write(result())
    assert json.loads(ask(page, "/status.json").read()) == {"time": 1.5, "share": 0.25, "delay": 0.125, "pictures": 1}


def test_on_loopback_only_loopback_s_names_are_answered(page):
    assert ask(page, "/status.json", Host=f"evil.example:{page.port}").status == 403
    assert ask(page, "/status.json", Host=f"localhost:{page.port}").status == 200


def test_other_paths_and_methods_are_refused(page):
    assert ask(page, "/../etc/passwd").status == 404
    assert ask(page, "/", method="POST").status == 501


def test_there_is_a_limit_to_viewers(page):
    page.write(result())
    held = [ask(page, "/stream.mjpg") for _ in range(VIEWERS)]
    assert all(answer.status == 200 for answer in held)
    assert ask(page, "/stream.mjpg").status == 503


@pytest.mark.parametrize(
    ("text", "expected"), [("80", ("127.0.0.1", 80)), ("10.0.0.1:90", ("10.0.0.1", 90)), ("[::1]:9", ("::1", 9))]
)
def test_an_address_is_a_port_or_a_host_and_a_port(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "host", "1.2.3.4:", "99999", "a:-1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="page"):
        parse_address(text)
