"""Following in windows: adapters against transformers' own classes with tiny random networks, the logic with a stand-in."""

import gc
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sonomask
from sonomask.api import write_masks
from sonomask.errors import MediaError, WeightsError
from sonomask.inference.concepts import WINDOW, Carried, Tracked
from sonomask.outputs.formats import paths_of
from sonomask.request import Request

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # what other libraries say of themselves

from sonomask.inference import hub_concepts, hub_tracks  # noqa: E402
from sonomask.inference.hub_concepts import load_tracks  # noqa: E402
from sonomask.inference.hub_tracks import Following  # noqa: E402
from sonomask.inference.open_scorer import OpenScorer, _packed, _unpacked  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "three_things.mp4"
WORDS = ["red ball", "blue ball"]
COLOURS = {"red ball": (255, 0, 0), "blue ball": (0, 0, 255)}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    spec = importlib.util.spec_from_file_location("tiny_networks", Path(__file__).with_name("tiny_networks.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("sam2_video", "edgetam", "owl", "sam3", "sam3_video"):
        getattr(module, name)(str(folder / name))
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_concepts, "BOX_SCORE", {"owlv2": 0.0})  # random networks are sure of nothing
    monkeypatch.setattr(hub_concepts, "MOST", 2)


def noise(count):
    return np.random.default_rng(0).integers(0, 255, (count, 96, 128, 3), np.uint8)


def sessions():
    gc.collect()
    return [one for one in gc.get_objects() if type(one).__name__.endswith("VideoInferenceSession")]


KINDS = [["owl", "sam2_video"], ["owl", "edgetam"], ["sam3_video"]]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_network_follows_under_ids_that_no_other_thing_gets(networks, kind, monkeypatch):
    following = load_tracks([str(networks / name) for name in kind], "cpu")
    monkeypatch.setattr(hub_tracks, "WINDOW", 3)
    frames, carried = following.follow(noise(5), WORDS)
    assert len(frames) == 5
    found = [one for things in frames for one in things]
    assert len(found) > 2
    assert all(one.mask.shape == (96, 128) and one.mask.dtype == bool and one.mask.any() for one in found)
    assert all(len({one.id for one in things}) == len(things) for things in frames)
    assert {one.id for one in found} <= set(range(carried.next_id))
    assert {one.word for one in found} <= set(WORDS)
    assert {one.id for one in frames[0]} & {one.id for one in frames[-1]}  # over three windows
    later, onward = following.to("cpu").follow(noise(2), WORDS, carried)
    new = {one.id for things in later for one in things} - {one.id for one in carried.things}
    assert all(one >= carried.next_id for one in new)
    assert onward.next_id == carried.next_id + len(new)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]])
def test_no_session_outlives_its_window_so_memory_does_not_grow(networks, kind):
    following = load_tracks([str(networks / name) for name in kind], "cpu")
    carried = None
    for _ in range(3):
        frames, carried = following.follow(noise(4), WORDS, carried)
        assert any(frames)
        assert sessions() == []
    assert len(carried.things) <= hub_concepts.MOST
    assert carried.picture.base is None  # nor does the last picture hold its window


def test_sam_3_goes_on_with_what_it_is_handed_even_where_it_would_not_find_it(networks):
    following = load_tracks([str(networks / "sam3_video")], "cpu")
    following.model.score_threshold_detection = 2.0  # it finds nothing by itself
    mask = np.zeros((96, 128), bool)
    mask[20:70, 30:90] = True
    pictures = noise(3)
    carried = Carried(pictures[0], (Tracked(7, "blue ball", 0.5, mask), Tracked(8, "gone", 0.5, mask)), 9)
    frames, onward = following.follow(pictures[1:], WORDS, carried)
    assert [[(one.id, one.word, one.score) for one in things] for things in frames] == [[(7, "blue ball", 0.5)]] * 2
    assert onward.next_id == 9
    assert following.follow(pictures[1:], WORDS)[0] == [[], []]
    nothing, _ = following.follow(pictures[1:, :, :64], WORDS, carried)  # pictures of another size begin anew
    assert nothing == [[], []]


def test_a_run_that_is_given_up_leaves_nothing_behind(networks):
    model = f"open-tracked:{networks / 'sam3_video'}"
    segmenter = sonomask.Segmenter(model, rate=4.0, device="cpu", prompt=("ball",))
    masks = segmenter(EXAMPLE)
    next(masks)
    next(masks)
    masks.close()
    assert sessions() == []


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]])
def test_too_little_memory_is_told_as_such(networks, kind, monkeypatch):
    segmenter = sonomask.Segmenter(
        "open-tracked:" + ",".join(str(networks / name) for name in kind), rate=1.0, device="cpu", prompt=("ball",)
    )

    def full(*_, **__):
        raise torch.OutOfMemoryError

    concepts = segmenter.scorer.concepts
    processor = concepts.processor if kind == KINDS[2] else concepts.tracker[1]
    monkeypatch.setattr(type(processor), "init_video_session", full)
    with pytest.raises(MediaError, match="the memory of cpu is too small"):
        next(segmenter(EXAMPLE))


def test_networks_of_the_wrong_kind_are_told_apart(networks):
    with pytest.raises(WeightsError, match="SAM 2 or EdgeTAM with a memory"):
        load_tracks([str(networks / "owl"), str(networks / "sam3")])
    with pytest.raises(WeightsError, match="expected SAM 3 for videos"):
        load_tracks([str(networks / "sam2_video")])
    with pytest.raises(ValueError, match="expected one name"):
        load_tracks(["a", "b", "c"])
    with pytest.raises(WeightsError, match="hf auth login"):
        load_tracks(["facebook/sam3"])
    with pytest.raises(WeightsError, match="needed once"):
        sonomask.Segmenter("open-tracked", device="cpu")


class ByColour(Following):
    """Finds and follows what has a word's colour."""

    def __init__(self):
        self.name, self.device, self.finder, self.sessions = "by colour", "cpu", self, []
        self.asked = 0

    def find_boxes(self, picture, words):
        self.asked += 1
        rows = []
        for place, word in enumerate(words):
            y, x = np.nonzero((picture == COLOURS[word]).all(-1))
            if len(y):
                rows.append((place, 0.9, [x.min(), y.min(), x.max() + 1, y.max() + 1]))
        return rows

    def _run(self, pictures, masks=(), boxes=()):
        self.sessions.append(len(pictures))
        for box in ([int(v) for v in box] for box in boxes):
            masks = [*masks, np.zeros(pictures.shape[1:3], bool)]
            masks[-1][box[1] : box[3], box[0] : box[2]] = True
        colours = [np.median(pictures[0][mask], 0) for mask in masks]
        return [[(picture == colour).all(-1) for colour in colours] for picture in pictures]

    def to(self, _):
        return self


def balls(count, *, red, blue):
    """Pictures with a red ball in some of the frames and a blue one in others."""
    pictures = np.full((count, 48, 160, 3), 90, np.uint8)
    for i in range(count):
        if i in red:
            pictures[i, 8:20, 2 + 2 * i : 14 + 2 * i] = COLOURS["red ball"]
        if i in blue:
            pictures[i, 30:40, 100:120] = COLOURS["blue ball"]
    return pictures


def ids(frames, word):
    return [next((one.id for one in things if one.word == word), None) for things in frames]


@pytest.mark.parametrize("calls", [[48], [7, 9, 16, 16], [5] * 9 + [3]])
def test_a_thing_keeps_its_id_over_windows_and_calls_and_new_ones_are_found_where_a_window_begins(calls):
    pictures, following = balls(48, red=range(48), blue=range(3, 48)), ByColour()
    frames, carried, start = [], None, 0
    for count in calls:
        found, carried = following.follow(pictures[start : start + count], WORDS, carried)
        frames, start = frames + found, start + count
    assert set(ids(frames, "red ball")) == {0}
    first = next(i for i, one in enumerate(ids(frames, "blue ball")) if one is not None)
    assert first == min(calls[0], WINDOW)
    assert set(ids(frames, "blue ball")[first:]) == {1}
    assert max(following.sessions) <= WINDOW
    assert carried.next_id == 2


def test_what_left_for_a_whole_window_comes_back_as_another():
    pictures, following = balls(64, red={*range(10), *range(40, 64)}, blue=()), ByColour()
    frames, carried = following.follow(pictures, WORDS)
    found = ids(frames, "red ball")
    assert found[:10] == [0] * 10
    assert found[10:48] == [None] * 38
    assert set(found[48:]) == {1}
    assert len(carried.things) == 1


def test_words_that_are_asked_for_no_longer_are_followed_no_longer():
    pictures, following = balls(8, red=range(8), blue=range(8)), ByColour()
    _, carried = following.follow(pictures[:4], WORDS)
    frames, carried = following.follow(pictures[4:], ["blue ball"], carried)
    assert {one.word for things in frames for one in things} == {"blue ball"}
    assert set(ids(frames, "blue ball")) == {1}


def test_pictures_of_another_size_begin_anew():
    following = ByColour()
    _, carried = following.follow(balls(2, red=range(2), blue=()), WORDS)
    frames, _ = following.follow(balls(2, red=range(2), blue=())[:, :, :120], WORDS, carried)
    assert set(ids(frames, "red ball")) == {1}


def test_what_is_handed_on_is_the_same_as_numbers():
    mask = np.random.default_rng(1).random((5, 7)) > 0.5
    carried = Carried(noise(1)[0, :5, :7], (Tracked(3, "dog", 0.25, mask), Tracked(8, "red car", 0.5, ~mask)), 9)
    words = ["red car", "cat", "dog"]
    again = _unpacked(_packed(carried, words), words)
    assert np.array_equal(again.picture, carried.picture)
    assert [(one.id, one.word, one.score) for one in again.things] == [(3, "dog", 0.25), (8, "red car", 0.5)]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(again.things, carried.things, strict=True))
    assert again.next_id == 9
    nothing = _unpacked(_packed(carried._replace(things=()), words), words)
    assert (nothing.things, nothing.next_id) == ((), 9)


def test_a_video_is_marked_by_what_is_followed_from_call_to_call():
    pictures = np.full((12, 96, 160, 3), 90, np.uint8)
    for i in range(12):
        pictures[i, 20:60, 4 * i : 4 * i + 60] = COLOURS["red ball"]
    sound = (0.3 * np.random.default_rng(1).standard_normal(12 * 16_000)).clip(-1, 1).astype(np.float32)
    following = ByColour()
    scorer = OpenScorer(following, device="cpu")
    segmenter = sonomask.Segmenter(scorer, Request(rate=1.0, device="cpu", prompt=("red ball",), smooth=0.0))
    reader = sonomask.from_arrays(pictures, 1.0, sound)
    seen = {one.times[0]: one.mask[0] for one in segmenter(reader)}
    assert len(seen) == 12
    for i, mask in enumerate(seen.values()):
        truth = (pictures[i] == COLOURS["red ball"]).all(-1)
        assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    assert 2 in following.sessions  # the last picture of a call and the first of the next
    assert segmenter.scorer.config.name == "open-tracked"


def touching(count):
    """A red and a blue thing side by side, which move, and noise."""
    pictures = np.full((count, 96, 160, 3), 90, np.uint8)
    for i in range(count):
        pictures[i, 20:60, 4 * i : 4 * i + 40] = COLOURS["red ball"]
        pictures[i, 20:60, 4 * i + 40 : 4 * i + 80] = COLOURS["blue ball"]
    sound = (0.3 * np.random.default_rng(1).standard_normal(count * 16_000)).clip(-1, 1).astype(np.float32)
    return pictures, sonomask.from_arrays(pictures, 1.0, sound)


def test_results_have_the_followed_things_under_their_ids_though_their_masks_touch(tmp_path):
    pictures, reader = touching(8)
    options = {"rate": 1.0, "device": "cpu", "prompt": tuple(WORDS), "smooth": 0.0}
    segmenter = sonomask.Segmenter(OpenScorer(ByColour(), device="cpu"), **options)
    masks = list(segmenter(reader))
    for one, picture in zip(masks, pictures, strict=True):
        for number, word in enumerate(WORDS, start=1):
            here = one.mask[0] & (picture == COLOURS[word]).all(-1)
            assert here.sum() > 1000
            assert (one.ids[0][here] == number).mean() > 0.9
    assert np.array_equal(masks[0].resized(48, 80).ids[0], masks[0].ids[0][::2, ::2])
    seen = [{region.id: region.name for region in regions} for regions in sonomask.to_regions(masks)]
    assert seen == [{1: "red ball", 2: "blue ball"}] * 8
    coco = sonomask.to_coco(masks)
    assert {row["track_id"] for row in coco["annotations"]} == {1, 2}
    together = sonomask.to_regions([replace(one, ids=None) for one in masks])
    assert [len(regions) for regions in together] == [1] * 8
    paths = paths_of(tmp_path / "things", ["jsonl", "ytvis"])
    write_masks(segmenter, touching(8)[1], paths)
    rows = [json.loads(line) for line in paths["jsonl"].read_text().splitlines()]
    assert [{region["id"] for region in row["regions"]} for row in rows if "regions" in row] == [{1, 2}] * 8
    tracks = json.loads((paths["ytvis"] / "instances.json").read_text())["annotations"]
    assert [sum(one is not None for one in track["segmentations"]) for track in tracks] == [8, 8]


def test_the_whole_way_with_networks_of_transformers(networks, tmp_path):
    model = f"open-tracked:{networks / 'owl'},{networks / 'sam2_video'}"
    result = sonomask.segment(
        EXAMPLE, tmp_path, model, rate=1.0, end=2, formats="jsonl", prompt=("ball",), device="cpu"
    )
    assert result.frames == 2
    assert '"model": "open-tracked' in (tmp_path / "three_things.jsonl").read_text()
