"""Stages that work at the same time."""

import threading

import pytest

from sonomask.threads import ahead


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
