"""A child may crash or hang; the next task is done all the same."""

import pytest

from sonomask.batch.guard import Child, ChildError

WORK = """
import os, signal, time

def start(factor):
    def work(task):
        if task == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if task == "hang":
            time.sleep(60)
        if task == "raise":
            raise ZeroDivisionError("oh")
        for i in range(task):
            yield factor * i
    return work
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    (tmp_path / "guarded_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    from guarded_work import start

    made = Child(start, 10)
    yield made
    made.close()


def test_a_child_that_crashes_or_hangs_is_replaced(child):
    assert list(child.run(3, 30)) == [0, 10, 20]
    with pytest.raises(ChildError, match="SIGSEGV"):
        list(child.run("crash", 30))
    with pytest.raises(ChildError, match=r"more than 0\.2 s"):
        list(child.run("hang", 0.2))
    assert list(child.run(2, 30)) == [0, 10]


def test_a_caller_who_loses_interest_does_not_spoil_the_next_task(child):
    items = child.run(5, 30)
    next(items)
    items.close()
    assert list(child.run(2, 30)) == [0, 10]


def test_a_mistake_in_the_work_is_no_childs_death(child):
    with pytest.raises(RuntimeError, match="ZeroDivisionError: oh"):
        list(child.run("raise", 30))
