"""Composed scenes: what is labelled sounds, what sounds is labelled, and no group crosses the splits."""

import numpy as np
import pytest
import torch

from sonomask.data.composed.compose import CompositeRules, CompositeScenes, compose
from sonomask.data.composed.library import Library
from sonomask.errors import DatasetError


@pytest.fixture(scope="module")
def library(small_tables):
    return Library.read(*small_tables)


def test_no_group_crosses_the_splits_and_nothing_is_lost(library):
    parts = [library.split(s) for s in ("train", "val", "test")]
    groups = [{p.group for p in (*part.pictures, *part.backgrounds, *part.recordings)} for part in parts]
    assert len(groups[0] | groups[1] | groups[2]) == sum(map(len, groups))
    assert sum(len(p.pictures) for p in parts) == len(library.pictures) == 30
    assert sum(len(p.recordings) for p in parts) == len(library.recordings)
    assert all(part.pictures and part.recordings for part in parts)


def test_an_object_is_labelled_in_the_seconds_in_which_its_own_sound_plays(library):
    rules = CompositeRules(objects=(0, 1, 1), noise=0, offscreen=0, whole=0, same=0)
    seen = 0
    for seed in range(40):
        made = compose(library, seed, size=(64, 64), rules=rules)
        wave = made.waveform()
        for second in range(made.seconds):
            _, mask, _ = made.frame(second + 0.5)
            middle = wave[second * 16000 + 3000 : second * 16000 + 13000]
            loud = np.sqrt(np.square(middle).mean()) > 0.01
            assert loud == made.sounding[second].any()
            assert not mask.any() or loud
            seen += bool(mask.any())
    assert seen > 40


def test_the_label_is_the_thing_that_sounds_and_no_other(library):
    rules = CompositeRules(objects=(0, 0, 1), offscreen=0, whole=0, same=0, together=0)
    colours = {"person": 0, "dog": 1, "horse": 2}
    right = []
    for seed in range(60):
        made = compose(library, seed, size=(96, 96), rules=rules)
        picture, mask, _ = made.frame(2.5)
        if mask.sum() > 60:
            (heard,) = (o for o, s in zip(made.objects, made.sounding[2], strict=True) if s)
            right.append(int(picture[mask > 0].mean(0).argmax()) == colours[heard])
    assert len(right) > 15
    assert np.mean(right) > 0.95


def test_silent_kinds_never_sound_and_foreign_sounds_label_nothing(library):
    rules = CompositeRules(objects=(0, 0.5, 0.5), silence=1, offscreen=1)
    for seed in range(20):
        made = compose(library, seed, size=(32, 32), rules=rules)
        assert not made.sounding.any()
        assert not made.frame(1.5)[1].any()
    for seed in range(60):
        made = compose(library, seed, size=(32, 32))
        assert not any(s.any() for o, s in zip(made.objects, made.sounding.T, strict=True) if o == "horse")


def test_a_scene_depends_on_its_seed_alone(library):
    scenes = [CompositeScenes(library, 9, seed=s, size=(32, 32)) for s in (1, 1, 2)]
    one, same, other = (s[7] for s in scenes)
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.logmel, same.logmel)
    assert torch.equal(one.masks, same.masks)
    assert not torch.equal(one.images, other.images)


def test_truth_may_be_all_that_is_seen(library):
    clip = CompositeScenes(library, 5, size=(32, 32), truth="classes", rules=CompositeRules(objects=(0, 0, 0, 1)))[0]
    assert set(clip.masks.unique().tolist()) <= {0, 1, 2, 3}
    assert (clip.logmel == clip.logmel[0, 0, 0, 0]).all()


def test_a_pause_is_taken_out_of_a_recording(library):
    from sonomask.data.composed.library import read_recording

    assert 7000 < len(read_recording(library.recordings[0])) < 14000


@pytest.mark.parametrize("bad", ["../outside.png", "/etc/passwd"])
def test_a_table_that_points_outside_of_its_folder_is_refused(bad, small_tables, tmp_path):
    (tmp_path / "images.csv").write_text(f"image,mask,category,group\n{bad},,room,1\n")
    with pytest.raises(DatasetError, match="outside of the table's folder"):
        Library.read(tmp_path / "images.csv", small_tables[1])


def test_a_table_without_a_column_says_which(small_tables, tmp_path):
    (tmp_path / "images.csv").write_text("image,category\n")
    with pytest.raises(DatasetError, match="mask, group missing"):
        Library.read(tmp_path / "images.csv", small_tables[1])


@pytest.mark.parametrize(("name", "value"), [("silence", 1.5), ("objects", (0, 0)), ("loudness", (-10.0, -20.0))])
def test_rules_that_nothing_can_be_drawn_from_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        CompositeRules(**{name: value})


def test_compose_writes_a_tree_that_the_doctor_finds_whole(small_tables, tmp_path):
    from sonomask.cli.main import main
    from sonomask.data.avsbench import AVSBench

    out = tmp_path / "tree"
    assert main(["compose", str(small_tables[0]), str(small_tables[1]), str(out), "--preset", "tiny"]) == 0
    assert main(["doctor", str(out), "--subsets", "s4", "ms3"]) in (0, 1)  # 1: not the official counts
    clip = AVSBench(out, "s4", "test", size=(64, 64))[0]
    assert clip.masks.flatten(1).any(1).any()
    assert clip.category in ("person", "dog")


def test_the_data_module_gives_new_scenes_in_each_epoch(small_tables):
    pytest.importorskip("lightning")
    from sonomask.data.datamodule import CompositeDataModule

    module = CompositeDataModule(
        *map(str, small_tables), train=4, val=2, test=2, size=32, seconds=2, batch_size=2, workers=0
    )
    loader = module.train_dataloader()
    first = [b.images for b in loader]
    loader.batch_sampler.set_epoch(1)
    second = [b.images for b in loader]
    assert first[0].shape == (2, 2, 3, 32, 32)
    assert not any(torch.equal(a, b) for a in first for b in second)
    assert next(iter(module.val_dataloader())).images.shape == (2, 5, 3, 32, 32)


def test_compose_takes_counts_a_size_and_a_rate(small_tables, tmp_path, capsys):
    import av
    from PIL import Image

    from sonomask.cli.main import main
    from sonomask.data.avsbench import AVSBench

    out = tmp_path / "tree"
    words = ["compose", str(small_tables[0]), str(small_tables[1]), str(out), "--subsets", "ms3", "--preset", "tiny"]
    assert main([*words, "--counts", "3", "1", "2", "--size", "32", "--fps", "4"]) == 0
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        clips = AVSBench(out, "ms3", split, size=(32, 32))
        assert len(clips) == count
        with Image.open(clips.items[0].frame(0)) as picture:
            assert picture.size == (32, 32)
    for video in out.rglob("*.mp4"):
        with av.open(video) as container:
            assert container.streams.video[0].average_rate == 4
    capsys.readouterr()
    assert main([*words, "--fps", "-1"]) == 2
    assert "`fps`" in capsys.readouterr().err
    assert main([*words, "--counts", "3", "1"]) == 2
    assert "three numbers" in capsys.readouterr().err
