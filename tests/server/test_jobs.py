"""The queue: turns, places, and an end on every way out."""

import threading
import time
import urllib.request

import pytest

from sonomask.errors import MediaError
from sonomask.monitoring import served
from sonomask.server.jobs import JobOptions, Runner
from sonomask.server.limits import ServerLimits
from sonomask.server.problems import BusyError, UnknownError

OPTIONS = JobOptions("any")


def wait(job):
    end = time.monotonic() + 30
    while not job.over and time.monotonic() < end:
        time.sleep(0.01)
    return job


@pytest.fixture
def start(tmp_path):
    """Makes runners, and closes them."""
    made = []

    def make(work, limits=None, **options):
        folder = tmp_path / f"server{len(made)}"
        folder.mkdir()
        made.append(Runner(work, folder, limits, **options))
        return made[-1]

    yield make
    for runner in made:
        runner.close()


def submit(runner, name="clip.mp4", *, client="a", session="one", data=b"0123456789"):
    with runner.store.receive(name, session=session, client=client) as (upload, write):
        write(data)
    return runner.submit(upload, OPTIONS)


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


@pytest.fixture
def stuck():
    """Work that hangs and hears nothing, until the test is over."""
    over, started = threading.Event(), threading.Event()

    def work(job):
        if job.name == "stuck":
            started.set()
            over.wait(60)

    work.started = started
    yield work
    over.set()


def copy(job):
    job.files["copy"] = job.folder / "copy"
    job.files["copy"].write_bytes(job.source.read_bytes())


def test_a_job_runs_and_gives_its_files(start):
    job = wait(submit(start(copy)))
    assert (job.state, job.done, job.files["copy"].read_bytes()) == ("done", 1.0, b"0123456789")


def test_jobs_of_a_client_run_in_the_order_of_their_coming(start):
    order = []
    runner = start(lambda job: order.append(job.name))
    for job in [submit(runner, f"{i}") for i in range(5)]:
        wait(job)
    assert order == ["0", "1", "2", "3", "4"]


def test_clients_take_turns(start, endless):
    runner = start(endless)
    first = submit(runner, "first")
    assert endless.started.wait(20)
    many, one = [submit(runner, f"a{i}") for i in range(3)], submit(runner, "b", client="b")
    assert runner.ahead(one) == 2  # the one that runs and one of the many
    assert [runner.ahead(job) for job in many] == [1, 3, 4]
    runner.cancel(first)


def test_a_full_queue_takes_no_more(start, endless):
    runner = start(endless, ServerLimits(queue=2))
    submit(runner)
    submit(runner, client="b")
    with pytest.raises(BusyError, match="All 2 places in the queue are taken"):
        submit(runner, client="c")


def test_one_client_can_not_take_all_places(start, endless):
    runner = start(endless, ServerLimits(queue_client=2))
    submit(runner)
    submit(runner)
    with pytest.raises(BusyError, match="You have 2 videos in the queue"):
        submit(runner)
    assert submit(runner, client="b").state == "queued"


def test_a_running_job_can_be_cancelled_and_leaves_nothing(start, endless):
    runner = start(endless)
    job = submit(runner)
    assert endless.started.wait(20)
    runner.cancel(job)
    assert wait(job).state == "cancelled"
    assert not job.folder.exists()
    assert job.upload.users == 0


def test_cancelling_ends_the_job_s_child_at_once(start):
    killed = threading.Event()

    def work(job):
        job.on_stop(killed.set)
        assert killed.wait(30)
        raise MediaError("its decoder was killed")

    runner = start(work)
    job = submit(runner)
    while job.state == "queued":
        time.sleep(0.01)
    runner.cancel(job)
    assert wait(job).state == "cancelled"
    assert job.error is None


def test_a_place_is_taken_until_the_work_has_ended(start):
    go = threading.Event()
    runner = start(lambda _: go.wait(30), ServerLimits(queue=1))
    job = submit(runner)
    while job.state == "queued":
        time.sleep(0.01)
    runner.remove(job)
    with pytest.raises(BusyError):
        submit(runner)
    go.set()
    wait(job)
    assert submit(runner).state in ("queued", "running")


def test_a_waiting_job_can_be_cancelled_and_never_runs(start, endless):
    runner = start(endless)
    first, second = (submit(runner) for _ in range(2))
    assert endless.started.wait(20)
    runner.cancel(second)
    assert (second.state, second.folder.exists()) == ("cancelled", False)
    runner.cancel(first)
    wait(first)
    assert runner.busy == 0


@pytest.mark.parametrize(
    "limits", [ServerLimits(work=0.3, grace=0.3), ServerLimits(grace=0.3)], ids=["too long", "cancelled"]
)
def test_work_that_hangs_gives_its_place_to_the_next(start, stuck, limits):
    runner = start(stuck, limits)
    job = submit(runner, "stuck")
    assert stuck.started.wait(20)
    if limits.work > 1:
        runner.cancel(job)
    assert wait(job).state in ("failed", "cancelled")
    assert wait(submit(runner, "next")).state == "done"
    assert runner.busy == 0


def test_a_job_that_takes_too_long_fails_and_says_so(start, endless):
    job = wait(submit(start(endless, ServerLimits(work=0.05))))
    assert job.state == "failed"
    assert job.error == "Not finished after 0 s, the limit. Use a lower rate, or a shorter part."


def test_a_job_that_fills_the_disk_fails_and_says_so(start):
    def work(job):
        (job.folder / "large").write_bytes(bytes(1000))
        job.report(1, 2)

    assert "Choose fewer formats" in wait(submit(start(work, ServerLimits(job_bytes=500)))).error


@pytest.mark.parametrize(
    "error", [MediaError("no"), MemoryError(), SystemExit(), KeyboardInterrupt(), OSError(28, "full")]
)
def test_whatever_ends_the_work_the_place_is_given_back(start, error, caplog):
    def work(job):
        if job.name == "bad":
            raise error

    runner = start(work, ServerLimits(queue=2))
    bad, good = submit(runner, "bad"), submit(runner, "good")
    assert (wait(bad).state, wait(good).state, runner.busy) == ("failed", "done", 0)
    assert bad.upload.users == 0
    assert not bad.folder.exists()
    caplog.clear()


def test_a_known_error_is_one_line_without_a_path_of_this_machine(start):
    def work(job):
        raise MediaError(f"{job.source}: has no sound\nstream.")

    assert wait(submit(start(work))).error == "clip.mp4: has no sound stream."


def test_an_unforeseen_error_tells_a_stranger_nothing(start, caplog):
    def work(_):
        raise RuntimeError("secret")

    bad = wait(submit(start(work)))
    assert bad.state == "failed"
    assert "secret" not in bad.error
    assert "secret" in caplog.text


def test_failed_jobs_push_nobody_s_results_out(start):
    def work(job):
        if job.name == "bad":
            raise MediaError("bad")
        copy(job)

    runner = start(work, ServerLimits(kept=2, queue_client=100))
    good = [wait(submit(runner, client="b")) for _ in range(2)]
    for _ in range(25):
        wait(submit(runner, "bad", client="a"))
    runner.sweep()
    assert [runner.job(job.id).state for job in good] == ["done", "done"]


def test_a_client_s_oldest_results_go_first_and_nobody_else_s(start):
    runner = start(copy, ServerLimits(kept=2))
    other = wait(submit(runner, client="b"))
    own = [wait(submit(runner)) for _ in range(4)]
    runner.sweep()
    assert [job.folder.exists() for job in own] == [False, False, True, True]
    assert other.folder.exists()


def test_results_have_a_limit_by_client_and_in_all(start):
    def work(job):
        (job.folder / "large").write_bytes(bytes(1000))

    runner = start(work, ServerLimits(results_client=2500, results=3500))
    first = wait(submit(runner, client="b"))
    own = [wait(submit(runner)) for _ in range(3)]
    runner.sweep()
    assert [job.folder.exists() for job in (first, *own)] == [True, False, True, True]
    more = wait(submit(runner, client="c"))
    runner.sweep()
    assert [job.folder.exists() for job in (first, *own, more)] == [True, False, False, True, True]


def test_an_ended_job_is_removed_after_its_time(start):
    runner = start(copy, ServerLimits(keep=0.3))
    job = wait(submit(runner))
    time.sleep(0.35)
    with pytest.raises(UnknownError, match="Submit the video again"):
        runner.job(job.id)
    runner.sweep()
    assert not job.folder.exists()
    assert runner.store.uploads == {}


def test_a_job_of_a_server_before_this_one_is_known_as_such(start):
    before, after = start(copy), start(copy)
    with pytest.raises(UnknownError, match="restarted"):
        after.job(submit(before).id)
    with pytest.raises(UnknownError, match="no such job"):
        after.job("nonsense")


def test_a_session_sees_its_own_jobs_the_newest_first(start):
    runner = start(copy)
    jobs = [submit(runner, session="one"), submit(runner, session="two"), submit(runner, session="one")]
    submit(runner, session=None)
    assert runner.of("one") == [jobs[2], jobs[0]]
    assert runner.of(None) == []


def test_removing_a_running_job_removes_its_folder_once_its_work_has_ended(start, endless):
    runner = start(endless)
    job = submit(runner)
    assert endless.started.wait(20)
    runner.remove(job)
    wait(job)
    with pytest.raises(UnknownError):
        runner.job(job.id)
    assert not job.folder.exists()


def test_closing_stops_everything_and_removes_all_folders(start, endless):
    runner = start(endless)
    jobs = [submit(runner) for _ in range(2)]
    runner.close()
    assert [job.state for job in jobs] == ["cancelled", "cancelled"]
    assert not runner.folder.exists()


def test_the_time_left_is_told_from_the_work_that_is_done(start):
    seen = []

    def work(job):
        time.sleep(0.2)
        job.report(1, 2)
        seen.append(job.left)

    wait(submit(start(work)))
    assert seen[0] == pytest.approx(0.2, rel=0.9)


def test_ids_can_not_be_guessed(start):
    runner = start(copy)
    jobs = [submit(runner) for _ in range(2)]
    assert jobs[0].id != jobs[1].id
    assert all(len(job.id) >= 24 for job in jobs)


def test_the_watchdog_outlives_a_fault(start, monkeypatch, caplog):
    runner = start(lambda job: job.stop.wait(20), ServerLimits(work=0.3))
    faults = iter([OSError("a disk that is gone")])

    def look(now, whole=runner._look_after):
        for fault in faults:
            raise fault
        whole(now)

    monkeypatch.setattr(runner, "_look_after", look)
    job = submit(runner)
    assert wait(job).late
    assert "goes on" in caplog.text


def test_prometheus_is_told_of_jobs_by_their_state(start, endless):
    pytest.importorskip("prometheus_client")
    runner = start(copy)
    wait(submit(runner))
    runner.work = endless
    submit(runner)
    submit(runner)
    with served(runner.figures(), "0", "serve") as address:
        until_text = urllib.request.urlopen(address, timeout=10).read().decode()  # noqa: S310
    assert 'sonomask_serve_jobs_ended{state="done"} 1.0' in until_text
    assert 'sonomask_serve_jobs{state="done"} 1.0' in until_text
    queued, running = (
        float(until_text.split(f'sonomask_serve_jobs{{state="{state}"}} ')[1].split()[0])
        for state in ("queued", "running")
    )
    assert queued + running == 2
