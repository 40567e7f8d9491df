"""A file of each job, or a reason."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from sonomask.batch import fetch as room
from sonomask.batch.fetch import fetch, open_store
from sonomask.batch.job import VideoJob
from sonomask.errors import MediaError


@pytest.fixture
def stored():
    with fsspec.open("memory://f/v.mp4", "wb") as file:
        file.write(b"0123456789")
    return VideoJob("memory://f/v.mp4", "memory://f/v.mp4")


def test_a_remote_video_is_here_for_as_long_as_the_block_lasts(stored):
    with fetch(stored, 10) as file:
        assert file.path.read_bytes() == b"0123456789"
        assert (file.bytes, file.sha256) == (10, hashlib.sha256(b"0123456789").hexdigest())
    assert not file.path.exists()


def test_a_member_of_a_tar_is_read_from_its_place(stored):
    with fetch(VideoJob("tar://m.mp4::memory://f/v.mp4", stored.file, 3, 4), 10) as file:
        assert file.path.read_bytes() == b"3456"


def test_a_local_video_stays_where_it_is(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"local")
    with fetch(VideoJob("v.mp4", str(path)), 10) as file:
        assert file.path == path


@pytest.mark.parametrize("where", ["memory://f/v.mp4", "here"])
def test_what_is_too_large_is_refused(where, stored, tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"0123456789")
    job = stored if where != "here" else VideoJob("v", str(tmp_path / "v.mp4"))
    with pytest.raises(MediaError, match="more than 9 bytes"), fetch(job, 9):
        pass


def test_what_is_not_there_is_told_by_its_own_name(tmp_path):
    for job in (VideoJob("mine.mp4", str(tmp_path / "mine.mp4")), VideoJob("memory://no.mp4", "memory://no.mp4")):
        with pytest.raises(MediaError, match="no such file"), fetch(job, 9):
            pass


def test_a_store_that_stumbles_is_asked_again(stored, monkeypatch):
    calls, plain = [], room._copy

    def stumbling(*arguments):
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError("reset")
        return plain(*arguments)

    monkeypatch.setattr(room, "_copy", stumbling)
    monkeypatch.setattr(room.time, "sleep", lambda _: None)
    with fetch(stored, 10) as file:
        assert file.bytes == 10


@pytest.mark.parametrize(
    "address", ["ssh://host/v.mp4", "simplecache::s3://b/v.mp4", "tar://x::/y.tar", "github://a:b@/c"]
)
def test_only_known_protocols_are_opened(address):
    with pytest.raises(MediaError, match="expected a path"):
        open_store(address)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([503, 503, 200], None),
        ([500, 500, 500], "after 3 tries"),
        ([404], "no such file"),
        ([], "after 3 tries"),  # nobody listens
    ],
)
def test_a_server_that_is_down_is_asked_again_and_one_without_the_file_is_not(answers, says, monkeypatch):
    pauses = []
    monkeypatch.setattr(room.time, "sleep", pauses.append)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answers[min(len(pauses), len(answers) - 1)])
            self.send_header("Content-Length", "5")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"video")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/v.mp4"
    if not answers:
        server.shutdown()
        server.server_close()
    try:
        if says is None:
            with fetch(VideoJob(address, address), 10) as file:
                assert file.path.read_bytes() == b"video"
        else:
            with pytest.raises(MediaError, match=says), fetch(VideoJob(address, address), 10):
                pass
    finally:
        server.shutdown() if answers else None
        server.server_close()
