"""A data set from raw videos."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sonomask.data.avsbench import AVSBench, items
from sonomask.data.drawn.world import scene
from sonomask.data.prepare import prepare
from sonomask.data.tree import write_video
from sonomask.errors import DatasetError


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for i in range(2):
        write_video(folder / f"v{i}.mp4", scene(i, size=(64, 96)), 8)
    (folder / "broken.mp4").write_bytes(b"no video")
    write_video(folder / "short.mp4", scene(9, size=(64, 96), seconds=2), 8)
    return folder


@pytest.fixture
def masks(tmp_path):
    for i in range(2):
        (tmp_path / "masks" / f"v{i}").mkdir(parents=True)
        for k in range(1, 6):
            Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(tmp_path / "masks" / f"v{i}" / f"{k}.png")
    return tmp_path / "masks"


def test_what_can_be_made_is_made_and_the_rest_is_named(videos, masks, tmp_path):
    result = prepare(videos, tmp_path / "out", masks=masks, size=64, workers=0)
    assert result.made == 2
    assert set(result.failed) == {"broken", "short"}
    clip = AVSBench(tmp_path / "out", "ms3", "test", size=(64, 64))[0]
    assert (clip.masks.sum((1, 2)) == 64).all()


def test_a_second_run_makes_nothing_anew_and_mends_what_is_gone(videos, masks, tmp_path):
    prepare(videos, tmp_path / "out", masks=masks, workers=0)
    assert prepare(videos, tmp_path / "out", masks=masks, workers=0).made == 0
    items(tmp_path / "out", "ms3")[0].frame(2).unlink()
    again = prepare(videos, tmp_path / "out", masks=masks, workers=0)
    assert (again.made, again.kept) == (1, 1)


def test_a_run_with_nothing_to_make_sweeps_what_a_killed_one_left(videos, masks, tmp_path):
    prepare(videos, tmp_path / "tree", masks=masks, workers=0)
    base = items(tmp_path / "tree", "ms3")[0].base
    (base / ".sonomask-x").mkdir()
    (base / ".sonomask-x" / ".lock").write_text("")
    assert prepare(videos, tmp_path / "tree", masks=masks, workers=0).made == 0
    assert not list((tmp_path / "tree").rglob(".sonomask-*"))


def test_several_processes_make_the_same_tree(videos, tmp_path):
    for name, workers in (("one", 0), ("two", 2)):
        prepare(videos, tmp_path / name, size=32, workers=workers)
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()}
        for n in ("one", "two")
    )
    assert one == two


def test_a_table_with_categories_makes_the_layout_of_s4(videos, tmp_path):
    (tmp_path / "in.csv").write_text(f"video,split,category\n{videos}/v0.mp4,train,drum\n{videos}/v1.mp4,test,bell\n")
    assert prepare(tmp_path / "in.csv", tmp_path / "out", workers=0).made == 2
    found = items(tmp_path / "out", "s4")
    assert [(i.name, i.split, i.category) for i in found] == [("v0", "train", "drum"), ("v1", "test", "bell")]


@pytest.mark.parametrize("row", ["v.mp4,test,..", "v.mp4,dev,a", ",test,a"])
def test_a_bad_table_is_refused(row, tmp_path):
    (tmp_path / "in.csv").write_text(f"video,split,category\n{row}\n")
    with pytest.raises(DatasetError):
        prepare(tmp_path / "in.csv", tmp_path / "out", workers=0)


def test_an_empty_folder_is_refused(tmp_path):
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    Path(tmp_path / "none").mkdir()
    with pytest.raises(DatasetError, match="expected videos"):
        prepare(tmp_path / "none", tmp_path / "out")
