"""What a person says of a finished job: kept, carried along the tracks, downloaded, loaded, applied in a new job."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from sonomask.server import corrections as module
from sonomask.server.jobs import Runner
from sonomask.server.limits import ServerLimits
from sonomask.server.one_source import Strips
from sonomask.server.work import Segment

MODEL = "avs_mini.synthetic"
VIDEO = {"Content-Type": "video/mp4"}
THINGS = Path(__file__).parents[2] / "examples" / "three_things.mp4"


def finished(client, job):
    end = time.monotonic() + 120
    while job["state"] in ("queued", "running") and time.monotonic() < end:
        time.sleep(0.1)
        job = client.get(f"/v1/jobs/{job['id']}").json()
    assert job["state"] == "done", job
    return job


@pytest.fixture(scope="module")
def done(client):
    upload = client.post(
        "/v1/uploads", content=THINGS.read_bytes(), headers=VIDEO, params={"name": "things.mp4"}
    ).json()
    asked = {"upload": upload["id"], "rate": 5, "formats": ["jsonl"], "smooth": 0}
    return finished(client, client.post("/v1/jobs", json=asked).json())


@pytest.fixture
def said(client, done):
    """A function that says one thing of the job and gives the answer; at the end nothing is said of it."""
    at = f"/v1/jobs/{done['id']}/corrections"
    client.delete(at)
    yield lambda **item: client.post(at, json=item)
    client.delete(at)


def view(client, job):
    return client.get(f"/v1/jobs/{job['id']}/view/view.json").json()


def areas(client, job):
    lines = client.get(job["files"]["jsonl"]).text.splitlines()
    return {round(row["time"], 3): row["area"] for row in map(json.loads, lines)}


def test_what_is_said_is_carried_along_the_track_and_conforms(client, done, said, conforms):
    source = max(view(client, done)["sources"], key=lambda row: sum(row["area"]))
    answer = said(kind="never", source=source["id"])
    assert answer.status_code == 200, answer.text
    file = answer.json()
    conforms("corrections", file)
    (item,) = file["corrections"]
    assert (item["id"], item["name"]) == (source["id"], source["name"])
    assert file["video"]["name"] == "things.mp4"
    times = [box[0] for box in item["trail"]]
    assert times[0] == pytest.approx(source["spans"][0][0], abs=0.3)
    assert times[-1] == pytest.approx(source["spans"][-1][1], abs=0.3)
    assert client.get(f"/v1/jobs/{done['id']}/corrections").json() == file


def test_a_place_names_the_source_that_is_marked_there(client, done, said, runner):
    about, job = view(client, done), runner.job(done["id"])
    source = max(about["sources"], key=lambda row: sum(row["area"]))
    index = int(np.argmax(source["area"]))
    own = np.isin(
        Strips(job.folder / "view", about["map"]["rows"], about["map"]["height"]).tracks(index), source["tracks"]
    )
    ys, xs = np.nonzero(own)
    place = {"x": (xs[0] + 0.5) / own.shape[1], "y": (ys[0] + 0.5) / own.shape[0]}
    item = said(kind="only", time=about["times"][index], **place).json()["corrections"][0]
    assert item["id"] == source["id"]
    free = np.argwhere(~own)[-1] + 0.5
    beside = {"x": free[1] / own.shape[1], "y": free[0] / own.shape[0]}
    item = said(kind="sounds", time=about["times"][index], **beside).json()["corrections"][1]
    assert "id" not in item
    assert "trail" not in item


def test_files_are_made_anew_as_was_said(client, done, said):
    before = areas(client, done)
    late = max(t for t, area in before.items() if area > 0)
    said(kind="nothing", start=late - 0.05, end=late + 0.05)
    answer = client.post(f"/v1/jobs/{done['id']}/corrected", json={})
    assert answer.status_code == 202, answer.text
    job = finished(client, answer.json())
    assert job["corrections"] == 1
    assert job["name"] == "things – corrected.mp4"
    after = areas(client, job)
    assert {t for t in before if before[t] != after[t]} == {late}
    assert after[late] == 0
    kept = client.get(f"/v1/jobs/{job['id']}/corrections").json()["corrections"]
    assert [one["kind"] for one in kept] == ["nothing"]
    client.delete(f"/v1/jobs/{job['id']}/corrections")
    plain = finished(client, client.post(f"/v1/jobs/{job['id']}/corrected", json={"formats": ["jsonl"]}).json())
    assert areas(client, plain) == before


def test_a_thing_that_is_never_meant_is_in_no_file(client, done, said):
    sources = view(client, done)["sources"]
    source = max(sources, key=lambda row: sum(row["area"]))
    said(kind="never", source=source["id"])
    job = finished(client, client.post(f"/v1/jobs/{done['id']}/corrected", json={"formats": ["jsonl"]}).json())
    assert sum(areas(client, job).values()) < sum(areas(client, done).values()) - 0.7 * sum(source["area"])
    others = sum(sum(row["area"]) for row in sources if row is not source)
    assert sum(areas(client, job).values()) == pytest.approx(others, rel=0.35)


def test_a_file_comes_back_by_hand_and_its_things_are_found_again(client, done, said):
    source = max(view(client, done)["sources"], key=lambda row: sum(row["area"]))
    said(kind="never", source=source["id"])
    file = said(kind="other", start=1, end=2).json()
    at = f"/v1/jobs/{done['id']}/corrections"
    assert client.delete(f"{at}/1").json()["corrections"] == file["corrections"][1:]
    for item in file["corrections"]:
        item.pop("trail", None)
        item["id"] = item.get("id") and 77  # of another result
    again = client.put(at, content=json.dumps(file)).json()["corrections"]
    assert again[0]["id"] == source["id"]
    assert len(again[0]["trail"]) > 1
    assert again[1] == {"kind": "other", "start": 1.0, "end": 2.0}
    assert client.delete(f"{at}/3").status_code == 404
    assert client.delete(at).json()["corrections"] == []


WRONG = [
    ({"kind": "always"}, 422, "kind"),
    ({"kind": "never", "time": 1}, 422, "x"),
    ({"kind": "never", "time": 1, "x": 2, "y": 0}, 422, "x"),
    ({"kind": "nothing", "start": 2, "end": 1}, 422, "end"),
    ({"kind": "never", "source": 99}, 422, "source"),
    ({"kind": "nothing", "start": 1, "end": 2, "trail": []}, 422, "trail"),
]


@pytest.mark.parametrize(("item", "status", "field"), WRONG, ids=range(len(WRONG)))
def test_what_can_not_be_said_is_told_by_its_field(said, item, status, field):
    answer = said(**item)
    assert answer.status_code == status
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_strangers_file_is_read_with_care(client, done):
    at = f"/v1/jobs/{done['id']}/corrections"
    for body in (b"", b"[" * 50_000, b'{"schema": "sonomask.corrections/1", "corrections": [1]}', b"\xff"):
        answer = client.put(at, content=body)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
    other = {"schema": "sonomask.corrections/1", "video": {"duration": 500, "name": "film.mp4"}, "corrections": []}
    assert "film.mp4" in client.put(at, content=json.dumps(other)).json()["detail"]
    assert client.put(at, content=b" " * (ServerLimits().corrections + 1)).status_code == 413
    assert client.post(at, content=b" " * (ServerLimits().body + 1)).status_code == 413
    assert client.put("/v1/jobs/none/corrections", content=b"{}").status_code == 404


def test_nothing_said_makes_nothing(client, done):
    client.delete(f"/v1/jobs/{done['id']}/corrections")
    assert client.post(f"/v1/jobs/{done['id']}/corrected", json={}).status_code == 409


def test_what_was_said_survives_a_restart(tmp_path):
    from sonomask.safe_reading.corrections import Correction
    from sonomask.server.job import JobOptions

    def wait(job):
        end = time.monotonic() + 120
        while not job.over and time.monotonic() < end:
            time.sleep(0.05)
        assert job.state == "done", job.error
        return job

    with Runner(Segment({MODEL: MODEL}, "cpu"), tmp_path, keeps=True) as before:
        with before.store.receive("clip.mp4", session="one", client="here") as (upload, write):
            write(THINGS.read_bytes())
        job = wait(before.submit(upload, JobOptions(MODEL, 1.0, formats=("jsonl",), end=2.0)))
        module.add(job, Correction("nothing", start=0.0, end=1.0))
        job.corrected = 3
    with Runner(Segment({MODEL: MODEL}, "cpu"), tmp_path, keeps=True) as after:
        again = after.job(job.id)
        assert [item.kind for item in module.of_job(again).items] == ["nothing"]
        assert again.corrected == 0  # the files were made before
