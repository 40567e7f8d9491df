import shutil
from pathlib import Path

import pytest

from sonomask.workspace import LOCK, sweep, workspace


def test_a_folder_is_there_within_and_gone_after(tmp_path):
    with workspace(tmp_path / "a") as folder:
        (folder / "part" / "deep").mkdir(parents=True)
        (folder / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_it_is_gone_after_an_error_too(tmp_path):
    with pytest.raises(KeyError), workspace(tmp_path / "a") as folder:
        raise KeyError(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [[], [LOCK], [LOCK, "file"]])
def test_what_a_run_left_that_was_killed_at_any_moment_is_swept(content, tmp_path):
    (tmp_path / ".sonomask-x").mkdir()
    for name in content:
        (tmp_path / ".sonomask-x" / name).write_text("")
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_lock_goes_last(tmp_path, monkeypatch):
    removed = []
    whole, rmtree = Path.unlink, shutil.rmtree
    monkeypatch.setattr(Path, "unlink", lambda path, **more: (removed.append(path.name), whole(path, **more))[1])
    monkeypatch.setattr(
        shutil, "rmtree", lambda path, **more: (removed.append(Path(path).name), rmtree(path, **more))[1]
    )
    with workspace(tmp_path / "a") as folder:
        (folder / "zz").write_text("x")
        (folder / "sub").mkdir()
    assert set(removed[:-1]) == {"zz", "sub"}
    assert removed[-1] == folder.name


def test_a_folder_that_was_swept_before_its_lock_was_there_is_made_anew(tmp_path, monkeypatch):
    made = []
    opened = Path.open

    def steal(path, *args, **more):
        if path.name == LOCK and not made:
            made.append(path.parent)
            sweep(tmp_path)
        return opened(path, *args, **more)

    monkeypatch.setattr(Path, "open", steal)
    with workspace(tmp_path / "a") as folder:
        assert folder != made[0]
        assert (folder / LOCK).is_file()
