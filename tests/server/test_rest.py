"""The routes, as a program sees them."""

import asyncio
import json
import zipfile
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from fastapi.testclient import TestClient

from sonomask.schemas import schema
from sonomask.server import rest
from sonomask.server.jobs import Runner
from sonomask.server.limits import ServerLimits
from sonomask.server.problems import MEDIA_TYPE
from sonomask.server.schemas import About, Health, JobState, ProblemBody, UploadState

VIDEO = {"Content-Type": "video/mp4"}
MODEL = "avs_mini.synthetic"


def send(client, data, name="clip.mp4", **headers):
    return client.post("/v1/uploads", content=data, headers={**VIDEO, **headers}, params={"name": name})


def finish(client, job):
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    return events[-1]


def problem(answer, status):
    """The answer's error, in the one form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    body = answer.json()
    assert set(body) == {"schema", "type", "title", "status", "detail", "errors"}
    assert body["status"] == status
    assert "\n" not in body["detail"]
    return body


@pytest.fixture(scope="module")
def upload(client, clip):
    answer = send(client, clip.read_bytes(), "my clip.mp4")
    assert answer.status_code == 201
    return answer.json()


@pytest.fixture(scope="module")
def done(client, upload):
    """A finished job with a file and a folder."""
    options = {"upload": upload["id"], "rate": 2, "formats": ["overlay", "masks"]}
    answer = client.post("/v1/jobs", json=options)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return finish(client, answer.json())


def test_an_upload_is_looked_into(upload, clip):
    assert upload["bytes"] == clip.stat().st_size
    assert (upload["width"], upload["height"], upload["fps"], upload["has_audio"]) == (128, 96, 8.0, True)
    assert upload["duration"] == pytest.approx(3.0, abs=0.1)


def test_submit_wait_fetch(client, done):
    assert (done["state"], done["done"], done["error"]) == ("done", 1.0, None)
    assert sorted(done["files"]) == ["masks", "overlay"]
    overlay = client.get(done["files"]["overlay"])
    assert overlay.content[4:8] == b"ftyp"
    assert "my%20clip.overlay.mp4" in overlay.headers["content-disposition"]


def test_a_folder_comes_as_a_zip(client, done):
    archive = zipfile.ZipFile(BytesIO(client.get(done["files"]["masks"]).content))
    assert archive.testzip() is None
    assert "my clip.masks/manifest.json" in archive.namelist()
    assert len(archive.namelist()) == 7


def test_everything_comes_in_one_zip(client, done):
    archive = zipfile.ZipFile(BytesIO(client.get(done["archive"]).content))
    assert archive.testzip() is None
    assert {name.split("/")[0] for name in archive.namelist()} == {"my clip.masks", "my clip.overlay.mp4"}


def test_the_player_gets_its_parts_and_nothing_else(client, done):
    at = f"/v1/jobs/{done['id']}/view/"
    assert [client.get(at + part).status_code for part in ("view.json", "maps0.png")] == [200] * 2
    assert client.get(at + "preview.mp4", headers={"Range": "bytes=0-9"}).status_code == 206
    for part in ("upload", "..%2fupload", "%2e%2e/upload", "maps9.png", "rest.py", "..%2f..%2frest.py", "/etc/passwd"):
        problem(client.get(at + part), 404)


def test_what_is_offered_is_told_with_a_line_on_each(client):
    about = client.get("/v1/about").json()
    assert about["models"] == [{"name": MODEL, "about": "Drawn things.", "names": [], "prompts": False}]
    assert all(row["about"] for row in about["formats"])
    assert about["max_bytes"] == 2**20
    assert client.get("/v1/health").json() == {"schema": schema("health"), "status": "ok", "busy": 0, "queue": 6}


def test_answers_are_of_the_schemas_in_the_docs(client, done, conforms):
    conforms("about", client.get("/v1/about").json())
    conforms("health", client.get("/v1/health").json())
    conforms("job", done)
    conforms("job", client.get(f"/v1/jobs/{done['id']}").json())
    conforms("upload", send(client, (Path(__file__).parents[2] / "examples" / "three_things.mp4").read_bytes()).json())
    conforms("problem", client.get("/v1/jobs/none").json())
    conforms("view", client.get(f"/v1/jobs/{done['id']}/view/view.json").json())


@pytest.mark.parametrize(
    ("name", "form"),
    [("about", About), ("health", Health), ("job", JobState), ("problem", ProblemBody), ("upload", UploadState)],
)
def test_the_docs_schemas_of_answers_are_those_of_the_code(name, form):
    kept = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    made = form.model_json_schema(mode="serialization")
    assert {key: value for key, value in kept.items() if not key.startswith("$s") and key != "$id"} == made


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"model": "/etc/passwd"}, "model", "expected one of avs_mini.synthetic"),
        ({"model": "owner/name"}, "model", "expected one of avs_mini.synthetic"),
        ({"formats": ["virus"]}, "formats", "Input should be"),
        ({"formats": []}, "formats", "at least 1"),
        ({"rate": 121}, "rate", "up to 120"),
        ({"rate": 0}, "rate", "up to 120"),
        ({"rate": "fast"}, "rate", "native"),
        ({"threshold": 2}, "threshold", "expected 0 to 1"),
        ({"threshold": float("nan")}, "threshold", ""),
        ({"min_presence": -1}, "min_presence", "expected 0 to 1"),
        ({"smooth": 11}, "smooth", "expected 0 to 10"),
        ({"only": ["dog"]}, "only", "knows no names"),
        ({"not": ["dog"]}, "not", "knows no names"),
        ({"only": [""]}, "only", "at least 1"),
        ({"prompt": ["red car"]}, "prompt", "No model that is offered here does"),
        ({"prompt": ["x"] * 7}, "prompt", "at most 6"),
        ({"audio_track": 2}, "audio_track", "1: aac"),
        ({"audio_track": "deu"}, "audio_track", "1: aac"),
        ({"audio_track": 0}, "audio_track", "greater than or equal to 1"),
        ({"start": -1}, "start", "from 0 on"),
        ({"start": 2, "end": 1}, "end", "more than `start`"),
        ({"start": 0, "end": 21}, "end", "the limit is 20 s"),
        ({"start": 5}, "start", "there is nothing at 5 s"),
        ({"treshold": 0.5}, "treshold", "Extra inputs are not permitted"),
        ({"upload": "/dev/zero"}, "upload", "no such upload"),
        ({"upload": "../../etc/shadow"}, "upload", "no such upload"),
        ({"upload": {"path": "/etc/shadow", "meta": {"_type": "gradio.FileData"}}}, "upload", "string"),
        ({"upload": "http://127.0.0.1:9/x.mp4"}, "upload", "no such upload"),
    ],
)
def test_a_wrong_option_is_refused_and_named(client, upload, options, field, says):
    body = json.dumps({"upload": upload["id"], **options})
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    report = problem(answer, 404 if "no such upload" in says else 422)
    assert report["errors"][0]["field"] == field
    assert says in report["errors"][0]["detail"]


@pytest.mark.parametrize("address", ["/v1/jobs?rate=5", "/v1/uploads?nme=x", "/v1/health?x=1"])
def test_an_unknown_option_in_the_address_is_refused(client, address):
    answer = client.get(address) if "health" in address else client.post(address, content=b"{}", headers=VIDEO)
    assert "unknown" in answer.text or "valid dictionary" in answer.text
    problem(answer, 422)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404), ("GET", "/nothing", 404), ("DELETE", "/v1/health", 405), ("GET", "/v1/jobs/x", 404),
        ("GET", "/v1/jobs/x/files/overlay", 404), ("GET", "/v1/jobs/x/view/view.json", 404),
        ("GET", "/v1/jobs/..%2f..%2fetc", 404), ("GET", "/v1/uploads/x", 404), ("GET", "/static/..%2frest.py", 404),
        ("GET", "/gradio_api/file=http://127.0.0.1:9/", 404), ("POST", "/gradio_api/queue/join", 405),
        ("POST", "/gradio_api/process_recording", 405), ("GET", "/gradio_api/info", 404), ("GET", "/config", 404),
    ],
)  # fmt: skip
def test_every_error_has_one_form_and_no_other_program_s_routes_are_there(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code in (status, 404)
    problem(answer, answer.status_code)


@pytest.mark.parametrize(
    "data", [b"no video at all", b"\0", b"#EXTM3U\n#EXTINF:3,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"]
)
def test_what_is_no_video_is_told_at_once_and_does_not_stay(client, runner, data):
    before = set(runner.store.uploads)
    report = problem(send(client, data, "x.mp4"), 422)
    assert report["detail"].startswith("x.mp4: can't be opened as a video")
    assert set(runner.store.uploads) == before


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Type": ""}, b"0", 415),
        ({"Content-Type": "text/plain"}, b"0", 415),
        ({}, bytes(2**20 + 1), 413),
        ({}, (bytes(2**16) for _ in range(20)), 413),  # in chunks, without a length
        ({"Content-Length": "99999999999999999999"}, b"0", 413),
        ({}, b"", 422),
        ({"Origin": "https://evil.example"}, b"0", 403),
        ({"Sec-Fetch-Site": "cross-site"}, b"0", 403),
        ({"Host": "evil.example"}, b"0", 403),
        ({"Host": "[evil"}, b"0", 403),
    ],
    ids=["no type", "wrong type", "too large", "too large in chunks", "huge", "empty", "another site", "cross-site",
         "another host", "no host"],
)  # fmt: skip
def test_a_body_that_is_not_taken(client, runner, headers, content, status):
    before = sorted(runner.folder.rglob("*"))
    problem(client.post("/v1/uploads", content=content, headers={**VIDEO, **headers}), status)
    assert sorted(runner.folder.rglob("*")) == before


def test_another_session_can_not_use_an_upload(client, app, clip):
    mine = TestClient(app, cookies={"sonomask_session": "a" * 32})
    upload = send(mine, clip.read_bytes()).json()
    for other in (client, TestClient(app, cookies={"sonomask_session": "b" * 32})):
        problem(other.post("/v1/jobs", json={"upload": upload["id"]}), 404)
        problem(other.get(f"/v1/uploads/{upload['id']}"), 404)
        problem(other.delete(f"/v1/uploads/{upload['id']}"), 404)
    assert mine.delete(f"/v1/uploads/{upload['id']}").status_code == 204


def test_a_session_finds_its_jobs_again(app, clip):
    mine = TestClient(app, cookies={"sonomask_session": "c" * 32})
    upload = send(mine, clip.read_bytes()).json()
    job = mine.post("/v1/jobs", json={"upload": upload["id"], "rate": 1, "name": "mine.mp4"}).json()
    again = TestClient(app, cookies={"sonomask_session": "c" * 32})
    assert [row["id"] for row in again.get("/v1/jobs").json()] == [job["id"]]
    assert TestClient(app).get("/v1/jobs").json() == []
    finish(mine, job)


def test_events_tell_of_the_job_until_it_is_over(client, upload):
    job = client.post("/v1/jobs", json={"upload": upload["id"], "rate": 1}).json()
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = list(stream.iter_lines())
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert events[-1]["state"] == "done"
    assert all(a["done"] <= b["done"] for a, b in pairwise(events))
    assert {"left", "ahead", "preview"} <= set(events[0])


def test_a_job_can_be_cancelled_and_stays_in_sight(client, upload, runner, monkeypatch):
    monkeypatch.setattr(runner, "work", lambda job: [job.report(1, 10) for _ in iter(int, 1)])
    job = client.post("/v1/jobs", json={"upload": upload["id"]}).json()
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert finish(client, job)["state"] == "cancelled"
    problem(client.get(f"/v1/jobs/{job['id']}/files/overlay"), 409)


def test_delete_removes_job_and_files(client, upload, runner):
    job = client.post("/v1/jobs", json={"upload": upload["id"], "rate": 1}).json()
    finish(client, job)
    folder = runner.job(job["id"]).folder
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    problem(client.get(f"/v1/jobs/{job['id']}"), 404)
    assert not folder.exists()


def test_a_full_queue_says_try_again(client, upload, runner, monkeypatch):
    monkeypatch.setattr(runner, "limits", ServerLimits(queue=1, queue_client=9))
    monkeypatch.setattr(runner, "work", lambda job: [job.report(1, 10) for _ in iter(int, 1)])
    job = client.post("/v1/jobs", json={"upload": upload["id"]}).json()
    answer = client.post("/v1/jobs", json={"upload": upload["id"]})
    client.delete(f"/v1/jobs/{job['id']}")
    assert "places in the queue are taken" in problem(answer, 503)["detail"]
    assert answer.headers["retry-after"] == "30"


def test_a_large_body_that_is_no_upload_is_refused(client):
    answer = client.post("/v1/jobs", content=bytes(100_000), headers={"Content-Type": "application/json"})
    problem(answer, 413)


def test_a_format_that_was_not_asked_for_is_not_found(client, done):
    report = problem(client.get(f"/v1/jobs/{done['id']}/files/npz"), 404)
    assert report["detail"] == "This job has overlay, masks, not 'npz'."


def asked(app, messages, path="/v1/uploads"):
    """The answer to a request that comes in pieces; a number is a pause in seconds."""
    answers, pieces = [], iter(messages)

    async def receive():
        piece = next(pieces, None)
        while isinstance(piece, float):
            await asyncio.sleep(piece)
            piece = next(pieces, None)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": True}

    async def tell(message):
        answers.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "scheme": "http", "client": ("1.2.3.4", 5),
        "headers": [(b"host", b"testserver"), (b"content-type", b"video/mp4" if "uploads" in path else b"application/json")],
    }  # fmt: skip
    asyncio.run(app(scope, receive, tell))
    return answers[0]["status"]


@pytest.fixture
def hasty(tmp_path):
    """A service that waits for nobody, and its runner."""
    from sonomask.server.guard import Access, Guard

    with Runner(lambda _: None, tmp_path, ServerLimits(silence=0.2, pace=1e9, head=0.2)) as runner:
        service = rest.Service(runner, {MODEL: ""}, probe=lambda *_: {})
        yield Guard(rest.build(service), Access(("testserver",)), runner.limits), runner


@pytest.mark.parametrize(
    ("messages", "status"),
    [([b"0"], 422), ([b"0", 0.5, b"0"], 408), ([b"x", 0.15, b"x", 0.15, b"x"], 408)],
    ids=["hangs up", "pauses", "trickles"],
)
def test_an_upload_that_breaks_off_or_is_slow_leaves_nothing(hasty, messages, status):
    app, runner = hasty
    assert asked(app, messages) == status
    assert runner.store.uploads == {}
    assert [path for path in runner.folder.rglob("*") if path.is_file()] == []


def test_a_small_body_must_come_soon_too(hasty):
    assert asked(hasty[0], [b"{", 0.5, b"}"], "/v1/jobs") == 408


def test_a_look_that_fails_gives_the_place_back(hasty, clip):
    _, runner = hasty
    service = rest.Service(runner, {MODEL: ""}, probe=lambda *_: (_ for _ in ()).throw(MemoryError))
    client = TestClient(rest.build(service), raise_server_exceptions=False)
    answer = client.post("/v1/uploads", content=clip.read_bytes(), headers=VIDEO)
    assert "not foreseen" in problem(answer, 500)["detail"]
    assert runner.store.uploads == {}


def test_more_uploads_than_can_be_looked_into_are_told_to_come_back(runner, clip):
    service = rest.Service(runner, {MODEL: ""}, receiving=runner.limits.queue)
    client = TestClient(rest.build(service))
    answer = client.post("/v1/uploads", content=clip.read_bytes(), headers=VIDEO)
    assert "are coming in" in problem(answer, 503)["detail"]
    service.receiving = 0
    assert client.post("/v1/uploads", content=clip.read_bytes(), headers=VIDEO).status_code == 201
    assert service.receiving == 0
