"""The page of a live stream."""

import http.client
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from sonomask.server.live import VIEWERS, LivePage, parse_address


def result(value=200, time=1.5):
    image = np.full((24, 32, 3), value, np.uint8)
    labels = np.zeros((24, 32), np.uint8)
    labels[:, :16] = 1
    picture = SimpleNamespace(image=lambda _: image)
    return SimpleNamespace(drawn=image, time=time, share=0.25, delay=0.125, labels=labels, picture=picture)


@pytest.fixture
def page():
    with LivePage("0") as one:
        yield one


def ask(page, path, method="GET", **headers):
    connection = http.client.HTTPConnection(page.host, page.port, timeout=10)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def test_the_page_shows_the_stream_and_runs_nothing_from_elsewhere(page):
    answer = ask(page, "/")
    assert b"live.js" in answer.read()
    assert b"v1/live/stream" in ask(page, "/static/live.js").read()
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_the_picture_is_the_newest(page):
    page.write(result(10))
    page.write(result(200))
    picture = Image.open(io.BytesIO(ask(page, "/v1/live/picture").read()))
    assert picture.size == (32, 24)
    assert abs(np.asarray(picture).mean() - 200) < 3


def test_the_stream_brings_one_picture_after_the_other(page):
    page.write(result(0))
    connection = http.client.HTTPConnection(page.host, page.port, timeout=10)
    connection.request("GET", "/v1/live/stream")
    answer = connection.getresponse()
    for value in (0, 80, 160):
        length = int([answer.readline() for _ in range(4)][2].split()[1])
        picture = Image.open(io.BytesIO(answer.read(length)))
        assert abs(np.asarray(picture).mean() - value) < 3
        answer.readline()
        page.write(result(value + 80))
    connection.close()


def test_the_status_tells_of_the_newest_picture(page):
    assert json.loads(ask(page, "/v1/live").read())["pictures"] == 0
    page.write(result())
    assert json.loads(ask(page, "/v1/live").read()) == {"time": 1.5, "share": 0.25, "delay": 0.125, "pictures": 1}


def test_on_loopback_only_loopback_s_names_are_answered(page):
    assert ask(page, "/v1/live", Host=f"evil.example:{page.port}").status == 403
    assert ask(page, "/v1/live", Host=f"localhost:{page.port}").status == 200


def test_other_paths_and_methods_are_refused(page):
    assert ask(page, "/../etc/passwd").status == 404
    assert ask(page, "/", method="POST").status == 405


def test_there_is_a_limit_to_viewers(page):
    page.write(result())
    held = [ask(page, "/v1/live/stream") for _ in range(VIEWERS)]
    assert all(answer.status == 200 for answer in held)
    beyond = ask(page, "/v1/live/stream")
    assert (beyond.status, json.loads(beyond.read())["title"]) == (503, "Busy")
    for answer in held:
        answer.close()


def test_a_page_of_another_site_is_refused(page):
    assert ask(page, "/v1/live", Origin="https://evil.example").status == 403


def test_other_addresses_get_a_link_with_a_token():
    with LivePage("0.0.0.0:0") as page:
        assert not page.private
        assert "?token=" in page.url
        page.host = "127.0.0.1"
        assert ask(page, "/v1/live").status == 401
        assert ask(page, "/v1/live", Authorization=f"Bearer {page.url.split('token=')[1]}").status == 200


def test_an_address_that_is_taken_is_told(page):
    with pytest.raises(ValueError, match="Can't listen"):
        LivePage(str(page.port))


def test_the_picture_is_seen_in_a_browser(page, browser):
    page.write(result(200))
    browser.complaints()
    browser.go(page.url)
    browser.wait(lambda: page.write(result()) or browser.script("document.getElementById('stream').naturalWidth") == 32)
    browser.until("document.getElementById('state').textContent.includes('25.0 %')")
    assert browser.complaints() == []


@pytest.mark.parametrize(
    ("text", "expected"), [("80", ("127.0.0.1", 80)), ("10.0.0.1:90", ("10.0.0.1", 90)), ("[::1]:9", ("::1", 9))]
)
def test_an_address_is_a_port_or_a_host_and_a_port(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "host", "1.2.3.4:", "99999", "a:-1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="page"):
        parse_address(text)


def test_those_who_watch_are_sent_events_as_they_come(page):
    connection = http.client.HTTPConnection(page.host, page.port, timeout=10)
    connection.request("GET", "/v1/live/events")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.readline().startswith(b":")
    answer.readline()
    for number in (1, 2):
        page.hub.send({"event": "onset", "id": number})
        page.write(result())
        assert answer.readline() == b"event: onset\n"
        assert json.loads(answer.readline().removeprefix(b"data: ")) == {"event": "onset", "id": number}
        answer.readline()
    connection.close()


@pytest.mark.parametrize(("shows", "opaque"), [("mask", 102), ("cutout", 255)])
def test_the_mask_alone_is_clear_where_nothing_sounds(page, shows, opaque):
    page.write(result(200))
    answer = ask(page, f"/v1/live/mask?shows={shows}")
    image = np.asarray(Image.open(io.BytesIO(answer.read())))
    assert image.shape == (24, 32, 4)
    assert (image[:, :14, 3] == opaque).all()
    assert not image[:, 18:, 3].any()
    if shows == "cutout":
        assert abs(image[:, :14, :3].astype(int) - 200).max() < 4


def test_one_who_has_the_newest_mask_waits_for_the_next(page):
    page.write(result())
    number = int(ask(page, "/v1/live/mask").headers["Picture-Number"])
    connection = http.client.HTTPConnection(page.host, page.port, timeout=10)
    connection.request("GET", f"/v1/live/mask?after={number}")
    page.write(result())
    assert int(connection.getresponse().headers["Picture-Number"]) > number


def test_a_source_that_is_silent_gives_no_mask_again(page, monkeypatch):
    monkeypatch.setattr("sonomask.server.live.WAIT", 0.05)
    page.write(result())
    answer = ask(page, "/v1/live/mask?after=1")
    assert (answer.status, answer.read(), answer.headers["Picture-Number"]) == (204, b"", "1")


@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_source_shows_the_mask_on_a_clear_ground(page, browser, dark):
    page.write(result())
    with browser.themed(width=320, height=240, dark=dark):
        browser.chrome.execute_cdp_cmd(
            "Emulation.setDefaultBackgroundColorOverride", {"color": {"r": 0, "g": 0, "b": 0, "a": 0}}
        )
        browser.go(f"{page.url}?mask=1")
        browser.wait(lambda: page.write(result()) or browser.script("document.getElementById('mask').width") == 32)
        browser.frame()
        shot = np.asarray(Image.open(io.BytesIO(browser.chrome.get_screenshot_as_png())).convert("RGBA"))
        browser.chrome.execute_cdp_cmd("Emulation.setDefaultBackgroundColorOverride", {})
    assert shot.shape[:2] == (240, 320)
    assert (shot[:, :140, 3] > 50).all()
    assert not shot[:, 180:, 3].any()
