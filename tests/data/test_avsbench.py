"""AVSBench trees: reading, doctor, cache, and what is wrong with them."""

import csv
import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from sonomask.avsbench.palette import palette
from sonomask.data.avsbench import AVSBench, binary_mask, find, items, semantic_mask
from sonomask.data.cache import CachedClips, write_cache
from sonomask.data.doctor import examine
from sonomask.data.drawn.world import SyntheticScenes
from sonomask.data.sound import patches_of
from sonomask.data.tree import Preset, write_tree
from sonomask.errors import DatasetError
from sonomask.safe_reading.pickled_logmel import read_logmel


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world") / "tree"
    write_tree(out, preset=Preset((3, 3, 3), 64, 8))
    return out


@pytest.fixture
def tree(world, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(world, tmp_path / "tree")


@pytest.mark.parametrize(("subset", "seconds"), [("s4", 5), ("ms3", 5), ("avss", 10)])
def test_a_clip_has_the_shapes_that_models_take(subset, seconds, world):
    clip = AVSBench(world, subset, "test", size=(48, 32))[2]
    assert clip.images.shape == (seconds, 3, 48, 32)
    assert clip.logmel.shape == (seconds, 1, 96, 64)
    assert clip.masks.shape == (seconds, 48, 32)


def test_what_is_read_is_what_the_world_drew(world):
    clip = AVSBench(world, "ms3", "test", size=(64, 64))[0]
    truth = SyntheticScenes(1, size=(64, 64), kind="multi", split="test")[0]
    assert (clip.masks != truth.masks).float().mean() < 0.01  # the moment is that of a frame at 8 per second
    assert (clip.logmel - truth.logmel).abs().max() < 0.1


@pytest.mark.parametrize(("subset", "labelled"), [("s4", 1), ("ms3", 5)])
def test_training_clips_of_one_source_are_labelled_in_the_first_second(subset, labelled, world):
    assert AVSBench(world, subset, "train")[0].labelled.sum() == labelled


def test_a_short_semantic_clip_is_padded_and_says_so(world):
    clips = AVSBench(world, "avss", "val", size=(64, 64))
    short, long = clips[0], clips[2]  # v1s, v2
    assert short.valid.tolist() == [True] * 5 + [False] * 5
    assert (short.images[5:] == 0).all()
    assert (short.masks[5:] == 0).all()
    assert long.valid.all()


def test_the_tree_is_found_at_any_depth_but_only_one(world, tmp_path):
    shutil.copytree(world, tmp_path / "a" / "b")
    assert len(items(tmp_path, "s4")) == 9
    shutil.copytree(world, tmp_path / "c")
    with pytest.raises(DatasetError, match="expected one"):
        find(tmp_path, "s4")


def test_columns_are_known_by_name_or_by_position(tree):
    table, _ = find(tree, "s4")
    rows = list(csv.reader(table.read_text().splitlines()))
    table.write_text("\n".join(",".join(r) for r in [["a", "b", "c", "d"], *rows[1:]]))
    by_place = items(tree, "s4")
    order = [3, 0, 2, 1]
    table.write_text("\n".join(",".join(row[i] for i in order) for row in rows))
    assert items(tree, "s4") == by_place


@pytest.mark.parametrize("name", ["../../secret", "a/b", "..", "a\\b"])
def test_a_name_that_leaves_the_folder_is_refused(name, tree):
    table, _ = find(tree, "ms3")
    table.write_text(f"name,split\n{name},test\n")
    with pytest.raises(DatasetError, match="leave the folder"):
        items(tree, "ms3")


def test_a_row_without_its_files_is_refused_or_left_out(tree):
    clips = AVSBench(tree, "ms3", "test")
    clips.items[0].mask(3).unlink()
    with pytest.raises(DatasetError, match="1 of 3 clips"):
        AVSBench(tree, "ms3", "test")
    rest = AVSBench(tree, "ms3", "test", skip_missing=True)
    assert (len(rest), rest.skipped) == (2, 1)


def test_an_empty_split_is_refused(tree):
    table, _ = find(tree, "ms3")
    table.write_text("name,split\n")
    with pytest.raises(DatasetError, match="no clip"):
        AVSBench(tree, "ms3", "test")


def test_sound_comes_from_wav_pickle_or_video_alike(tree):
    clips = AVSBench(tree, "ms3", "test")
    item = clips.items[0]
    target = item.sounds()["pkl"]
    target.parent.mkdir(parents=True)
    target.write_bytes(pickle.dumps(patches_of(item.sounds()["wav"])[:5].requires_grad_()))
    for other in clips.items[1:]:
        shutil.copy(target, other.sounds()["pkl"])
    wav, pkl, video = (AVSBench(tree, "ms3", "test", sound=kind)[0].logmel for kind in ("wav", "pkl", "video"))
    assert torch.equal(wav, pkl)
    assert (wav - video).abs().mean() < 0.3  # AAC


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "L 0/1"])
def test_a_mask_is_white_in_every_mode(mode):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 1
    picture = Image.fromarray(mask) if mode == "L 0/1" else Image.fromarray(mask * 255).convert(mode)
    assert np.array_equal(binary_mask(picture), mask)


def test_colours_become_classes_and_unknown_ones_background():
    colours = palette(71)
    picture = np.concatenate([colours, [[1, 2, 3]]]).astype(np.uint8)[None]
    assert semantic_mask(Image.fromarray(picture)).tolist() == [[*range(71), 0]]


def test_the_centre_is_cut_as_the_reference_cuts_it(golden):
    from sonomask.data.avsbench import _resize

    for name, about in json.loads((golden / "avss_image_ops.json").read_text())["crop_train"].items():
        wide, high = (int(n) for n in name.split("x"))
        ramp = Image.fromarray(np.tile(np.arange(wide) * 255 // wide, (high, 1)).astype(np.uint8))
        ours = np.asarray(_resize(ramp, (224, 224), Image.Resampling.BILINEAR, crop=True))
        left, size = about["crop_left"], tuple(about["resized"])
        theirs = np.asarray(ramp.resize(size, Image.Resampling.BILINEAR))[
            about["crop_top"] : about["crop_top"] + 224, left : left + 224
        ]
        assert np.array_equal(ours, theirs)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda: pickle.dumps(Evil()), "posix.mkdir, which no file of tensors needs"),
        (lambda: pickle.dumps([1, 2]), "expected log-mel"),
        (lambda: pickle.dumps(torch.zeros(5, 96, 64)), "expected log-mel"),
        (lambda: b"garbage", "no pickled tensor"),
        (lambda: pickle.dumps(torch.zeros(5, 1, 96, 64))[:500], "is no pickled tensor|cut short"),
        (lambda: b"0" * (9 * 2**20), "larger"),
    ],
)
def test_a_pickle_can_make_a_tensor_and_nothing_else(content, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(content())
    with pytest.raises(DatasetError, match=says):
        read_logmel(tmp_path / "a.pkl")
    assert not (tmp_path / "pwned").exists()


def test_nan_in_a_sound_is_refused_by_its_file(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(torch.full((5, 1, 96, 64), torch.nan)))
    with pytest.raises(DatasetError, match=r"a\.pkl: holds NaN"):
        patches_of(tmp_path / "a.pkl")


def test_the_cached_form_holds_the_same_clips(world, tmp_path):
    clips = AVSBench(world, "avss", "val", size=(32, 32))
    cached = CachedClips(write_cache(clips, tmp_path / "cache"))
    for ours, theirs in zip(clips, cached, strict=False):
        for name in ("logmel", "masks", "labelled", "valid"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))
        assert (ours.images - theirs.images).abs().max() < 1e-5
        assert (ours.name, ours.category) == (theirs.name, theirs.category)


def test_a_damaged_cache_is_refused(world, tmp_path):
    folder = write_cache(AVSBench(world, "s4", "val", size=(32, 32)), tmp_path / "cache")
    (folder / "masks.npy").unlink()
    with pytest.raises(DatasetError, match="made again"):
        CachedClips(folder)


def test_a_healthy_tree_is_said_to_be_healthy(world):
    found = examine(world)
    assert [d.subset for d in found] == ["s4", "ms3", "avss"]
    assert all(d.healthy and d.counts == d.whole for d in found)


def spoil(tree, kind):
    item = items(tree, "ms3")[0]
    table, _ = find(tree, "ms3")
    if kind == "missing":
        item.frame(0).unlink()
    elif kind == "misnamed":
        item.frame(0).rename(item.frame(0).with_suffix(".jpg"))
    elif kind == "unreadable":
        item.mask(1).write_bytes(b"no picture")
    elif kind == "duplicate row":
        table.write_text(table.read_text() + f"{item.name},{item.split}\n")
    elif kind == "in two splits":
        table.write_text(table.read_text() + f"{item.name},test\n")
    elif kind == "mask size":
        Image.new("L", (10, 20)).save(item.mask(0))
    elif kind == "label value":
        Image.new("L", (64, 64), 77).save(item.mask(0))
    elif kind == "sound":
        item.sounds()["wav"].write_bytes(b"RIFF")
    elif kind == "same picture":
        other = items(tree, "ms3")[1]
        shutil.copy(item.frame(0), other.frame(0))
        shutil.copy(item.sounds()["wav"], other.sounds()["wav"])


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "misnamed",
        "unreadable",
        "duplicate row",
        "in two splits",
        "mask size",
        "label value",
        "sound",
        "same picture",
    ],
)
def test_the_doctor_finds_what_is_wrong_and_says_what_to_do(kind, tree):
    spoil(tree, kind)
    (diagnosis,) = examine(tree, ["ms3"])
    assert kind in {finding.kind for finding in diagnosis.findings}
    assert not diagnosis.healthy
    assert f"{kind}: " in diagnosis.markdown()
