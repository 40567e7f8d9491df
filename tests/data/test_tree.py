import csv
import json
import wave
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from sonomask.avsbench.palette import palette
from sonomask.data.drawn.world import KINDS
from sonomask.data.tree import Preset, write_tree
from sonomask.errors import DatasetError
from sonomask.media.reader import VideoReader

ONE = Preset((1, 0, 0), 32, 4)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree") / "world"
    write_tree(root, preset="tiny")
    return root


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("Single-source/s4_meta_data.csv", ["name", "start", "category", "split"]),
        ("Multi-sources/ms3_meta_data.csv", ["name", "split"]),
        ("AVSBench_semantic/metadata.csv", ["vid", "uid", "a_obj", "split", "label"]),
    ],
)
def test_each_table_has_its_columns_and_the_clips_of_all_splits(tree, table, columns):
    read = rows(tree / table)
    assert list(read[0]) == columns
    assert [r["split"] for r in read] == ["train"] * 4 + ["val"] * 2 + ["test"] * 2


def test_every_s4_clip_has_its_files(tree):
    data = tree / "Single-source/s4_data"
    for row in rows(tree / "Single-source/s4_meta_data.csv"):
        name, place = row["name"], f"{row['split']}/{row['category']}"
        masks = sorted(p.name for p in (data / "gt_masks" / place / name).iterdir())
        labelled = 1 if row["split"] == "train" else 5
        assert masks == [f"{name}_{k}.png" for k in range(1, labelled + 1)]
        assert len(list((data / "visual_frames" / place / name).iterdir())) == 5
        assert (data / f"raw_videos/{place}/{name}.mp4").is_file()
        assert (data / f"audio_wav/{place}/{name}.wav").is_file()


def test_every_ms3_clip_has_its_files(tree):
    data = tree / "Multi-sources/ms3_data"
    for row in rows(tree / "Multi-sources/ms3_meta_data.csv"):
        name, split = row["name"], row["split"]
        for k in range(1, 6):
            assert (data / f"visual_frames/{name}/{name}.mp4_{k}.png").is_file()
            assert (data / f"gt_masks/{split}/{name}/{name}_{k}.png").is_file()
        assert (data / f"raw_videos/{name}.mp4").is_file()
        assert (data / f"audio_wav/{split}/{name}.wav").is_file()


def test_every_avss_clip_has_its_files(tree):
    for row in rows(tree / "AVSBench_semantic/metadata.csv"):
        folder = tree / "AVSBench_semantic" / row["label"] / row["uid"]
        frames = 10 if row["label"] == "v2" else 5
        labelled = 1 if (row["label"], row["split"]) == ("v1s", "train") else frames
        assert sorted(p.name for p in (folder / "frames").iterdir()) == [f"{k}.jpg" for k in range(frames)]
        for kind in ("labels_rgb", "labels_semantic"):
            assert sorted(p.name for p in (folder / kind).iterdir()) == [f"{k}.png" for k in range(labelled)]
        assert (folder / "audio.wav").is_file()
        assert (folder / "video.mp4").is_file()


def test_binary_masks_are_grey_with_0_and_255(tree):
    masks = [
        Image.open(p)
        for folder in ("Single-source", "Multi-sources")
        for p in (tree / folder).rglob("gt_masks/**/*.png")
    ]
    assert {m.mode for m in masks} == {"L"}
    assert set(np.unique([np.asarray(m) for m in masks])) == {0, 255}


def test_coloured_masks_are_the_palette_of_the_semantic_ones(tree):
    for path in tree.rglob("labels_rgb/*.png"):
        classes = np.asarray(Image.open(path.parents[1] / "labels_semantic" / path.name))
        assert np.array_equal(np.asarray(Image.open(path)), palette()[classes])


def test_class_names_begin_with_the_background(tree):
    names = json.loads((tree / "AVSBench_semantic/label2idx.json").read_text())
    assert list(names.items())[:2] == [("background", 0), (KINDS[0], 1)]


def test_sounds_are_16_bit_mono_at_16_khz_of_the_clip_s_length(tree):
    for path in tree.rglob("*.wav"):
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
            assert file.getnframes() in (80_000, 160_000)


def test_a_raw_video_holds_the_saved_frames_and_a_sound(tree):
    path = next(tree.rglob("raw_videos/*.mp4"))
    with VideoReader(path) as reader:
        frames = [f.image for f in reader.frames(rate="avsbench")]
        assert (reader.info.fps, reader.info.has_audio) == (Fraction(8), True)
    saved = tree / f"Multi-sources/ms3_data/visual_frames/{path.stem}"
    for k, frame in enumerate(frames, start=1):
        expected = np.asarray(Image.open(saved / f"{path.name}_{k}.png")).astype(int)
        assert np.abs(frame - expected).mean() < 8


def test_the_same_seed_writes_the_same_pictures_sounds_and_masks(tmp_path):
    for name, workers in (("a", 0), ("b", 1)):
        write_tree(tmp_path / name, preset=ONE, workers=workers)
    one, other = (files(tmp_path / name) for name in "ab")
    assert list(one) == list(other)
    assert all(one[name] == other[name] for name in one if not name.endswith(".mp4"))


def test_another_seed_writes_another_world(tmp_path):
    for seed in (0, 1):
        write_tree(tmp_path / str(seed), preset=ONE, seed=seed, subsets=["ms3"])
    picture = "Multi-sources/ms3_data/visual_frames/ms3_train_00000/ms3_train_00000.mp4_1.png"
    assert (tmp_path / "0" / picture).read_bytes() != (tmp_path / "1" / picture).read_bytes()


def test_a_folder_with_something_else_in_it_is_never_replaced(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DatasetError, match="overwritten"):
        write_tree(tmp_path, preset=ONE, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_an_earlier_tree_is_replaced_only_when_asked(tmp_path):
    out = tmp_path / "world"
    write_tree(out, preset=ONE, subsets=["s4"])
    with pytest.raises(DatasetError, match="isn't empty"):
        write_tree(out, preset=ONE, subsets=["ms3"])
    write_tree(out, preset=ONE, subsets=["ms3"], overwrite=True)
    assert sorted(p.name for p in out.iterdir()) == ["Multi-sources", "synthetic.json"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("sonomask.data.tree.write_video", fail)
    with pytest.raises(OSError, match="No space"):
        write_tree(tmp_path / "world", preset=ONE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong", [{"preset": "huge"}, {"subsets": ["s5"]}, {"subsets": []}, {"preset": Preset((1, 1, 1), 33)}]
)
def test_an_impossible_order_is_refused_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(ValueError, match="xpected"):
        write_tree(tmp_path / "world", **wrong)
    assert not list(tmp_path.iterdir())
