"""What may be chosen of a video: its sound track, names, a rate by the machine, and one source of several."""

import json
import time
import zipfile
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from fastapi.testclient import TestClient

from sonomask.server.guard import Access
from sonomask.server.jobs import Runner
from sonomask.server.limits import ServerLimits
from sonomask.server.serve import about, application, config_of
from sonomask.server.work import Segment

EXAMPLES = Path(__file__).parents[2] / "examples"
MINI, WORLD = "avs_mini.synthetic", "world.real"
LIMITS = ServerLimits(seconds=20, rate=7.0)
VIDEO = {"Content-Type": "video/mp4"}


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    with Runner(Segment({MINI: MINI, WORLD: WORLD}, "cpu"), tmp_path_factory.mktemp("server"), LIMITS) as runner:
        yield runner


@pytest.fixture(scope="module")
def service(runner):
    """A server with a model that knows names and one that doesn't."""
    configs = {name: config_of(runner.work, name) for name in (MINI, WORLD)}
    abouts = {name: about(config) for name, config in configs.items()}
    things = {name: config.things for name, config in configs.items()}
    return application(runner, abouts, Access(("testserver", "127.0.0.1")), things=things)


@pytest.fixture(scope="module")
def client(service):
    return TestClient(service)


def send(client, path):
    answer = client.post("/v1/uploads", content=path.read_bytes(), headers=VIDEO, params={"name": path.name})
    assert answer.status_code == 201, answer.text
    return answer.json()


def done(client, answer):
    assert answer.status_code == 202, answer.text
    job, end = answer.json(), time.monotonic() + 120
    while job["state"] in ("queued", "running") and time.monotonic() < end:
        time.sleep(0.1)
        job = client.get(f"/v1/jobs/{job['id']}").json()
    assert job["state"] == "done", job
    return job


def run(client, upload, **options):
    return done(client, client.post("/v1/jobs", json={"upload": upload["id"], "formats": ["masks"], **options}))


def masks(client, job):
    """The masks by their times, and the manifest."""
    archive = zipfile.ZipFile(BytesIO(client.get(job["files"]["masks"]).content))
    folder = archive.namelist()[0].split("/")[0]
    manifest = json.loads(archive.read(f"{folder}/manifest.json"))
    names = [name for name in sorted(archive.namelist()) if name.endswith(".png")]
    pictures = [np.asarray(Image.open(BytesIO(archive.read(name)))) > 0 for name in names]
    return dict(zip([row["time"] for row in manifest["frames"]], pictures, strict=True)), manifest


@pytest.fixture(scope="module")
def things(client):
    """The drawn example, and a finished job on it."""
    upload = send(client, EXAMPLES / "three_things.mp4")
    return run(client, upload, model=MINI, rate=2, end=8)


@pytest.fixture(scope="module")
def two(clip, tmp_path_factory):
    """The clip with a silent track, in German, before its own."""
    path = tmp_path_factory.mktemp("tracks") / "two.mkv"
    with av.open(str(clip)) as source, av.open(str(path), "w") as out:
        picture, sound = source.streams.video[0], source.streams.audio[0]
        copies = {picture.index: out.add_stream_from_template(picture)}
        silent = out.add_stream("aac", rate=16_000, layout="mono")
        silent.metadata["language"] = "deu"
        copies[sound.index] = out.add_stream_from_template(sound)
        copies[sound.index].metadata["language"] = "eng"
        for start in range(0, 3 * 16_000, 1024):
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            piece.sample_rate, piece.pts = 16_000, start
            out.mux(silent.encode(piece))
        out.mux(silent.encode())
        for packet in source.demux(picture, sound):
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    return path


@pytest.fixture(scope="module")
def two_tracks(client, two):
    return send(client, two)


def test_the_sound_tracks_of_an_upload_are_told(two_tracks):
    told = [(track["number"], track["language"], track["codec"]) for track in two_tracks["audio_tracks"]]
    assert told == [(1, "deu", "aac"), (2, "eng", "aac")]
    assert two_tracks["heard"] == [2]


@pytest.mark.parametrize(
    ("choice", "heard"),
    [(None, "2 of 2 (aac, eng)"), (1, "1 of 2 (aac, deu)"), ("eng", "2 of 2 (aac, eng)"), ("mix", "all 2 mixed")],
)
def test_another_track_can_be_heard_and_the_result_says_which(client, two_tracks, choice, heard):
    job = run(client, two_tracks, model=MINI, rate=1, audio_track=choice)
    assert job["audio_track"] == heard
    assert masks(client, job)[1]["about"]["audio_track"] == heard


def test_a_track_that_is_not_there_is_refused_with_those_that_are(client, two_tracks):
    for choice in (3, "fra"):
        answer = client.post("/v1/jobs", json={"upload": two_tracks["id"], "audio_track": choice})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "audio_track"
        assert "1: aac, deu" in answer.json()["detail"]


def test_a_model_tells_the_names_that_it_knows(client):
    models = {model["name"]: model for model in client.get("/v1/about").json()["models"]}
    assert models[MINI]["names"] == []
    assert {"dog", "person", "guitar"} <= set(models[WORLD]["names"])
    abouts = [model["about"].partition(" Licence of the weights: ") for model in models.values()]
    assert all(20 < len(what) <= 161 and licence for what, _, licence in abouts)


def test_names_filter_what_is_marked(client):
    upload = send(client, EXAMPLES / "friday.mp4")
    words = {"model": WORLD, "rate": 1, "end": 4}
    everything = run(client, upload, **words)
    marked, manifest = masks(client, everything)
    assert sum(mask.sum() for mask in marked.values()) > 0
    assert manifest["frames"][0]["heard"]
    (source, *_) = client.get(f"/v1/jobs/{everything['id']}/sources").json()
    name = source["name"].rstrip("0123456789 ").lower()
    assert name in client.get("/v1/about").json()["models"][1]["names"] or name.endswith("small one")
    kept, _ = masks(client, run(client, upload, only=[name], **words))
    left, about_left = masks(client, run(client, upload, **{"not": [name]}, **words))
    assert about_left["about"]["not"] == [name]
    for time_, mask in marked.items():
        np.testing.assert_array_equal(mask, kept[time_] | left[time_])
    assert sum(mask.sum() for mask in kept.values()) > 0
    assert sum(mask.sum() for mask in left.values()) < sum(mask.sum() for mask in marked.values())


def test_a_name_that_nobody_knows_is_refused_with_like_ones(client):
    upload = send(client, EXAMPLES / "friday.mp4")
    answer = client.post("/v1/jobs", json={"upload": upload["id"], "model": WORLD, "not": ["dgo"]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "not")
    assert "dog" in answer.json()["detail"]


def test_a_rate_by_the_machine_stays_within_the_limit(client, clip):
    _, manifest = masks(client, run(client, send(client, clip), model=MINI, rate="auto"))
    assert 1 <= manifest["about"]["rate"] <= 7
    assert len(manifest["frames"]) == pytest.approx(3 * manifest["about"]["rate"], abs=1)


def test_masks_can_be_left_as_the_model_gives_them(client, clip):
    asked = {"smooth": 0, "min_area": 0.01, "hold": 1.0, "expand": 3, "feather": 2.0}
    _, manifest = masks(client, run(client, send(client, clip), model=MINI, rate=5, **asked))
    assert {name: manifest["about"][name] for name in asked} == asked


def test_one_source_can_be_had_alone(client, things):
    sources = client.get(f"/v1/jobs/{things['id']}/sources").json()
    assert len(sources) >= 2
    whole, _ = masks(client, things)
    total = {time_: np.zeros_like(mask) for time_, mask in whole.items()}
    for source in sources:
        answer = client.post(f"/v1/jobs/{things['id']}/sources", json={"sources": [source["id"]]})
        job = done(client, answer)
        assert source["name"] in job["name"]
        assert sorted(job["files"]) == ["masks"]
        alone, _ = masks(client, job)
        assert sum(mask.sum() for mask in alone.values()) > 0
        for time_, mask in alone.items():
            assert not (mask & ~whole[time_]).any()
            assert not (mask & total[time_]).any()  # no pixel belongs to two
            total[time_] |= mask
            if mask.any():
                assert any(begin - 0.26 <= time_ <= end + 0.26 for begin, end in source["spans"])
    everything = sum(mask.sum() for mask in whole.values())
    assert sum(mask.sum() for mask in total.values()) > 0.98 * everything  # all but specks


def test_a_source_alone_may_have_other_formats(client, things):
    answer = client.post(f"/v1/jobs/{things['id']}/sources", json={"sources": [1], "formats": ["jsonl"]})
    assert sorted(done(client, answer)["files"]) == ["jsonl"]


@pytest.mark.parametrize(
    ("body", "says"),
    [({"sources": [99]}, "got 99"), ({"sources": []}, "at least 1"), ({"sources": [1], "x": 1}, "Extra")],
)
def test_a_source_that_is_not_there_is_refused(client, things, body, says):
    answer = client.post(f"/v1/jobs/{things['id']}/sources", json=body)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_whoever_did_not_send_the_video_gets_no_job_on_it(service, clip):
    mine = TestClient(service, cookies={"sonomask_session": "a" * 32})
    job = run(mine, send(mine, clip), model=MINI, rate=1)
    other = TestClient(service, cookies={"sonomask_session": "b" * 32})
    answer = other.post(f"/v1/jobs/{job['id']}/sources", json={"sources": [1]})
    assert answer.status_code in (404, 422)
    if client_sources := mine.get(f"/v1/jobs/{job['id']}/sources").json():
        answer = other.post(f"/v1/jobs/{job['id']}/sources", json={"sources": [client_sources[0]["id"]]})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (404, "upload")


def test_a_prompt_goes_to_a_model_that_takes_free_words(runner, two, monkeypatch):
    monkeypatch.setattr(runner, "work", lambda job: job.report(1, 2))
    app = application(runner, {MINI: "Drawn.", "open": "Free words."}, Access(("testserver",)), prompts=["open"])
    client = TestClient(app)
    assert [row["prompts"] for row in client.get("/v1/about").json()["models"]] == [False, True]
    wanted = {"upload": send(client, two)["id"], "prompt": ["a dog that barks, on the left", "red car"]}
    refused = client.post("/v1/jobs", json=wanted | {"model": MINI})
    assert refused.status_code == 422
    assert "takes no free words. Take open" in refused.json()["errors"][0]["detail"]
    assert client.post("/v1/jobs", json=wanted | {"model": "open"}).status_code == 202
    assert list(runner.jobs.values())[-1].options.prompt == tuple(wanted["prompt"])


def test_the_page_offers_tracks_names_and_rate(browser, service, serve_app, runner, two, monkeypatch):
    monkeypatch.setattr(runner, "work", lambda job: job.report(1, 2))
    with serve_app(service) as address:
        browser.go(address)
        browser.ready()
        assert not browser.seen("#names").is_displayed()
        browser.seen("#files").send_keys(str(two))
        browser.until("document.querySelector('#chosen select')")
        assert "2, eng, aac" in browser.text("#chosen option")
        browser.script("document.querySelector('#chosen select').value = '1'")
        browser.script(
            "(document.getElementById('model').value = arguments[0], document.getElementById('model').onchange())",
            WORLD,
        )
        browser.script("document.querySelector('.finer').open = true")
        browser.script("document.getElementById('rate').value = 'auto'")
        browser.seen("#only").send_keys("dgo")
        browser.click("#run")
        browser.until("document.getElementById('error-only').textContent.includes('dog')")
        browser.seen("#only").clear()
        browser.seen("#only").send_keys("dog, speech")
        browser.seen("#not").send_keys("music")
        for name, value in (("hold", "0.5"), ("expand", "-2")):
            browser.seen(f"#{name}").clear()
            browser.seen(f"#{name}").send_keys(value)
        browser.click("#run")
        browser.until("location.pathname.startsWith('/job/')")
    options = list(runner.jobs.values())[-1].options
    assert (options.model, options.rate, options.audio_track) == (WORLD, "auto", 1)
    assert (options.only, options.without, options.smooth) == (("dog", "speech"), ("music",), 0.4)
    assert (options.min_area, options.hold, options.expand, options.feather) == (0.0005, 0.5, -2, None)
