"""What is done is done once, whatever happens on the way."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from sonomask.batch.collect import Summary, collect
from sonomask.batch.job import Options, VideoJob
from sonomask.batch.ledger import Ledger, in_slice
from sonomask.batch.store import OutputStore
from sonomask.batch.tables import read
from sonomask.errors import DatasetError
from sonomask.request import Request

OPTIONS = Options("m")


class Killed(BaseException):
    """As if the process ended here."""


class Dying(OutputStore):
    """A store whose writer is killed before its n-th write."""

    def __init__(self, root, writes):
        super().__init__(root)
        self.writes = writes

    def put(self, name, data):
        self.writes -= 1
        if self.writes < 0:
            raise Killed
        super().put(name, data)


def attempt(store, jobs, pieces, *, size=4, formats=("parquet", "webdataset")):
    ledger = Ledger(store, OPTIONS, "m", "f" * 12, formats=formats, shard_size=size)
    summary = Summary()
    done = ledger.done()
    missing = {job.video for job in jobs} - set(done)
    collect([p for p in pieces if p.video in missing], ledger.shards(jobs, done), ledger, lambda *_: None, summary)
    return summary


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("seed", range(12))
def test_killed_at_any_write_and_started_again_it_gives_the_files_of_one_run(seed, tmp_path, corpus_of_pieces, mixed):
    draw, (jobs, pieces) = random.Random(seed), corpus_of_pieces(19)
    attempt(OutputStore(str(tmp_path / "whole")), jobs, pieces)
    rows = 0
    for start in range(100):
        try:
            summary = attempt(Dying(str(tmp_path / "broken"), draw.randrange(1, 9)), jobs, mixed(pieces, seed + start))
        except Killed:
            continue
        if not summary.done + summary.failed:
            break
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    for name, data in files(tmp_path / "broken").items():
        rows += len(read(data, name, ["video"])) if name.startswith("manifest") else 0
    assert rows == 19


@pytest.mark.parametrize("seed", range(4))
def test_a_corpus_that_grew_is_done_further_and_nothing_twice(seed, tmp_path, corpus_of_pieces, mixed):
    jobs, pieces = corpus_of_pieces(23)
    some = mixed(jobs, seed)[:10]
    attempt(OutputStore(str(tmp_path)), some, [p for p in pieces if p.video in {j.video for j in some}])
    before = files(tmp_path)
    attempt(OutputStore(str(tmp_path)), jobs, pieces)
    after = files(tmp_path)
    assert before.items() <= after.items()
    videos = [
        v for n, d in after.items() if n.startswith("manifest") for v in read(d, n, ["video"])["video"].to_pylist()
    ]
    assert sorted(videos) == [job.video for job in jobs]


def test_a_video_whose_pieces_are_not_all_there_is_not_committed(tmp_path, corpus_of_pieces):
    jobs, pieces = corpus_of_pieces(3)
    summary = attempt(OutputStore(str(tmp_path)), jobs, pieces[:-1])
    assert summary.lost == 3
    assert not list(tmp_path.glob("manifest/*/*"))


def test_a_fault_in_the_middle_makes_the_video_a_failed_row_without_masks(tmp_path, corpus_of_pieces):
    from dataclasses import replace

    jobs, pieces = corpus_of_pieces(3)
    pieces = [
        replace(p, body=None, fault=f"fault {p.order}") if p.video == "v002" and p.order < 2 else p for p in pieces
    ]
    attempt(OutputStore(str(tmp_path)), jobs, pieces[::-1])
    (name, data), (masks, rows) = (
        (n, (tmp_path / n).read_bytes())
        for n in OutputStore(str(tmp_path)).below("manifest") + OutputStore(str(tmp_path)).below("masks")
    )
    table = read(data, name, ["video", "status", "reason", "frames"]).to_pylist()
    assert table[2] == {"video": "v002", "status": "failed", "reason": "fault 0", "frames": 0}
    assert set(read(rows, masks, ["video"])["video"].to_pylist()) == {"v001"}


def test_shards_with_failures_are_done_again_when_asked(tmp_path, corpus_of_pieces):
    jobs, pieces = corpus_of_pieces(12)
    attempt(OutputStore(str(tmp_path)), jobs, pieces)
    before = files(tmp_path)
    ledger = Ledger(OutputStore(str(tmp_path)), OPTIONS, "m", "f" * 12, formats=("parquet", "webdataset"), shard_size=4)
    assert ledger.forget_failed() == 2
    assert len(ledger.done()) == 4
    attempt(OutputStore(str(tmp_path)), jobs, pieces)
    assert files(tmp_path) == before


def test_another_question_needs_another_folder(tmp_path):
    Ledger(OutputStore(str(tmp_path)), OPTIONS, "m", "f" * 12)
    with pytest.raises(DatasetError, match="weights"):
        Ledger(OutputStore(str(tmp_path)), OPTIONS, "m", "e" * 12)
    with pytest.raises(DatasetError, match="options"):
        Ledger(OutputStore(str(tmp_path)), Options("m", Request(rate=3.0)), "m", "f" * 12)


def test_another_question_is_refused_by_an_object_store_too():
    root = "memory://ledger/asked"
    Ledger(OutputStore(root), OPTIONS, "m", "f" * 12)
    with pytest.raises(DatasetError, match="options"):
        Ledger(OutputStore(root), Options("m", Request(rate=3.0)), "m", "f" * 12)


def test_slices_share_the_videos_without_overlap():
    jobs = [VideoJob(f"v{i}", "") for i in range(50)]
    parts = [in_slice(jobs, i, 3) for i in range(3)]
    assert sorted(j.video for part in parts for j in part) == sorted(j.video for j in jobs)
    assert all(parts)
    with pytest.raises(ValueError, match="slice"):
        in_slice(jobs, 3, 3)


def test_a_manifest_that_is_none_of_ours_is_named(tmp_path):
    ledger = Ledger(OutputStore(str(tmp_path)), OPTIONS, "m", "f" * 12)
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "x.parquet").write_bytes(b"other")
    with pytest.raises(DatasetError, match=r"x\.parquet"):
        ledger.done()


def test_an_object_store_keeps_the_same_bytes(tmp_path, corpus_of_pieces):
    jobs, pieces = corpus_of_pieces(6)
    attempt(OutputStore(str(tmp_path)), jobs, pieces)
    remote = OutputStore("memory://ledger/out")
    attempt(remote, jobs, pieces)
    found = {
        n: d for folder in ("manifest", "masks", "webdataset") for n, d in remote.read(remote.below(folder)).items()
    }
    assert found == {n: d for n, d in files(tmp_path).items() if n != "run.json"}


def test_what_a_killed_writer_left_is_no_file_and_goes_with_the_next_write(tmp_path):
    store = OutputStore(str(tmp_path))
    store.put("masks/a.parquet", b"1")
    (tmp_path / "masks" / ".a.parquet.xyz.part").write_bytes(b"half")
    assert store.names("masks") == ["masks/a.parquet"]
    store.put("masks/a.parquet", b"2")
    assert [p.name for p in (tmp_path / "masks").iterdir()] == ["a.parquet"]


def test_many_that_write_one_name_at_once_all_succeed(tmp_path):
    store = OutputStore(str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda i: store.put("run.json", b"%d" % i * 1000), range(300)):
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert len(set((tmp_path / "run.json").read_bytes().decode().split("x"))) == 1
