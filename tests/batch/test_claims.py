"""Two runs on the same videos: one of them goes on, whichever way they came."""

import json
import platform
import subprocess
import sys
import threading

import pytest

from sonomask.batch import claims
from sonomask.batch.claims import claimed
from sonomask.batch.store import OutputStore
from sonomask.errors import DatasetError

FAST = {"beat": 0.05, "patience": 1.0}


@pytest.fixture(params=["here", "memory"])
def store(request, tmp_path):
    return OutputStore(str(tmp_path) if request.param == "here" else f"memory://claims/{tmp_path.name}")


def left(store, **about):
    store.put("claims/00000000000000000001-a.json", json.dumps({"part": [0, 1], "count": 3, **about}).encode())


def test_a_run_that_ends_leaves_no_claim(store):
    with claimed(store, (0, 1), **FAST):
        assert len(store.names("claims")) == 1
    assert store.names("claims") == []


def test_a_second_run_on_the_same_videos_is_refused_and_names_the_first(store):
    with claimed(store, (0, 1), **FAST):
        with pytest.raises(DatasetError, match=f"another run .* on {platform.node()}"), claimed(store, (0, 1), **FAST):
            pass
        assert len(store.names("claims")) == 1


@pytest.mark.parametrize(("one", "two", "shared"), [((0, 2), (1, 2), False), ((0, 2), (0, 4), True), ((1, 4), (0, 2), False),
                                                    ((0, 2), (0, 3), True), ((0, 1), (3, 4), True)])  # fmt: skip
def test_slices_disturb_one_another_only_if_they_share_videos(one, two, shared, tmp_path):
    store = OutputStore(str(tmp_path))
    with claimed(store, one, **FAST):
        if shared:
            with pytest.raises(DatasetError), claimed(store, two, **FAST):
                pass
        else:
            with claimed(store, two, **FAST):
                pass


def test_the_claim_of_a_process_that_was_killed_here_is_taken_over_at_once(store):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left(store, host=platform.node(), process=gone.pid)
    with claimed(store, (0, 1), beat=0.05, patience=1000):
        assert len(store.names("claims")) == 1


def test_the_claim_of_another_machine_counts_as_long_as_it_moves(store):
    left(store, host="elsewhere", process=1)
    with claimed(store, (0, 1), **FAST):  # it stood still
        assert len(store.names("claims")) == 1
    over = threading.Event()

    def move():
        count = 0
        while not over.wait(0.02):
            count += 1
            left(store, host="elsewhere", process=1, count2=count)

    left(store, host="elsewhere", process=1)
    thread = threading.Thread(target=move)
    thread.start()
    try:
        with pytest.raises(DatasetError, match="elsewhere"), claimed(store, (0, 1), **FAST):
            pass
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("attempt", range(3))
def test_of_several_that_start_together_exactly_one_goes_on(attempt, tmp_path, monkeypatch):
    monkeypatch.setattr(claims.platform, "node", lambda: threading.current_thread().name.split(":")[0])
    store, came, refused = OutputStore(str(tmp_path)), [], []
    gate, done = threading.Barrier(4), threading.Barrier(4)

    def start():
        gate.wait()
        try:
            with claimed(store, (0, 1), **FAST):
                came.append(1)
                done.wait(30)
        except DatasetError:
            refused.append(1)
            done.wait(30)

    threads = [threading.Thread(target=start, name=f"machine{i}:{attempt}") for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(came), len(refused)) == (1, 3)
