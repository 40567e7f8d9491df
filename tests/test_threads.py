"""Stages that work at the same time."""

import re
import threading
from pathlib import Path

import pytest

from sonomask.threads import WorkerThread, ahead, merged


def test_the_items_come_in_order_from_another_thread():
    makers = []

    def numbers():
        for i in range(20):
            makers.append(threading.current_thread())
            yield i

    assert list(ahead(numbers(), 3)) == list(range(20))
    assert threading.current_thread() not in makers


def test_no_more_items_wait_than_allowed():
    made, two = [], threading.Event()

    def numbers():
        for i in range(10):
            made.append(i)
            if i == 3:
                two.set()
            yield i

    stream = ahead(numbers(), 2)
    assert next(stream) == 0
    assert two.wait(5)  # one was taken, two wait, the next one is being handed over
    assert len(made) == 4
    stream.close()
    assert len(made) == 4


def test_what_the_thread_raises_is_raised_where_the_items_are_taken():
    def broken():
        yield 1
        raise KeyError("lost")

    stream = ahead(broken())
    assert next(stream) == 1
    with pytest.raises(KeyError, match="lost"):
        next(stream)


def test_closing_ends_the_thread_and_closes_its_source():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    stream = ahead(endless())
    next(stream)
    stream.close()
    assert closed.is_set()


def test_ctrl_c_while_the_thread_starts_ends_the_thread(monkeypatch):
    started = []
    start = threading.Thread.start

    def interrupted(self):
        start(self)
        started.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(ahead(iter(int, 1)))  # endless
    assert not started[0].is_alive()


def test_several_iterators_work_at_once_and_all_items_come():
    meeting = threading.Barrier(3, timeout=20)

    def numbers(start):
        meeting.wait()  # passes only if all three are at work
        yield from range(start, start + 5)

    assert sorted(merged([numbers(0), numbers(5), numbers(10)], 2)) == list(range(15))


def test_what_one_of_several_raises_ends_the_others():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    def broken():
        yield 1
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        list(merged([endless(), broken()]))
    assert closed.is_set()


def test_a_worker_does_all_that_waits_before_it_ends():
    done = []
    worker = WorkerThread(done.append, name="test", finish=lambda: done.append("end"))
    for i in range(5):
        worker.put(i)
    assert worker.waiting == 5
    worker.start()
    assert worker.close(20)
    assert done == [0, 1, 2, 3, 4, "end"]
    with pytest.raises(RuntimeError, match="closed"):
        worker.put(5)


def test_a_worker_that_is_too_slow_loses_the_oldest():
    gate, done = threading.Event(), []

    def work(item):
        gate.wait(20)
        done.append(item)

    worker = WorkerThread(work, name="test", size=2)
    for i in range(10):
        worker.put(i)
    worker.start()
    gate.set()
    assert worker.close(20)
    assert (done, worker.dropped) == ([8, 9], 8)


def test_what_a_worker_raises_is_raised_by_the_next_put():
    def work(item):
        raise KeyError(item)

    worker = WorkerThread(work, name="test", finish=lambda: pytest.fail("it did not end well"))
    worker.start()
    worker.put("lost")
    assert worker.close(20)
    with pytest.raises(KeyError, match="lost"):
        worker.put("more")


def test_a_worker_takes_what_goes_together():
    done = []

    def pairs(waiting):
        return [waiting.popleft() for _ in range(min(2, len(waiting)))]

    worker = WorkerThread(done.append, name="test", together=pairs)
    for i in range(5):
        worker.put(i)
    worker.start()
    assert worker.close(20)
    assert done == [[0, 1], [2, 3], [4]]


def test_a_worker_that_hangs_is_left_and_a_pause_ends_with_it():
    gate, paused = threading.Event(), threading.Event()
    hanging = WorkerThread(lambda _: gate.wait(60), name="test")
    hanging.start()
    hanging.put(0)
    assert not hanging.close(0.05)
    gate.set()

    def rest(_):
        paused.set()
        waiting.pause(3600)

    waiting = WorkerThread(rest, name="test")
    waiting.start()
    waiting.put(0)
    assert paused.wait(20)
    assert waiting.close(20)


def test_a_queue_with_a_thread_has_one_owner():
    """Whoever needs one takes `WorkerThread`, `ahead` or `merged`; what has locks of its own is listed with the reason."""
    import sonomask

    root = Path(sonomask.__file__).parent
    allowed = {
        "threads.py": "the owner",
        "live/feed.py": "chooses what is taken by times of picture and sound; has no thread",
        "live/sinks/events.py": "a queue for each connection that watches; has no thread",
        "media/live/remote_writer.py": "lines of another process, with a limit of time on each",
        "server/jobs.py": "jobs in all states under one lock, several threads, a watchdog",
        "batch/local.py": "a list that children share; its threads are `merged`",
    }
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"Condition\(|\bqueue\.\w*Queue\w*(\[.*\])?\(", path.read_text(encoding="utf-8"))
    }
    assert found == set(allowed)
