"""Only loopback is contacted here; the look-up of names is replaced."""

import http.server
import socket
import threading

import pytest

from sonomask.errors import MediaError
from sonomask.media import addresses
from sonomask.media.addresses import check_public, fetch_public

# fmt: off
PRIVATE = [
    "127.0.0.1", "127.8.9.1", "10.0.0.7", "172.16.3.4", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",  # noqa: S104
    "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "ff02::1",
]
# fmt: on


def named(monkeypatch, *numbers):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (n, 80)) for n in numbers]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: found)


@pytest.mark.parametrize("number", PRIVATE)
def test_addresses_of_this_machine_and_its_network_are_refused(number, monkeypatch):
    named(monkeypatch, number)
    with pytest.raises(MediaError, match="private network"):
        check_public("http://videos.example/v.mp4")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1"])
def test_written_forms_of_loopback_are_refused(host):
    with pytest.raises(MediaError):
        check_public(f"http://{host}:8000/v.mp4")


def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    named(monkeypatch, "93.184.216.34", "10.0.0.1")
    with pytest.raises(MediaError, match="private network"):
        check_public("http://videos.example/v.mp4")


def test_a_public_address_passes(monkeypatch):
    named(monkeypatch, "93.184.216.34")
    assert check_public("https://videos.example/v.mp4") == "93.184.216.34"


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "ftp://a/b", "rtsp://a/b", "http://", "http://a b/c", "http://u:p@a/b", "gopher://a", "x"],
)
def test_other_schemes_and_forms_are_refused(address):
    with pytest.raises(MediaError, match="expected an http"):
        check_public(address)


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/away"):
                self.send_response(302)
                self.send_header("Location", "http://10.0.0.1/secret")
                self.end_headers()
                return
            self.send_response(200 if self.path == "/v.mp4" else 404)
            self.end_headers()
            self.wfile.write(b"x" * 100_000)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def loopback_is_public(monkeypatch):
    real = addresses._public
    monkeypatch.setattr(addresses, "_public", lambda number: number == "127.0.0.1" or real(number))


@pytest.mark.usefixtures("loopback_is_public")
def test_a_file_is_fetched_whole(server, tmp_path):
    assert fetch_public(f"{server}/v.mp4", tmp_path / "v.mp4").stat().st_size == 100_000


@pytest.mark.usefixtures("loopback_is_public")
@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        ("/away", {}, "private network"),
        ("/none", {}, "404"),
        ("/v.mp4", {"most": 1000}, "larger"),
        ("/v.mp4", {"seconds": -1}, "fetched"),
    ],
)
def test_what_leads_away_or_is_too_large_leaves_nothing(path, options, says, server, tmp_path):
    with pytest.raises(MediaError, match=says):
        fetch_public(server + path, tmp_path / "v.mp4", **options)
    assert list(tmp_path.iterdir()) == []
