"""PE-A-Frame and PE-AV: adapters against transformers' own classes with tiny random networks, the choice with stand-ins."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sonomask
from sonomask.audio.spectrum import patches_at
from sonomask.errors import WeightsError
from sonomask.inference.choosing import Choice, onsets
from sonomask.inference.concepts import Carried, Found, Tracked
from sonomask.inference.scorer import Waveform
from sonomask.inference.shared import SharedScorer

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # what other libraries say of themselves

from sonomask.inference.hub_listeners import load_listeners  # noqa: E402
from sonomask.inference.open_scorer import OpenScorer, load_open  # noqa: E402

RATE = 16_000
EXAMPLE = Path(__file__).parents[2] / "examples" / "three_things.mp4"


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("listeners")
    for file, names in (("tiny_listeners", ("pe_audio", "pe_audio_video")), ("tiny_networks", ("owl", "sam2_video"))):
        spec = importlib.util.spec_from_file_location(file, Path(__file__).with_name(f"{file}.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name in names:
            getattr(module, name)(str(folder / name))
    return folder


@pytest.fixture(scope="module")
def listener():
    return sonomask.load("world.real")


def noise(seconds, seed=0):
    return (0.2 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


def test_words_are_heard_every_40_ms_as_the_network_s_own_forward_says(networks):
    others, ears, fitting = load_listeners([str(networks / "owl"), str(networks / "pe_audio")], "cpu")
    assert (others, fitting) == ([str(networks / "owl")], None)
    sound, words = noise(1.0), ["a dog", "cat", "a dog"]
    heard = ears(sound, words)
    assert heard.shape == (3, 25)
    assert ((heard > 0) & (heard < 1)).all()
    assert np.array_equal(heard[0], heard[2])
    assert np.array_equal(ears.to("cpu")(sound, ["cat"])[0], heard[1])  # alone or with others
    faster = np.fft.irfft(np.fft.rfft(sound), 3 * len(sound)).astype(np.float32) * 3
    text = ears.processor.tokenizer(["a dog", "cat"], padding=True, return_tensors="pt")
    given = ears.processor.feature_extractor(faster, sampling_rate=48_000, return_tensors="pt")
    with torch.inference_mode():
        own = ears.model(
            input_ids=text["input_ids"],
            attention_mask=text["attention_mask"],
            input_values=given["input_values"],
            padding_mask=given.get("padding_mask"),
        )
    np.testing.assert_allclose(heard[:2], own.logits_audio_text[0].sigmoid().numpy(), atol=1e-5)


def test_cut_outs_are_compared_with_the_sound_as_the_network_s_own_forward_says(networks):
    _, _, fitting = load_listeners([str(networks / "pe_audio_video")], "cpu")
    crops = [np.random.default_rng(i).integers(0, 255, (4, 30 + i, 40, 3), np.uint8) for i in range(3)]
    sound = noise(1.0)
    fit = fitting.to("cpu")(crops, sound)
    given = fitting.processor.video_processor(videos=[list(crop) for crop in crops], return_tensors="pt")
    faster = np.fft.irfft(np.fft.rfft(sound), 3 * len(sound)).astype(np.float32) * 3
    values = fitting.processor.feature_extractor(faster, sampling_rate=48_000, return_tensors="pt")["input_values"]
    with torch.inference_mode():
        own = fitting.model(
            pixel_values_videos=given["pixel_values_videos"], input_values=values.expand(3, -1, -1)
        ).logits_audio_video[0]
    np.testing.assert_allclose(fit, own.numpy(), atol=1e-5)
    assert len(set(fit.tolist())) == 3


def test_what_can_t_be_is_said(networks):
    with pytest.raises(ValueError, match="Take open-tracked"):
        load_open(f"open:{networks / 'pe_audio_video'}")
    with pytest.raises(ValueError, match="expected one network"):
        load_listeners([str(networks / "pe_audio")] * 2)
    with pytest.raises(WeightsError, match="facebook/pe-a-frame-small"):
        load_open("open:facebook/pe-a-frame-small")


class Corners:
    """Finds a thing for each of two words, left and right."""

    name, device = "corners", "cpu"

    def __call__(self, picture, words):
        sides = [np.zeros(picture.shape[:2], bool) for _ in words]
        sides[0][:, : picture.shape[1] // 2] = True
        sides[-1][:, picture.shape[1] // 2 :] = True
        return [Found(i, 0.9, side) for i, side in enumerate(sides)]

    def to(self, _):
        return self


class EarsOf:
    """Hears the first word before a moment, the last one after."""

    name = "ears"

    def __init__(self, change):
        self.change, self.asked = change, []

    def __call__(self, sound, words):
        self.asked.append((len(sound), tuple(words)))
        heard = np.zeros((len(words), len(sound) // 640), np.float32)
        split = round((self.change - self.begins) / 0.04)
        heard[0, : max(0, split)], heard[-1, max(0, split) :] = 0.9, 0.9
        return heard

    def to(self, _):
        return self


def test_what_a_network_hears_of_the_prompts_says_when_each_is_marked(listener, monkeypatch):
    ears = EarsOf(3.0)
    scorer = OpenScorer(Corners(), ("one", "two"), "cpu", listener, ears=ears)
    whole = Waveform.around

    def around(self, before, after):
        sound, ears.begins = whole(self, before, after)
        return sound, ears.begins

    monkeypatch.setattr(Waveform, "around", around)
    pictures = np.full((6, 96, 160, 3), 90, np.uint8)
    segmenter = sonomask.Segmenter(scorer, rate=1.0, device="cpu", smooth=0.0)
    masks = [one.mask[0] for one in segmenter(sonomask.from_arrays(pictures, 1.0, noise(6)))]
    sides = [(mask[:, :70].mean() > 0.9, mask[:, 90:].mean() > 0.9) for mask in masks]
    assert sides[:2] == [(True, False)] * 2
    assert sides[-2:] == [(False, True)] * 2
    assert {words for _, words in ears.asked} == {("one", "two")}
    assert max(count for count, _ in ears.asked) <= 6 * RATE
    with pytest.raises(ValueError, match="one stream at a time"):
        SharedScorer(scorer)
    with pytest.raises(ValueError, match="Give the sound around the frames"):
        scorer(pictures[None, :1], np.zeros((1, 1, 3, 96, 64), np.float32))


def test_the_whole_way_with_networks_that_listen(networks, tmp_path):
    names = ",".join(str(networks / name) for name in ("owl", "sam2_video", "pe_audio", "pe_audio_video"))
    result = sonomask.segment(
        EXAMPLE, tmp_path, f"open-tracked:{names}", rate=2.0, end=2, formats="jsonl", device="cpu"
    )
    assert result.frames == 4
    assert "pe_audio_video" in (tmp_path / "three_things.jsonl").read_text()


def alike(seed, *, both=False, seconds=12, rate=5):
    """Two discs of one word; the first jumps at each click of the sound, the second at other moments, or with it."""
    random, count = np.random.default_rng(seed), seconds * rate
    times = (np.arange(count) + 15 / 16) / rate
    clicks, others = (np.sort(random.uniform(0.3, seconds - 0.3, seconds)) for _ in range(2))
    sound = 0.02 * random.standard_normal((seconds + 2) * RATE).astype(np.float32)
    for click in clicks:
        start = int((click + 1) * RATE)
        sound[start : start + 4000] += (0.5 * np.exp(-np.arange(4000) / 1500) * random.standard_normal(4000)).astype(
            "f4"
        )
    pictures = random.integers(90, 110, (1, 64, 160, 3)).repeat(count, 0).astype(np.uint8)
    rows, columns = np.mgrid[:64, :160]
    frames = [[] for _ in range(count)]
    for number, moments in enumerate((clicks, clicks if both else others)):
        place = sum(random.choice([-6, 6]) * (times > moment) for moment in moments)
        place = np.clip(place + np.cumsum(random.normal(0, 0.7, count)), -20, 20) + 40 + 80 * number
        for t in range(count):
            mask = (columns - place[t]) ** 2 + (rows - 32) ** 2 < 100
            pictures[t][mask] = (180 + (columns - int(place[t])) % 7 * 8)[mask, None]
            frames[t].append(Tracked(number, "dog", 1.0, mask))
    patches = patches_at(sound, list(times), 1, start=-1.0, align="centre")[:, 0]
    return pictures, frames, onsets(patches)


def chosen(pictures, frames, rises, size=15):
    """What is left out at the end, gathered in calls of some pictures, through plain numbers in between."""
    numbers, before = np.zeros(0, np.float32), None
    for start in range(0, len(pictures), size):
        part = slice(start, start + size)
        choice, rest = Choice.unpacked(numbers)
        assert not len(rest)
        choice.gather(pictures[part], frames[part], rises[part], before)
        numbers, before = choice.packed(), Carried(pictures[part][-1], tuple(frames[part][-1]), 2)
    return choice.silent(frames[part])


def test_of_two_alike_the_one_that_moves_as_the_sound_begins_stays():
    found = [chosen(*alike(seed)) for seed in range(12)]
    assert all(0 not in left_out for left_out in found)
    assert sum(1 in left_out for left_out in found) >= 6
    assert [chosen(*alike(seed), size=1) for seed in range(3)] == found[:3]  # in a stream as in windows


def test_of_two_alike_that_both_sound_both_stay_and_so_do_those_of_different_words():
    assert sum(bool(chosen(*alike(seed, both=True))) for seed in range(8)) <= 1
    pictures, frames, rises = next(made for made in map(alike, range(12)) if chosen(*made))
    other = [[first, second._replace(word="cat")] for first, second in frames]
    assert chosen(pictures, other, rises) == set()


def test_a_network_that_compares_cut_outs_with_the_sound_is_believed_before_motion():
    pictures, frames, rises = alike(1)
    asked = []

    def fitting(crops, _):
        asked.append([crop.shape for crop in crops])
        return np.array([0.0, 2.0], np.float32)

    choice = Choice()
    choice.gather(pictures[:10], frames[:10], rises[:10], None, fitting, noise(2))
    assert choice.silent(frames[:10]) == {0}
    assert all(shape[0] == 10 and shape[1] < 40 for shape in asked[0])
    choice.gather(pictures[:10], [[first] for first, _ in frames[:10]], rises[:10], None, fitting, noise(2))
    assert (len(asked), choice.silent([[frames[0][0]]])) == (1, set())


def test_the_one_that_does_not_sound_is_not_marked(listener):
    pictures, frames, _ = alike(1)

    class Given:
        name, device, count = "given", "cpu", 0

        def follow(self, shown, words, _):
            part = frames[self.count : self.count + len(shown)]
            self.count += len(shown)
            found = [[one._replace(word=words[0]) for one in things] for things in part]
            return found, Carried(shown[-1], tuple(found[-1]), 2)

        def to(self, _):
            return self

    fit = np.array([0.0, 2.0], np.float32)
    fitting = type("Fit", (), {"name": "fit", "__call__": lambda *_: fit, "to": lambda self, _: self})()
    scorer = OpenScorer(Given(), ("dog",), "cpu", listener, fitting=fitting)
    patches = np.random.default_rng(0).normal(0, 1, (1, 5, 3, 96, 64)).astype(np.float32)
    around = Waveform(noise(4), 0.0, tuple(np.arange(5) / 5 + 1))
    scored = scorer(pictures[None, :5], patches, waveform=around)
    assert (scored.logits[0, :, 0, 32, 40] < 0).all()
    assert set(np.unique(scored.ids)) <= {0, 2}
    again = scorer.prompted(("dog",)).to("cpu")
    assert (again.fitting, again.wants_waveform) == (fitting, True)
    assert replace(scorer.config, about="") == replace(again.config, about="")
