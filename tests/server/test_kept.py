"""Results and uploads that stay when the server is stopped, and what does not."""

import json
import time

import pytest

from sonomask.server.jobs import JobOptions, Runner
from sonomask.server.limits import ServerLimits
from sonomask.server.problems import UnknownError

FACTS = {"width": 64, "audio_tracks": [{"number": 1}]}
OPTIONS = JobOptions("any", formats=("jsonl",), only=("dog",), end=4.0)


def work(job):
    job.files["jsonl"] = job.folder / "result.jsonl"
    job.files["jsonl"].write_text(job.source.read_text())
    (job.folder / "view").mkdir()
    (job.folder / "view" / "view.json").write_text("{}")
    job.warnings, job.heard = ("a warning",), "1 of 2"


def failing(job):
    raise ValueError(job.name)


def endless(job):
    while True:
        job.report(1, 10)
        time.sleep(0.01)


def send(runner, name="clip.mp4", *, session="one", facts=FACTS):
    with runner.store.receive(name, session=session, client="10.0.0.1") as (upload, write):
        write(b"a video")
    if facts is not None:
        runner.store.know(upload, facts)
    return upload


def submit(runner, name="clip.mp4", *, session="one"):
    return runner.submit(send(runner, name, session=session), OPTIONS, name=name)


def wait(job, *states):
    end = time.monotonic() + 30
    while job.state not in (states or ("done", "failed", "cancelled")) and time.monotonic() < end:
        time.sleep(0.01)
    return job


def test_a_finished_job_is_there_after_a_restart(tmp_path):
    with Runner(work, tmp_path, keeps=True) as before:
        job = wait(submit(before))
        other = wait(submit(before, "other.mp4", session="two"))
    with Runner(work, tmp_path, keeps=True) as after:
        again = after.job(job.id)
        assert after.of("one") == [again]
        assert [one.id for one in after.of("two")] == [other.id]
        for name in (
            "id",
            "name",
            "state",
            "done",
            "options",
            "warnings",
            "heard",
            "client",
            "session",
            "files",
            "size",
        ):
            assert getattr(again, name) == getattr(job, name), name
        assert again.files["jsonl"].read_text() == "a video"
        assert again.upload is after.store.find(job.upload.id, "one")


def test_uploads_are_there_after_a_restart_for_the_session_that_sent_them(tmp_path):
    with Runner(work, tmp_path, keeps=True) as before:
        sent, removed, unknown = send(before), send(before), send(before, facts=None)
        before.store.remove(removed)
    with Runner(work, tmp_path, keeps=True) as after:
        (upload,) = after.store.uploads.values()
        for name in ("id", "session", "client", "name", "path", "size", "facts", "inode"):
            assert getattr(upload, name) == getattr(sent, name), name
        with pytest.raises(UnknownError):
            after.store.find(sent.id, "two")
        assert wait(after.submit(after.store.find(sent.id, "one"), OPTIONS)).files["jsonl"].read_text() == "a video"
        assert not unknown.path.exists()
        after.store.remove(upload)
    assert [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()] == []


def test_an_upload_removed_while_a_job_reads_it_does_not_come_back(tmp_path):
    with Runner(endless, tmp_path, keeps=True) as before:
        job = wait(submit(before), "running")
        before.store.remove(job.upload)
        kept = job.upload.record
        assert job.upload.path.exists()
        assert not kept.exists()
    with Runner(work, tmp_path, keeps=True) as after:
        assert after.store.uploads == {}


@pytest.mark.parametrize("spoilt", ["cut", "link", "folder", "gone", "record", "record is a list", "facts", "beside"])
def test_an_upload_that_is_not_as_its_record_says_is_removed(tmp_path, spoilt):
    secret = tmp_path / "secret"
    secret.write_bytes(b"a video")
    with Runner(work, tmp_path, keeps=True) as before:
        upload = send(before)
    if spoilt == "cut":
        upload.path.write_bytes(b"a vid")
    elif spoilt == "record":
        upload.record.write_text('{"name": "x"')
    elif spoilt == "record is a list":
        upload.record.write_text("[1]")
    elif spoilt == "facts":
        upload.record.write_text(upload.record.read_text().replace('"facts": {', '"facts": 1, "x": {'))
    elif spoilt == "beside":
        upload.record.rename(upload.path.with_name("other.json"))
    else:
        upload.path.unlink()
        if spoilt == "link":
            upload.path.symlink_to(secret)
        elif spoilt == "folder":
            upload.path.mkdir()
    with Runner(work, tmp_path, keeps=True) as after:
        assert after.store.uploads == {}
    assert secret.read_bytes() == b"a video"
    assert [path for path in (tmp_path / "uploads").rglob("*") if not path.is_dir()] == []


def test_what_was_not_finished_is_gone_and_leaves_nothing(tmp_path):
    with Runner(failing, tmp_path, keeps=True) as before:
        wait(submit(before))
    with Runner(endless, tmp_path, keeps=True) as before:
        running = wait(submit(before), "running")
        waiting = submit(before)
    with Runner(work, tmp_path, keeps=True) as after:
        assert after.jobs == {}
        for job in (running, waiting):
            with pytest.raises(UnknownError, match="restarted"):
                after.job(job.id)
        assert list((tmp_path / "jobs").iterdir()) == []


def test_a_job_that_was_killed_in_the_middle_is_swept(tmp_path):
    with Runner(work, tmp_path, keeps=True) as before:
        wait(submit(before))
    (tmp_path / "jobs" / "abc-killed").mkdir()
    (tmp_path / "jobs" / "abc-killed" / "result.jsonl").write_text("half")
    with Runner(work, tmp_path, keeps=True) as after:
        assert len(after.jobs) == 1
        assert not (tmp_path / "jobs" / "abc-killed").exists()


def test_kept_jobs_end_after_their_time_and_can_be_removed(tmp_path):
    with Runner(work, tmp_path, keeps=True) as before:
        old, young = wait(submit(before, "old.mp4")), wait(submit(before, "young.mp4"))
    record = old.folder / "job.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "ended": time.time() - 7200}))
    with Runner(work, tmp_path, ServerLimits(keep=3600), keeps=True) as after:
        assert [job.name for job in after.of("one")] == ["young.mp4"]
        after.sweep()
        assert not old.folder.exists()
        after.remove(after.job(young.id))
        assert not young.folder.exists()


@pytest.mark.parametrize(
    "record", ["", "[]", "{}", '{"options": 1}', '{"name": "x", "formats": ["../../etc"], "options": {"model": "m"}}']
)
def test_a_damaged_record_is_no_job(tmp_path, record):
    with Runner(work, tmp_path, keeps=True) as before:
        job = wait(submit(before))
    (job.folder / "job.json").write_text(record)
    with Runner(work, tmp_path, keeps=True) as after:
        assert after.jobs == {}


def test_without_a_folder_to_keep_nothing_stays(tmp_path):
    (tmp_path / "server").mkdir()
    with Runner(work, tmp_path / "server") as runner:
        wait(submit(runner))
    assert not (tmp_path / "server").exists()
