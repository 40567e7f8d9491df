"""`segment --resume`: the same bytes, with the model asked for what is missing alone."""

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest

import sonomask
from sonomask.api import load_fast
from sonomask.cli.main import main
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.errors import MediaError
from sonomask.inference.finish import Maps
from sonomask.inference.journal import Journal

FORMATS = ("overlay", "masks", "npz", "jsonl")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, scene(3, size=(64, 96), seconds=22), 8)
    return path


@pytest.fixture(scope="module", params=["avs_mini.synthetic", "world.real"])
def model(request):
    return load_fast(request.param, "cpu", "onnx")


class Counting:
    """A scorer that counts its calls, and dies at one of them."""

    def __init__(self, scorer, dies=-1):
        self.scorer, self.dies, self.calls = scorer, dies, 0

    def __getattr__(self, name):
        return getattr(self.scorer, name)

    def to(self, _device):
        return self

    def asked(self, *_args, **_more):
        return self

    def __call__(self, *args, **more):
        if self.calls == self.dies:
            raise KeyboardInterrupt
        self.calls += 1
        return self.scorer(*args, **more)


def digest(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".npz"
    }


def run(clip, out, model, **more):
    return sonomask.segment(clip, out, model, rate=2.0, formats=FORMATS, resume=True, **more)


def test_a_run_that_was_killed_goes_on_and_writes_the_same_bytes(clip, model, tmp_path):
    whole = Counting(model)
    sonomask.segment(clip, tmp_path / "plain", whole, rate=2.0, formats=FORMATS)
    with pytest.raises(KeyboardInterrupt):
        run(clip, tmp_path / "out", Counting(model, dies=whole.calls - 1))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.resume"]
    rest = Counting(model)
    result = run(clip, tmp_path / "out", rest)
    assert 0 < rest.calls < whole.calls
    assert result.frames == 44
    assert digest(tmp_path / "out") == digest(tmp_path / "plain")
    ours, theirs = (np.load(tmp_path / name / "clip.npz")["probability"] for name in ("out", "plain"))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("change", ["threshold", "file", "model", "damaged"])
def test_what_is_of_another_run_is_not_used(change, clip, tmp_path, caplog):
    model = load_fast("avs_mini.synthetic", "cpu", "onnx")
    source = tmp_path / "clip.mp4"
    source.write_bytes(clip.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out", Counting(model, dies=2))
    more = {}
    if change == "file":
        source.unlink()
        write_video(source, scene(4, size=(64, 96), seconds=12), 8)
    elif change == "threshold":
        more = {"threshold": 0.7}
    elif change == "model":
        model = load_fast("world.real", "cpu", "onnx")
    else:
        for path in (tmp_path / "out").rglob("*.npz"):
            path.write_bytes(path.read_bytes()[:-50])
    with caplog.at_level(logging.WARNING):
        run(source, tmp_path / "out", model, **more)
    assert "can't be read" in caplog.text if change == "damaged" else "starts anew" in caplog.text
    sonomask.segment(source, tmp_path / "plain", model, rate=2.0, formats=FORMATS, **more)
    assert digest(tmp_path / "out") == digest(tmp_path / "plain")


def test_what_is_there_already_is_left_out(clip, tmp_path, capsys, caplog):
    words = ["segment", str(clip), "--out", str(tmp_path), "--model", "avs_mini.synthetic", "--rate", "1", "--resume"]
    assert main([*words, "--format", "jsonl"]) == 0
    before = (tmp_path / "clip.jsonl").stat().st_mtime_ns
    assert main([*words, "--format", "jsonl", "npz"]) == 0
    assert (tmp_path / "clip.npz").is_file()
    assert (tmp_path / "clip.jsonl").stat().st_mtime_ns == before
    capsys.readouterr()
    assert main([*words, "--format", "jsonl", "npz"]) == 0
    assert "there already" in caplog.text + capsys.readouterr().err


def test_two_runs_do_not_share_a_journal(tmp_path):
    with (
        Journal(tmp_path / "a.resume", {}),
        pytest.raises(MediaError, match="another run"),
        Journal(tmp_path / "a.resume", {}),
    ):
        pass


def test_a_full_disk_ends_the_journal_not_the_run(tmp_path, monkeypatch, caplog):
    def refuse(*_args, **_more):
        raise OSError(28, "No space left on device")

    maps = [[Maps(np.ones((1, 4, 5), np.float32))]]
    with Journal(tmp_path / "a.resume", {}) as journal:
        monkeypatch.setattr(np, "savez", refuse)
        journal.append(maps, None)
        journal.append(maps, None)
        assert caplog.text.count("No space left") == 1


@pytest.mark.parametrize("values", [[0.0, -0.0, 1e-40, 3e38], [np.inf, -np.inf, np.nan, 1.5]])
def test_maps_come_back_bit_by_bit(values, tmp_path):
    rng = np.random.default_rng(0)
    scores = np.concatenate([np.array(values, np.float32), rng.normal(scale=9, size=26).astype(np.float32)]).reshape(
        2, 3, 5
    )
    seen, heard = rng.integers(0, 9, (3, 5)).astype(np.uint8), rng.random(7, np.float32)
    journal = Journal(tmp_path / "a", {}).__enter__()
    journal.append([[Maps(scores, None, None, heard, seen)] * 2] * 3, np.arange(3, dtype=np.float32))
    journal.__exit__(KeyboardInterrupt, None, None)  # left by an error, it keeps its folder
    with Journal(tmp_path / "a", {}) as journal:
        maps, past = journal.next()
        assert journal.next() is None
    assert [len(phase) for phase in maps] == [2, 2, 2]
    assert maps[2][1].scores.tobytes() == scores.tobytes()
    np.testing.assert_array_equal(maps[0][0].seen, seen)
    np.testing.assert_array_equal(maps[0][0].heard, heard)
    assert maps[0][0].attention is None
    np.testing.assert_array_equal(past, [0, 1, 2])


@pytest.mark.parametrize("options", [{"rate": "auto"}, {"source": "https://a.org/x.mp4"}])
def test_what_may_differ_the_next_time_is_refused(options, clip, tmp_path):
    source = options.pop("source", clip)
    with pytest.raises((ValueError, MediaError), match=r"Give a number|no file|can't be|refused"):
        sonomask.segment(source, tmp_path, "avs_mini.synthetic", resume=True, **options)


def test_the_folder_lies_beside_an_output_that_is_named(clip, tmp_path):
    model, words = load_fast("avs_mini.synthetic", "cpu", "onnx"), {"rate": 1.0, "resume": True}
    out = tmp_path / "result.mp4"
    with pytest.raises(KeyboardInterrupt):
        sonomask.segment(clip, out, Counting(model, dies=2), stem=out / "clip", **words)
    assert [path.name for path in tmp_path.iterdir()] == ["result.resume"]
    assert sonomask.segment(clip, out, model, stem=out / "clip", **words).files == {"overlay": out}
    assert [path.name for path in tmp_path.iterdir()] == ["result.mp4"]


def test_a_video_that_comes_anew_each_time_is_refused(clip, tmp_path, capsys):
    with clip.open("rb") as file, pytest.raises(ValueError, match="open file"):
        sonomask.segment(file, tmp_path, "avs_mini.synthetic", resume=True)
    assert main(["segment", "-", "--resume", "--out", str(tmp_path)]) == 2
    assert "expected videos in files" in capsys.readouterr().err


def test_a_disk_that_is_full_at_the_start_is_told_and_leaves_nothing_open(tmp_path, monkeypatch):
    def refuse(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(MediaError, match="No space left"), Journal(tmp_path / "a.resume", {}):
        pass
    monkeypatch.undo()
    with Journal(tmp_path / "a.resume", {}):  # its lock was given back
        pass


def test_a_network_whose_weights_are_not_known_is_refused(clip, tmp_path):
    with pytest.raises(ValueError, match="same weights"):
        sonomask.segment(clip, tmp_path, sonomask.load("avs_mini.synthetic"), rate=1.0, resume=True)
    assert list(tmp_path.iterdir()) == []
