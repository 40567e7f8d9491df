import asyncio
import time
import zipfile
from io import BytesIO

import pytest

pytest.importorskip("fastapi", reason="the extra `demo` is not installed")
from fastapi.testclient import TestClient

from sonomask.server import rest
from sonomask.server.guard import Guard
from sonomask.server.jobs import Job, Limits, Wish

VIDEO = {"Content-Type": "video/mp4"}
MODEL = "avs_mini.synthetic"


@pytest.fixture(scope="module")
def client(runner):
    return TestClient(Guard(rest.build(runner, [MODEL]), ["testserver"]))


def finish(client, job):
    end = time.monotonic() + 60
    while job["state"] in ("queued", "running") and time.monotonic() < end:
        time.sleep(0.05)
        job = client.get(f"/v1/jobs/{job['id']}").json()
    return job


@pytest.fixture(scope="module")
def done(client, clip):
    """A finished job with a file and a folder."""
    options = {"rate": 2, "formats": ["overlay", "masks"], "name": "my clip.mp4"}
    answer = client.post("/v1/jobs", content=clip.read_bytes(), headers=VIDEO, params=options)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return finish(client, answer.json())


def test_submit_poll_fetch(client, done):
    assert (done["state"], done["done"], done["error"], sorted(done["files"])) == (
        "done",
        1.0,
        None,
        ["masks", "overlay"],
    )
    overlay = client.get(done["files"]["overlay"])
    assert overlay.content[4:8] == b"ftyp"
    assert "my%20clip.overlay.mp4" in overlay.headers["content-disposition"]


def test_a_folder_comes_as_a_zip(client, done):
    archive = zipfile.ZipFile(BytesIO(client.get(done["files"]["masks"]).content))
    names = archive.namelist()
    assert "result.masks/manifest.json" in names
    assert len(names) == 7


def test_the_player_gets_its_parts_and_nothing_else(client, done):
    at = f"/v1/jobs/{done['id']}/view/"
    assert [client.get(at + part).status_code for part in ("player.html", "player.js", "view.json", "maps0.png")] == [
        200
    ] * 4
    assert client.get(at + "preview.mp4", headers={"Range": "bytes=0-9"}).status_code == 206
    for part in ("upload", "..%2fupload", "%2e%2e/upload", "maps9.png", "rest.py", "..%2f..%2frest.py"):
        assert client.get(at + part).status_code == 404


def test_what_is_offered_is_told(client):
    about = client.get("/v1/about").json()
    assert (about["models"], about["max_bytes"]) == ([MODEL], 2**20)
    assert "overlay" in about["formats"]
    assert client.get("/v1/health").json() == {"status": "ok", "busy": 0, "queue": 2}


def test_openapi_tells_of_every_door(client):
    paths = client.get("/v1/openapi.json").json()["paths"]
    assert {(path, verb) for path, verbs in paths.items() for verb in verbs} == {
        ("/v1/health", "get"), ("/v1/about", "get"), ("/v1/jobs", "post"), ("/v1/jobs/{job_id}", "get"),
        ("/v1/jobs/{job_id}", "delete"), ("/v1/jobs/{job_id}/files/{format}", "get"),
    }  # fmt: skip
    assert "video/*" in paths["/v1/jobs"]["post"]["requestBody"]["content"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "/etc/passwd"}, "expected one of avs_mini.synthetic"),
        ({"model": "owner/name"}, "expected one of avs_mini.synthetic"),
        ({"formats": ["virus"]}, "expected some of overlay"),
        ({"rate": 1000}, "up to 60"),
        ({"rate": 0}, "up to 60"),
        ({"threshold": 2}, "less than or equal to 1"),
    ],
)
def test_a_wrong_wish_is_refused_before_the_upload(client, options, says):
    answer = client.post("/v1/jobs", content=b"0", headers=VIDEO, params=options)
    assert answer.status_code == 422
    assert says in answer.text


def test_what_is_no_video_is_told_by_poll_in_one_line(client):
    answer = client.post("/v1/jobs", content=b"no video at all", headers=VIDEO, params={"name": "x.mp4"})
    job = finish(client, answer.json())
    assert job["state"] == "failed"
    assert job["error"].startswith("x.mp4: can't be opened as a video")
    assert "\n" not in job["error"]


def test_a_playlist_that_names_other_files_reads_none_of_them(client, clip):
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{clip}\n#EXT-X-ENDLIST\n"
    answer = client.post("/v1/jobs", content=playlist.encode(), headers=VIDEO)
    assert finish(client, answer.json())["state"] == "failed"


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({}, b"0", 415),
        ({"Content-Type": "text/plain"}, b"0", 415),
        (VIDEO, bytes(2**20 + 1), 413),
        (VIDEO, (bytes(2**16) for _ in range(20)), 413),  # in chunks, without a length
        (VIDEO, b"", 422),
        ({**VIDEO, "Origin": "https://evil.example"}, b"0", 403),
        ({**VIDEO, "Host": "evil.example"}, b"0", 403),
        ({**VIDEO, "Host": "[evil"}, b"0", 403),
    ],
    ids=[
        "no type",
        "wrong type",
        "too large",
        "too large in chunks",
        "empty",
        "another site",
        "another host",
        "no host",
    ],
)
def test_a_body_that_is_not_taken(client, runner, headers, content, status):
    before = set(runner.folder.iterdir())
    assert client.post("/v1/jobs", content=content, headers=headers).status_code == status
    assert set(runner.folder.iterdir()) == before


def test_delete_removes_job_and_files(client, clip):
    job = client.post("/v1/jobs", content=clip.read_bytes(), headers=VIDEO).json()
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_a_full_queue_says_try_again(client, runner):
    taken = [runner.new(rest.Wish(MODEL)) for _ in range(2)]
    answer = client.post("/v1/jobs", content=b"0", headers=VIDEO)
    for job in taken:
        runner.remove(job)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


def test_an_unknown_job_is_not_found(client):
    for path in ("/v1/jobs/x", "/v1/jobs/x/files/overlay", "/v1/jobs/x/view/player.html", "/v1/jobs/..%2f..%2fetc"):
        assert client.get(path).status_code == 404


def test_a_format_that_was_not_asked_for_is_not_found(client, done):
    answer = client.get(f"/v1/jobs/{done['id']}/files/npz")
    assert (answer.status_code, answer.json()["detail"]) == (404, "This job has overlay, masks, not 'npz'.")


def test_nothing_may_be_loaded_from_elsewhere(client):
    policy = client.get("/v1/health").headers["content-security-policy"]
    assert "http" not in policy
    assert "default-src 'self'" in policy


def test_who_hangs_up_leaves_neither_a_job_nor_a_traceback(runner):
    asked, answers, before = iter([{"type": "http.request", "body": b"0", "more_body": True}]), [], set(runner.jobs)

    async def receive():
        return next(asked, {"type": "http.disconnect"})

    async def send(message):
        answers.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/jobs",
        "query_string": b"",
        "headers": [(b"content-type", b"video/mp4")],
    }
    asyncio.run(rest.build(runner, [MODEL])(scope, receive, send))
    assert answers[0]["status"] == 400
    assert set(runner.jobs) == before


@pytest.mark.parametrize(("pause", "limits"), [(9.0, Limits(silence=0.05)), (0.02, Limits(silence=0.5, pace=1e9))])
def test_an_upload_that_pauses_or_trickles_is_cut_off(pause, limits, tmp_path):
    class Slow:
        async def stream(self):
            while True:
                yield b"x"
                await asyncio.sleep(pause)

    with pytest.raises(TimeoutError):
        asyncio.run(rest._receive(Slow(), Job("a", tmp_path, "v", Wish(MODEL), limits)))
