"""A client that was generated from the service's description submits, waits and fetches."""

import importlib
import json
import subprocess
import sys
import time
from io import BytesIO

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("openapi_python_client", reason="openapi-python-client is not installed")


@pytest.fixture(scope="module")
def generated(client, tmp_path_factory):
    """The package that openapi-python-client makes, without a complaint."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(client.get("/v1/openapi.json").json()))
    (folder / "config.yaml").write_text("post_hooks: []\n")
    words = ["generate", "--path", "openapi.json", "--config", "config.yaml", "--meta", "none", "--fail-on-warning"]
    command = [sys.executable, "-m", "openapi_python_client", *words, "--output-path", "sonomask_client"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield lambda name: importlib.import_module(f"sonomask_client{name}")
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def connection(generated, app, serve_app):
    with serve_app(app) as address:
        yield generated("").Client(base_url=address.rstrip("/"))


@pytest.mark.filterwarnings("ignore")
def test_a_generated_client_submits_waits_and_fetches(generated, connection, clip):
    types, models = generated(".types"), generated(".models")
    video = types.File(payload=BytesIO(clip.read_bytes()), file_name="clip.mp4")
    upload = generated(".api.uploads.upload").sync(client=connection, body=video, name="clip.mp4")
    assert upload.duration == pytest.approx(3.0, abs=0.1)
    options = models.JobRequest(upload=upload.id, rate=1.0, start=1.0, end=2.0, smooth=0.0, audio_track=1)
    job = generated(".api.jobs.submit").sync(client=connection, body=options)
    end = time.monotonic() + 100
    while job.state in ("queued", "running") and time.monotonic() < end:
        time.sleep(0.2)
        job = generated(".api.jobs.poll").sync(job.id, client=connection)
    assert job.state == "done"
    assert job.files.to_dict() == {"overlay": f"/v1/jobs/{job.id}/files/overlay"}
    result = generated(".api.results.fetch").sync_detailed(job.id, "overlay", client=connection)
    assert result.content[4:8] == b"ftyp"
    assert generated(".api.jobs.delete").sync_detailed(job.id, client=connection).status_code == 204


@pytest.mark.filterwarnings("ignore")
def test_a_generated_client_reads_errors(generated, connection):
    options = generated(".models").JobRequest(upload="nothing")
    problem = generated(".api.jobs.submit").sync(client=connection, body=options)
    assert (problem.status, problem.errors[0].field) == (404, "upload")


def test_every_door_is_described(client):
    described = client.get("/v1/openapi.json").json()
    doors = {(path, verb) for path, verbs in described["paths"].items() for verb in verbs}
    assert doors == {
        ("/v1/health", "get"), ("/v1/about", "get"), ("/v1/uploads", "post"), ("/v1/uploads/{upload_id}", "get"),
        ("/v1/uploads/{upload_id}", "delete"), ("/v1/jobs", "get"), ("/v1/jobs", "post"), ("/v1/jobs/{job_id}", "get"),
        ("/v1/jobs/{job_id}", "delete"), ("/v1/jobs/{job_id}/cancel", "post"), ("/v1/jobs/{job_id}/events", "get"),
        ("/v1/jobs/{job_id}/preview", "get"), ("/v1/jobs/{job_id}/files/{format}", "get"),
        ("/v1/jobs/{job_id}/archive", "get"), ("/v1/jobs/{job_id}/sources", "get"), ("/v1/jobs/{job_id}/sources", "post"),
        ("/v1/jobs/{job_id}/corrections", "get"), ("/v1/jobs/{job_id}/corrections", "post"),
        ("/v1/jobs/{job_id}/corrections", "put"), ("/v1/jobs/{job_id}/corrections", "delete"),
        ("/v1/jobs/{job_id}/corrections/{number}", "delete"), ("/v1/jobs/{job_id}/corrected", "post"),
    }  # fmt: skip
    for verbs in described["paths"].values():
        for operation in verbs.values():
            assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
