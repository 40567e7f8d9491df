"""Shards hold what the data set holds; processes share them without overlap; a stopped epoch goes on in its middle."""

import io
import json
import tarfile
from itertools import chain

import corpus
import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from sonomask.cli.main import main
from sonomask.data.avsbench import AVSBench
from sonomask.data.drawn.world import SyntheticScenes
from sonomask.data.sharded import ShardBatches, ShardsDataModule
from sonomask.data.shards import ShardedClips, _spans, write_shards
from sonomask.data.tree import write_tree
from sonomask.errors import DatasetError


@pytest.fixture(scope="module")
def scenes():
    return SyntheticScenes(7, size=(32, 32))


@pytest.fixture(scope="module")
def root(scenes, tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    write_shards(scenes, root / "train", clips=3)
    return root


def test_a_clip_of_a_shard_is_that_of_the_data_set(scenes, root):
    clips = ShardedClips(root / "train")
    assert clips.sizes == [3, 3, 1]
    for one, two in zip(scenes, clips, strict=True):
        torch.testing.assert_close(one.images, two.images, atol=0.5 / 255 / 0.224, rtol=0)
        assert torch.equal(one.logmel, two.logmel)
        assert torch.equal(one.masks, two.masks)
        assert (one.name, one.category, one.labelled.tolist()) == (two.name, two.category, two.labelled.tolist())


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_the_shards(scenes, root):
    samples = list(
        webdataset.WebDataset(str(root / "train" / "shard-{000000..000002}.tar"), shardshuffle=False).decode()
    )
    assert [sample["clip.json"]["name"] for sample in samples] == [clip.name for clip in scenes]
    assert samples[0]["logmel.npy"].shape == (5, 1, 96, 64)


def test_the_command_makes_shards_of_each_split_of_a_tree(tmp_path):
    write_tree(tmp_path / "tree", preset="tiny", subsets=("ms3",))
    out = tmp_path / "out"
    assert main(["prepare", str(tmp_path / "tree"), str(out), "--shards", "2", "--subset", "ms3", "--size", "32"]) == 0
    assert {p.name for p in out.iterdir()} == {"train", "val", "test"}
    whole = AVSBench(tmp_path / "tree", "ms3", "train", size=(32, 32))
    assert [clip.name for clip in ShardedClips(out / "train")] == [clip.name for clip in whole]


def test_shards_elsewhere_are_copied_when_needed(root, tmp_path):
    fs = pytest.importorskip("fsspec").filesystem("memory")
    fs.put(str(root / "train") + "/", "memory://shards/train/", recursive=True)
    with pytest.raises(DatasetError, match="cache"):
        ShardedClips("memory://shards/train")
    clips = ShardedClips("memory://shards/train", tmp_path)
    assert torch.equal(clips[4].masks, ShardedClips(root / "train")[4].masks)
    assert [p.name for p in tmp_path.iterdir()] == ["shard-000001.tar"]


def test_a_writer_that_was_stopped_goes_on(scenes, root, tmp_path):
    write_shards(scenes, tmp_path / "t", clips=3)
    for name in ("index.json", "shard-000002.tar"):
        (tmp_path / "t" / name).unlink()
    (tmp_path / "t" / "shard-000002.part").write_bytes(b"half")
    write_shards(scenes, tmp_path / "t", clips=3)
    for path in (root / "train").iterdir():
        assert (tmp_path / "t" / path.name).read_bytes() == path.read_bytes()


def epoch(number, sizes, **place):
    batches = ShardBatches(sizes, 2, seed=3, **place)
    batches.set_epoch(number)
    return list(batches)


def test_one_process_sees_every_clip_once_and_another_order_in_each_epoch():
    one, two = (list(chain(*epoch(n, [3, 4, 3], together=2))) for n in (0, 1))
    assert sorted(one) == sorted(two) == list(range(10))
    assert one != two
    assert one == list(chain(*epoch(0, [3, 4, 3], together=2)))


@pytest.mark.parametrize("number", range(4))
def test_processes_share_no_shard_and_take_as_many_steps(number):
    sizes, world = [4, 4, 4, 4, 4, 1], 3
    mine = [epoch(number, sizes, rank=r, world=world) for r in range(world)]
    assert {len(batches) for batches in mine} == {len(ShardBatches(sizes, 2, world=world))}
    shards = [{clip // 4 for clip in chain(*batches)} for batches in mine]
    assert not any(a & b for i, a in enumerate(shards) for b in shards[:i])


def test_fewer_shards_than_processes_are_refused():
    with pytest.raises(DatasetError, match="2 shards for 4 processes"):
        ShardBatches([9, 9], 1, world=4)


def test_a_loader_goes_on_in_the_middle_of_an_epoch(root):
    def loader(state=None):
        made = ShardsDataModule(str(root), batch_size=2, workers=0).train_dataloader()
        if state:
            made.load_state_dict(state)
        made.batch_sampler.set_epoch(1)
        return made

    whole = [batch.names for batch in loader()]
    stopped = loader()
    given = iter(stopped)
    next(given)
    assert [batch.names for batch in loader(stopped.state_dict())] == whole[1:]


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format": 9, "shards": []}', '{"format": 1, "shards": [{"name": "../x", "clips": []}]}']
)
def test_an_index_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(DatasetError):
        ShardedClips(tmp_path)


def respoilt(root, target, part, content):
    """A copy of the first shard in which one part of the first clip is another."""
    target.mkdir()
    index = json.loads((root / "train" / "index.json").read_text())
    with (
        tarfile.open(root / "train" / "shard-000000.tar") as read,
        tarfile.open(target / "shard-000000.tar", "w") as out,
    ):
        for member in read:
            data = read.extractfile(member).read()
            if member.name == f"00000000.{part}":
                data = content(data)
            entry = tarfile.TarInfo(member.name)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
    index["shards"] = [{"name": "shard-000000.tar", "clips": _spans(target / "shard-000000.tar")}]
    (target / "index.json").write_text(json.dumps(index))
    return ShardedClips(target)


def encoded(kind, size=(32, 160), mode="RGB"):
    Image.new(mode, size).save(file := io.BytesIO(), kind)
    return file.getvalue()


def lying(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("part", "content", "says"),
    [
        ("frames.png", lambda _: encoded("EPS"), "can't be read"),  # Pillow would start Ghostscript
        ("frames.png", lambda _: encoded("JPEG"), "can't be read"),
        ("frames.png", lambda _: corpus.blank_png(8000, 8000), "limit"),
        ("masks.png", lambda _: corpus.blank_png(8000, 8000), "limit"),
        ("logmel.npy", lambda _: lying((2**40, 1, 96, 64)), "log-mel"),
        ("logmel.npy", lambda _: lying((5, 1, 96, 64)), "log-mel"),
        (
            "logmel.npy",
            lambda data: data.replace(b"{", b"(", 1),
            "head",
        ),  # NumPy tries it as Python 2 would have written it
        ("logmel.npy", lambda data: data.replace(b"NUMPY", b"NUMPI", 1), "damaged"),
        ("clip.json", lambda _: b"[" * 10**5, "damaged"),
        ("clip.json", lambda _: b'{"valid": [], "labelled": []}', "seconds"),
        ("clip.json", lambda data: data.replace(b'"valid"', b'"value"'), "damaged"),
        ("clip.json", lambda data: data.replace(b'"labelled": [', b'"labelled": [true, '), "belong"),
        ("clip.json", lambda data: data.replace(b'"valid": [', b'"valid": [true, true, '), "unflatten"),
        ("clip.json", lambda data: data.replace(b'"valid": [', b'"valid": [[').replace(b"]", b"]]"), "damaged"),
        ("clip.json", lambda data: data.replace(b'"name": ', b'"name": {}, "name of": '), "belong"),
        ("frames.png", lambda _: encoded("PNG", (16, 160)), "belong"),
        ("logmel.npy", lambda _: lying((4, 1, 96, 64)) + bytes(4 * 96 * 64 * 4), "belong"),
    ],
)
def test_a_part_that_is_not_what_it_should_be_is_refused(part, content, says, root, tmp_path):
    clips = respoilt(root, tmp_path / "bad", part, content)
    with pytest.raises(DatasetError, match=says):
        clips[0]
    assert clips[1].name


def test_an_index_that_points_behind_its_shard_is_refused(root, tmp_path):
    clips = respoilt(root, tmp_path / "bad", "clip.json", bytes)
    clips.shards[0] = (clips.shards[0][0], [(0, 2**50)] * 3)
    with pytest.raises(DatasetError, match="outside"):
        clips[0]


def test_a_part_with_holes_takes_no_memory(tmp_path):
    tar = corpus.sparse_tar("key.clip.json", 2**40)
    (tmp_path / "shard-000000.tar").write_bytes(tar)
    (tmp_path / "index.json").write_text(
        json.dumps({"format": 1, "shards": [{"name": "shard-000000.tar", "clips": [[0, len(tar)]]}]})
    )
    with pytest.raises(DatasetError, match="holes"):
        ShardedClips(tmp_path)[0]
