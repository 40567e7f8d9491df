import threading
import time

import pytest

from sonomask.errors import MediaError
from sonomask.server.jobs import Limits, QueueFullError, Runner, UnknownJobError, Wish

WISH = Wish("any")


def wait(job):
    end = time.monotonic() + 20
    while not job.over and time.monotonic() < end:
        time.sleep(0.01)
    return job


@pytest.fixture
def upload(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"0123456789")
    return path


@pytest.fixture
def endless():
    """Work that goes on until it is told to stop."""
    started = threading.Event()

    def work(job):
        started.set()
        for second in range(100_000):
            job.report(second, 100_000)
            time.sleep(0.005)

    work.started = started
    return work


def copy(job):
    job.files["copy"] = job.folder / "copy"
    job.files["copy"].write_bytes(job.source.read_bytes())


def test_a_job_runs_and_gives_its_files(upload):
    with Runner(copy) as runner:
        job = wait(runner.submit(upload, WISH))
        assert (job.state, job.done, job.files["copy"].read_bytes()) == ("done", 1.0, b"0123456789")


def test_jobs_run_in_the_order_of_their_coming(upload):
    order = []
    with Runner(lambda job: order.append(job.name)) as runner:
        jobs = [runner.submit(upload, WISH, f"{i}") for i in range(5)]
        for job in jobs:
            wait(job)
    assert order == ["0", "1", "2", "3", "4"]


def test_a_full_queue_takes_no_more(upload, endless):
    with Runner(endless, Limits(queue=2)) as runner:
        runner.submit(upload, WISH)
        runner.submit(upload, WISH)
        with pytest.raises(QueueFullError, match="All 2 places are taken"):
            runner.submit(upload, WISH)


def test_a_running_job_can_be_cancelled_and_leaves_nothing(upload, endless):
    with Runner(endless) as runner:
        job = runner.submit(upload, WISH)
        assert endless.started.wait(20)
        runner.cancel(job)
        assert wait(job).state == "cancelled"
        assert not job.folder.exists()


def test_a_waiting_job_can_be_cancelled_and_never_runs(upload, endless):
    with Runner(endless) as runner:
        first, second = (runner.submit(upload, WISH) for _ in range(2))
        assert runner.ahead(second) == 1
        runner.cancel(second)
        runner.cancel(first)
        wait(first)
        assert (second.state, second.folder.exists(), runner.busy) == ("cancelled", False, 0)


def test_a_job_that_takes_too_long_fails_and_says_so(upload, endless):
    with Runner(endless, Limits(work=0.05)) as runner:
        job = wait(runner.submit(upload, WISH))
        assert (job.state, job.error) == ("failed", "Not finished after 0 s, the limit. Use a lower rate, or cut it.")


def test_a_job_that_fills_the_disk_fails_and_says_so(upload):
    def work(job):
        (job.folder / "large").write_bytes(bytes(1000))
        job.report(1, 2)

    with Runner(work, Limits(disk=500)) as runner:
        assert "Choose fewer formats" in wait(runner.submit(upload, WISH)).error


def test_a_known_error_is_one_line_without_a_path_of_this_machine(upload):
    def work(job):
        raise MediaError(f"{job.source}: has no sound\nstream.")

    with Runner(work) as runner:
        assert wait(runner.submit(upload, WISH)).error == "clip.mp4: has no sound stream."


def test_an_unforeseen_error_tells_a_stranger_nothing_and_the_next_job_runs(upload, caplog):
    def work(job):
        if job.name == "bad":
            raise RuntimeError("secret")

    with Runner(work) as runner:
        bad, good = runner.submit(upload, WISH, "bad"), runner.submit(upload, WISH, "good")
        assert (wait(bad).state, wait(good).state) == ("failed", "done")
        assert "secret" not in bad.error
    assert "secret" in caplog.text


def test_an_upload_that_is_too_large_is_refused(upload):
    with Runner(copy, Limits(bytes=5)) as runner, pytest.raises(ValueError, match="the limit"):
        runner.submit(upload, WISH)


def test_an_ended_job_is_removed_after_its_time(upload):
    with Runner(copy, Limits(keep=0.1)) as runner:
        job = wait(runner.submit(upload, WISH))
        time.sleep(0.15)
        with pytest.raises(UnknownJobError, match="Submit the video again"):
            runner.job(job.id)
        runner.sweep()
        assert not job.folder.exists()


def test_the_oldest_ended_job_goes_when_there_are_too_many(upload):
    with Runner(copy, Limits(kept=2)) as runner:
        jobs = [wait(runner.submit(upload, WISH)) for _ in range(3)]
        runner.sweep()
        assert [job.folder.exists() for job in jobs] == [False, True, True]


def test_removing_a_running_job_removes_its_folder_once_it_has_noticed(upload, endless):
    with Runner(endless) as runner:
        job = runner.submit(upload, WISH)
        assert endless.started.wait(20)
        runner.remove(job)
        wait(job)
        with pytest.raises(UnknownJobError):
            runner.job(job.id)
        assert not job.folder.exists()


def test_closing_stops_everything_and_removes_all_folders(upload, endless):
    runner = Runner(endless)
    jobs = [runner.submit(upload, WISH) for _ in range(2)]
    runner.close()
    assert [job.state for job in jobs] == ["cancelled", "cancelled"]
    assert not runner.folder.exists()


def test_ids_can_not_be_guessed_and_names_are_no_paths(upload):
    with Runner(copy) as runner:
        jobs = [runner.submit(upload, WISH, "../../etc/passwd") for _ in range(2)]
        assert jobs[0].id != jobs[1].id
        assert all(len(job.id) >= 20 and job.name == "passwd" and job.source.parent == job.folder for job in jobs)
