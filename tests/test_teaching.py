"""A model goes on from corrections and masks, and forgets nothing."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import sonomask
from sonomask.checkpoints.folder import load, save
from sonomask.cli.main import main
from sonomask.data import known_masks
from sonomask.data.drawn.world import scene
from sonomask.data.known_masks import read_masks, video_stem
from sonomask.data.tree import write_video
from sonomask.errors import DatasetError, TrainingError
from sonomask.export.write import export
from sonomask.inference.loading import load_onnx
from sonomask.models.nets.world import World
from sonomask.models.parts.memory import Memory
from sonomask.safe_reading.corrections import Correction, Corrections, VideoFacts
from sonomask.safe_reading.onnx_graphs import open_session
from sonomask.teaching import Lesson, _Frame, _something_else, teach

SECONDS = 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("teaching") / "clip.mp4"
    write_video(path, scene(3, size=(96, 128), seconds=SECONDS), fps=8)
    return path


@pytest.fixture(scope="module")
def model():
    """The lightest built-in one of those that name what they see."""
    return load("world.real")


def shares(model, clip):
    """The marked share of the left and right half of each frame."""
    found = [m.mask[0] for m in sonomask.Segmenter(model, rate=2, smooth=0, device="cpu")(clip)]
    return np.array([(mask[:, : mask.shape[1] // 2].mean(), mask[:, mask.shape[1] // 2 :].mean()) for mask in found])


@pytest.fixture(scope="module")
def half(model, clip):
    """A model that was shown twice that the left half sounds, and the right one doesn't."""
    mask = np.zeros((96, 128), bool)
    mask[:, :64] = True
    return teach(model, [Lesson(clip, masks=[(0.5, mask), (1.5, mask)])])


def test_it_marks_what_it_was_shown_at_other_moments_too(half, model, clip):
    before, after = shares(model, clip), shares(half.model, clip)
    assert half.masks == 2
    assert (after[:, 0] - after[:, 1]).mean() > (before[:, 0] - before[:, 1]).mean() + 0.15
    assert after[-1, 0] > after[-1, 1]


def test_what_it_knew_is_untouched_and_elsewhere_nothing_changes(half, model):
    own, old = half.model.state_dict(), model.state_dict()
    assert all(torch.equal(own[key], old[key]) for key in old)
    torch.manual_seed(1)
    pictures, sound = torch.rand(1, 2, 3, 96, 128), torch.randn(1, 2, 3, 96, 64)
    with torch.inference_mode():
        apart = (half.model(pictures, sound).logits - model(pictures, sound).logits).abs()
    assert apart.mean() < 0.3  # of logits, where what was shown changed by 2 and more


def test_corrections_of_a_place_are_learnt(model, clip):
    place = {"time": 1.0, "x": 0.25, "y": 0.5}
    for kind, sign in (("sounds", 1), ("silent", -1)):
        taught = teach(model, [Lesson(clip, Corrections([Correction(kind, **place)]))])
        assert taught.corrections == 1
        before = [m.probability[0, 48, 32] for m in sonomask.Segmenter(model, rate=2, smooth=0)(clip)]
        after = [m.probability[0, 48, 32] for m in sonomask.Segmenter(taught.model, rate=2, smooth=0)(clip)]
        assert sign * (after[2] - before[2]) >= 0  # nearest to the moment
        assert after != before or sign < 0


def test_something_else_is_what_is_likeliest_of_the_rest():
    score = torch.full((40, 60), -6.0)
    score[4:12, 4:12], score[12:15, 4:12] = 3.0, -0.5  # what is marked, and its fringe
    score[20:30, 40:50], score[32:36, 5:15] = -1.0, -3.0
    places = torch.zeros(2, 40, 60)
    found = _something_else(_Frame(0.0, places, torch.zeros(521), score))
    expected = np.zeros((40, 60), bool)
    expected[20:30, 40:50] = True
    assert np.array_equal(found, expected)
    assert not _something_else(_Frame(0.0, places, torch.zeros(521), torch.full((40, 60), -6.0))).any()


def test_where_something_else_sounds_something_else_is_marked(model, clip):
    said = Corrections([Correction("other", start=0.0, end=SECONDS)])
    taught = teach(model, [Lesson(clip, said)])
    before, after = ([m.mask[0] for m in sonomask.Segmenter(one, rate=2, smooth=0, device="cpu")(clip)]
                     for one in (model, taught.model))  # fmt: skip
    assert sum((new & old).sum() for new, old in zip(after, before, strict=True)) < 0.5 * np.sum(before)
    assert sum((new & ~old).sum() for new, old in zip(after, before, strict=True)) > 0


def test_a_moment_that_is_not_there_is_told(model, clip):
    items = [Correction("sounds", 99.0, 0.5, 0.5), Correction("sounds", 1.0, 0.5, 0.5)]
    (note,) = teach(model, [Lesson(clip, Corrections(items))]).notes
    assert "99" in note


def test_nothing_to_learn_and_other_models_are_refused(model, clip):
    with pytest.raises(TrainingError, match="can be learnt"):
        teach(model, [Lesson(clip)])
    with pytest.raises(TrainingError, match=r"world_duo\.real"):
        teach(load("avs_mini.synthetic"), [Lesson(clip)])


def test_the_same_seed_gives_the_same_model_in_a_folder_that_model_takes(model, clip, tmp_path):
    lesson = Lesson(clip, Corrections([Correction("sounds", 1.0, 0.25, 0.5)]))
    one, two = (teach(model, [lesson], seed=3).model for _ in range(2))
    assert torch.equal(one.memory.weights, two.memory.weights)
    again = load(save(one, tmp_path / "mine"))
    assert isinstance(again, World)
    assert np.allclose(shares(again, clip), shares(one, clip), atol=1e-3)
    more = teach(again, [lesson], seed=3).model  # what it remembers is replaced, not piled up
    assert torch.allclose(more.memory.weights, one.memory.weights, atol=1e-4)


def test_a_memory_of_nothing_changes_nothing():
    memory = Memory(4, 6, 5)
    found = memory(torch.nn.functional.normalize(torch.rand(2, 6, 3, 4), dim=1), torch.rand(2, 5))
    assert found.shape == (2, 1, 3, 4)
    assert not found.any()


def test_a_graph_of_a_memory_takes_any_size(tmp_path):
    memory, random = Memory(6, 8, 10).eval(), torch.Generator().manual_seed(0)
    for buffer in memory.buffers():
        buffer.copy_(0.3 * torch.randn(buffer.shape, generator=random))
    free = {name: torch.export.Dim(name, min=1, max=64) for name in ("frames", "height", "width")}
    shapes = {"places": {0: free["frames"], 2: free["height"], 3: free["width"]}, "sounds": {0: free["frames"]}}
    given = torch.randn(2, 8, 12, 20, generator=random), torch.randn(2, 10, generator=random)
    program = torch.export.export(memory, given, dynamic_shapes=shapes, strict=False)
    torch.onnx.export(
        program, (), str(tmp_path / "memory.onnx"), dynamo=True, input_names=["places", "sounds"], output_names=["change"],
        external_data=False, verbose=False,
    )  # fmt: skip
    session = open_session(tmp_path / "memory.onnx")
    for frames, height, width in ((2, 12, 20), (1, 20, 12), (3, 7, 7)):
        places, sounds = (
            torch.randn(frames, 8, height, width, generator=random),
            torch.randn(frames, 10, generator=random),
        )
        (change,) = session.run(None, {"places": places.numpy(), "sounds": sounds.numpy()})
        torch.testing.assert_close(torch.from_numpy(change), memory(places, sounds))


@pytest.mark.slow
def test_what_was_taught_is_in_the_exported_graph(half, clip, tmp_path):
    made = export(half.model, tmp_path / "graph")
    assert made.free == ("batch", "time", "size")
    assert made.span > 0
    ours, theirs = (
        [m.mask[0] for m in sonomask.Segmenter(one, rate=2, smooth=0, device="cpu")(clip)]
        for one in (load_onnx(made.folder / "model.onnx"), half.model)
    )
    for mask, other in zip(ours, theirs, strict=True):
        assert (mask != other).mean() < 0.01


def test_the_command_writes_a_model_with_its_card(clip, tmp_path, capsys):
    video = tmp_path / "film.mp4"
    video.write_bytes(clip.read_bytes())
    file = tmp_path / "film.corrections.json"
    Corrections([Correction("sounds", 1.0, 0.25, 0.5)], VideoFacts("film.mp4", SECONDS, 128, 96)).save(file)
    out = tmp_path / "mine"
    assert main(["train", "--corrections", str(file), "--out", str(out), "--model", "world.real", "-q"]) == 0
    assert "1 corrections and 0 masks of 1 video" in capsys.readouterr().out
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "`world.real`" in card
    assert "1 corrections" in card
    assert main(["segment", str(video), "--model", str(out), "--rate", "1", "--format", "jsonl", "-q"]) == 0


def test_the_command_says_which_video_it_lacks(tmp_path, capsys):
    file = tmp_path / "x.json"
    Corrections([Correction("nothing", start=0, end=1)], VideoFacts("../film.mp4")).save(file)
    assert main(["train", "--corrections", str(file), "--out", str(tmp_path / "mine")]) == 2
    assert "--videos" in capsys.readouterr().err
    assert main(["train", "--masks", "--out", str(tmp_path / "mine")]) == 2


# ---- masks that somebody made -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(clip, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    return sonomask.segment(clip, out, "avs_mini.synthetic", formats=["masks", "coco"], rate=2, smooth=0, start=1)


def test_what_segment_writes_is_read_again(made):
    pictures, coco = read_masks(made.files["masks"]), read_masks(made.files["coco"])
    assert [time for time, _ in pictures] == [time for time, _ in coco]
    assert pictures[0][0] > 1
    assert any(mask.any() for _, mask in pictures)
    for (_, one), (_, two) in zip(pictures, coco, strict=True):
        assert (one != two).mean() < 0.001
    assert {video_stem(path) for path in made.files.values()} == {"clip"}


def test_masks_in_few_letters_do_not_take_all_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(known_masks, "ALL_PIXELS", 3000)  # 2000 masks of 67 million pixels each took 100 KB
    images = [{"id": i, "file_name": f"{i}.png", "height": 32, "width": 32} for i in range(3)]
    (tmp_path / "x.json").write_text(json.dumps({"images": images, "annotations": []}))
    with pytest.raises(DatasetError, match="3000 pixels together"):
        read_masks(tmp_path / "x.json")


def test_other_names_and_kinds_are_told(tmp_path):
    with pytest.raises(DatasetError, match="no masks"):
        read_masks(tmp_path)
    Image.new("L", (4, 4)).save(tmp_path / "first.png")
    with pytest.raises(DatasetError, match=r"12\.5\.png"):
        read_masks(tmp_path)
    image = {"id": 1, "file_name": "a.jpg", "height": 4, "width": 4}
    (tmp_path / "x.json").write_text(json.dumps({"images": [image], "annotations": []}))
    with pytest.raises(DatasetError, match="time"):
        read_masks(tmp_path / "x.json")
    for text in ("[" * 10_000, "{}", '{"images": [{"id": 1, "height": 1e9, "width": 9}], "annotations": []}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DatasetError, match="COCO"):
            read_masks(tmp_path / "x.json")
