"""The model `open`: adapters against transformers' own classes with tiny random networks, and its logic with a stand-in."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import sonomask
from sonomask.audio.categories import CATEGORIES
from sonomask.errors import MissingExtraError, WeightsError
from sonomask.inference.concepts import Found, phrase
from sonomask.request import Request

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # what other libraries say of themselves

from sonomask.inference import hub_concepts  # noqa: E402
from sonomask.inference.hub_concepts import load_concepts  # noqa: E402
from sonomask.inference.open_scorer import OpenScorer, load_open  # noqa: E402

PICTURE = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
WORDS = ["dog", "red car"]


def tiny(name, folder):
    spec = importlib.util.spec_from_file_location("tiny_networks", Path(__file__).with_name("tiny_networks.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    getattr(module, name)(str(folder / name))
    return str(folder / name)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return {name: tiny(name, folder) for name in ("sam2", "sam3", "owl", "dino")}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name, value in (("SAM3_SCORE", 0.0), ("BOX_SCORE", {"owlv2": 0.0, "grounding-dino": 0.0})):
        monkeypatch.setattr(hub_concepts, name, value)  # random networks are sure of nothing


@pytest.mark.parametrize("names", [["sam3"], ["owl", "sam2"], ["dino", "sam2"]])
def test_each_kind_of_network_finds_masks_of_the_picture_s_size_by_words(networks, names):
    concepts = load_concepts([networks[name] for name in names], "cpu")
    found = concepts(PICTURE, WORDS)
    assert 0 < len(found) <= hub_concepts.MOST
    assert all(one.mask.shape == PICTURE.shape[:2] and one.mask.dtype == bool and one.mask.any() for one in found)
    assert {one.word for one in found} <= {0, 1}
    assert all(0 <= one.score <= 1 for one in found)
    again = concepts.to("cpu")(PICTURE, WORDS)
    assert [one.score for one in again] == [one.score for one in found]


def test_a_network_that_brings_code_is_refused_without_asking(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}')
    (tmp_path / "mine.py").write_text("raise SystemExit('it ran')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked at the terminal"))
    with pytest.raises(WeightsError, match="can't be read as a network"):
        load_concepts([str(tmp_path)], "cpu")


def test_networks_of_the_wrong_kind_are_told_apart(networks):
    with pytest.raises(WeightsError, match="expected SAM 3"):
        load_concepts([networks["sam2"]])
    with pytest.raises(WeightsError, match="expected SAM 2"):
        load_concepts([networks["owl"], networks["sam3"]])
    with pytest.raises(ValueError, match="one or two names"):
        load_concepts(["a", "b", "c"])


def test_without_a_network_or_a_token_the_message_says_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match="hf auth login"):
        load_open("open:facebook/sam3")
    with pytest.raises(WeightsError, match="can't be read"):
        load_open(f"open:{tmp_path}")


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match="open"):
        load_open()


class Halves:
    """Finds the first word on the left, the second on the right."""

    name, device = "halves", "cpu"

    def __init__(self):
        self.asked = []

    def __call__(self, picture, words):
        self.asked.append(list(words))
        middle = picture.shape[1] // 2
        sides = [np.zeros(picture.shape[:2], bool) for _ in range(2)]
        sides[0][:, :middle], sides[1][:, middle:] = True, True
        return [Found(i, 0.9, side) for i, side in enumerate(sides[: len(words)])]

    def to(self, _):
        return self


class Listener:
    """Hears what it is told, in place of the built-in tagger."""

    def __init__(self, real, **scores):
        self.real, self.scores = real, scores
        self.config = real.config

    def __getattr__(self, name):
        return getattr(self.real, name)

    def to(self, _):
        return self

    def eval(self):
        return self

    def hear(self, logmel, past):
        import torch

        from sonomask.audio.audioset import names

        heard = self.real.hear(logmel, past)
        told = torch.zeros_like(heard.names)
        for name, score in self.scores.items():
            told[..., names().index(name)] = score
        return heard._replace(names=told)


@pytest.fixture(scope="module")
def built_in():
    return sonomask.load("world.real")


@pytest.fixture
def made(built_in):
    def make(prompts=(), **scores):
        concepts = Halves()
        return OpenScorer(concepts, prompts, "cpu", Listener(built_in, **scores)), concepts

    return make


def video(seconds=2, loud=0.3):
    noise = loud * np.random.default_rng(1).standard_normal(16_000 * seconds).astype(np.float32)
    pictures = np.random.default_rng(0).integers(0, 255, (seconds, 96, 128, 3), np.uint8)
    return sonomask.from_arrays(pictures, 1.0, noise.clip(-1, 1))


def marked(scorer, loud=0.3, **request):
    """Share of the left and of the right that is marked, and the last masks."""
    segmenter = sonomask.Segmenter(scorer, Request(rate=1.0, device="cpu", **request))
    *_, last = segmenter(video(loud=loud))
    return last.mask[0, :, :60].mean(), last.mask[0, :, 68:].mean(), last


def test_what_is_heard_chooses_the_words(made):
    scorer, concepts = made(Bark=0.9)
    left, right, last = marked(scorer)
    assert concepts.asked[-1][0] == "dog"
    assert left > 0.95
    assert last.names[0].things[last.names[0].seen[40, 20]] == "dog"
    assert right < 0.05 or last.names[0].things[last.names[0].seen[40, 100]] in map(str, CATEGORIES)


def test_of_two_things_the_audible_one_is_marked(made):
    scorer, _ = made(("dog", "person"), Bark=0.9)
    left, right, _ = marked(scorer)
    assert (left > 0.95, right < 0.05) == (True, True)
    scorer, _ = made(("dog", "person"), Speech=0.9)
    assert marked(scorer)[0] < 0.05
    assert marked(scorer)[1] > 0.95


def test_a_prompt_of_a_request_is_asked_for_as_it_is(made):
    scorer, concepts = made(Bark=0.9)
    left, _, last = marked(scorer, prompt=("spotted dog",))
    assert concepts.asked[-1] == ["spotted dog"]
    assert left > 0.95
    assert last.names[0].things[0] == "spotted dog"


@pytest.mark.parametrize(("prompt", "sound", "seen"), [
    ("red car", "Engine", True), ("red car", "Bark", False), ("old chainsaw", "Chainsaw", True),
    ("old chainsaw", "Bark", False), ("shiny thing", "Bark", True),
])  # fmt: skip
def test_a_prompt_is_marked_while_it_is_heard(made, prompt, sound, seen):
    scorer, _ = made((prompt,), **{sound: 0.9})
    assert (marked(scorer)[0] > 0.95) == seen


def test_nothing_is_asked_or_marked_in_silence(made):
    scorer, concepts = made(("shiny thing",), Bark=0.9)
    left, right, _ = marked(scorer, loud=0.0)
    assert (left, right, concepts.asked) == (0, 0, [])


def test_a_model_without_words_refuses_a_prompt():
    with pytest.raises(ValueError, match="takes no free words"):
        sonomask.Segmenter("world.real", prompt=("dog",), device="cpu")


def test_the_whole_way_with_a_network_of_transformers(networks, tmp_path):
    result = sonomask.segment(
        Path(__file__).parents[2] / "examples" / "three_things.mp4", tmp_path, f"open:{networks['sam3']}", rate=1.0, end=2,
        formats="jsonl", prompt=("ball",), device="cpu",
    )  # fmt: skip
    assert result.frames == 2
    assert '"model": "open' in (tmp_path / "three_things.jsonl").read_text()


def test_phrases_are_words():
    assert phrase("drum_kit") == "drum kit"
    assert phrase("big_cat") == "lion"
