"""The copy of a data set that training makes unasked: only where it fits, said, and never an old one."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from sonomask.data import cache, copies
from sonomask.data.avsbench import AVSBench
from sonomask.data.datamodule import AVSBenchDataModule
from sonomask.data.tree import Preset, write_tree


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    write_tree(root, preset=Preset((3, 2, 2), 32, 2), subsets=("ms3",))
    return root


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SONOMASK_CACHE", str(tmp_path / "copies"))
    return tmp_path / "copies" / "clips"


def module(root, *, training=True, **options):
    made = AVSBenchDataModule(str(root), "ms3", size=32, batch_size=2, workers=0, **options)
    if training:
        made.trainer = SimpleNamespace(global_rank=0, world_size=1)
        made.prepare_data()
    return made


def held(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def same(one, other):
    for a, b in zip(one.train_dataloader(), other.train_dataloader(), strict=True):
        torch.testing.assert_close(a.images, b.images)
        assert torch.equal(a.masks, b.masks)
        assert torch.equal(a.logmel, b.logmel)
        assert a.names == b.names


def test_training_reads_a_copy_that_holds_the_same(tree, folder, monkeypatch):
    said = []
    monkeypatch.setattr("sonomask.data.copies.rank_zero_info", said.append)
    made = module(tree)
    assert [name.split("_")[:2] for name in held(folder)] == [["ms3", "train"], ["ms3", "val"]]
    assert isinstance(made.dataset("train"), cache.CachedClips)
    assert "3 clips are copied to" in said[0]
    assert "--data.cache off" in said[0]
    same(made, module(tree, training=False, cache="off"))
    said.clear()
    module(tree)
    assert not said  # it is there


def test_a_changed_file_makes_a_new_copy_and_the_old_one_goes(tree, folder):
    module(tree)
    before = held(folder)
    mask = next((tree / "Multi-sources").rglob("gt_masks/train/*/*_1.png"))
    Image.new("L", (32, 32), 255).save(mask)
    made = module(tree)
    after = held(folder)
    assert len(after) == 2
    assert len(set(before) & set(after)) == 1  # that of the validation split
    same(made, module(tree, training=False, cache="off"))
    assert any((clip.masks[0] == 1).all() for clip in (made.dataset("train")[i] for i in range(3)))


def test_nothing_is_copied_where_it_does_not_fit(tree, folder, monkeypatch):
    clips = AVSBench(tree, "ms3", "train", size=(32, 32))
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * clips.nbytes() - 1))
    made = module(tree)
    assert not any("train" in name for name in held(folder))
    assert isinstance(made.dataset("train"), AVSBench)


def test_the_size_is_told_rightly(tree, tmp_path):
    clips = AVSBench(tree, "ms3", "train", size=(32, 32))
    written = cache.write_cache(clips, tmp_path / "c", workers=1)
    size = sum(path.stat().st_size for path in written.iterdir())
    assert clips.nbytes() <= size < clips.nbytes() + 5000  # heads and names


@pytest.mark.parametrize(("training", "options"), [(False, {}), (True, {"cache": "off"})])
def test_nothing_is_copied_for_evaluation_or_where_it_is_switched_off(training, options, tree, folder):
    made = module(tree, training=training, **options)
    assert isinstance(made.dataset("train"), AVSBench)
    assert not held(folder)


def test_a_folder_that_takes_no_copy_costs_a_warning(tree, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    said = []
    monkeypatch.setattr("sonomask.data.copies.write_cache", full)
    monkeypatch.setattr("sonomask.data.copies.rank_zero_warn", said.append)
    made = module(tree)
    assert "could not be copied" in said[0]
    assert isinstance(made.dataset("train"), AVSBench)
    assert not held(folder)
