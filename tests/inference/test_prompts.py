"""`--prompt` wherever masks are asked for: live, corpora, the service; and what models without prompts say."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sonomask
from sonomask.batch import stages
from sonomask.batch.job import Options, VideoJob
from sonomask.batch.run import run
from sonomask.cli.main import main
from sonomask.inference.concepts import Carried, Found, Tracked
from sonomask.inference.open_scorer import OpenScorer
from sonomask.inference.shared import SharedScorer
from sonomask.live.feed import Feed
from sonomask.live.segmenter import LiveSegmenter
from sonomask.media.live.reader import LivePicture, LiveReader, LiveSound
from sonomask.media.live.source import parse_source
from sonomask.request import FOR_CORPORA

EXAMPLE = Path(__file__).parents[2] / "examples" / "three_things.mp4"
PROMPT = ("a thing on the left",)


class LeftHalf:
    """Finds the left half of each picture for the first word."""

    name, device = "left half", "cpu"

    def __call__(self, picture, _):
        return [Found(0, 1.0, self.mask(picture))]

    @staticmethod
    def mask(picture):
        mask = np.zeros(picture.shape[:2], bool)
        mask[:, : picture.shape[1] // 2] = True
        return mask

    def to(self, _):
        return self


class LeftHalfTracked(LeftHalf):
    """The same under one id, and counts what it was handed."""

    def __init__(self):
        self.handed = []

    def follow(self, pictures, words, before=None):
        self.handed.append(before)
        frames = [[Tracked(5, words[0], 1.0, self.mask(picture))] for picture in pictures]
        return frames, Carried(pictures[-1], tuple(frames[-1]), 6)


@pytest.fixture(scope="module")
def listener():
    return sonomask.load("world.real")


def play(segmenter, path):
    """Every picture of a file after the other, each once its sound is there."""
    feed = Feed(time.monotonic, listens=segmenter.config.listens, ahead=segmenter.ahead)
    with LiveReader(parse_source(str(path)), now=time.monotonic) as reader:
        items = list(reader)
    sounds = [item for item in items if isinstance(item, LiveSound)]
    stream, found = segmenter(feed), []
    for item in [item for item in items if isinstance(item, LivePicture)][::10][:4]:
        while sounds and sounds[0].time < item.time + 0.5:
            feed.sound(sounds.pop(0))
        feed.picture(item, captured=item.time)
        found.append(next(stream))
    feed.end()
    return found


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", [LeftHalf, LeftHalfTracked])
def test_a_stream_is_marked_by_a_prompt(kind, shared, listener):
    concepts = kind()
    scorer = OpenScorer(concepts, PROMPT if shared else (), "cpu", listener)
    if shared:
        with SharedScorer(scorer) as model:
            found = play(LiveSegmenter(model, prompt=PROMPT, device="cpu", smooth=0.0), EXAMPLE)
    else:
        found = play(LiveSegmenter(scorer, prompt=PROMPT, device="cpu", smooth=0.0), EXAMPLE)
    half = found[0].labels.shape[1] // 2
    loud = [one for one in found if one.share]
    assert loud
    assert all(one.labels[:, : half - 8].all() and not one.labels[:, half + 8 :].any() for one in loud)
    assert loud[0].masks.names[0].things[0] == PROMPT[0]
    if kind is LeftHalfTracked:
        assert (loud[-1].masks.ids[0] == 6).all()
        after = [handed.things[0].id for handed in concepts.handed[1:]]
        assert after == [5] * len(after)  # nothing of it fades


def test_the_rows_of_a_corpus_are_of_a_prompt(listener, monkeypatch):
    monkeypatch.setattr(stages, "load_fast", lambda *_, **__: OpenScorer(LeftHalf(), device="cpu", listener=listener))
    options = Options("open", replace(FOR_CORPORA, prompt=PROMPT, device="cpu"), trusted=True)
    *parts, ending = stages.start_whole(options, "cpu")(VideoJob("v", str(EXAMPLE)))
    rows = [row for part in parts for row in part.body if row["area"]]
    assert ending.body.status == "done"
    assert rows
    assert {thing["name"] for row in rows for thing in row["things"]} == set(PROMPT)


@pytest.mark.parametrize("verb", ["segment", "live", "batch"])
def test_a_model_without_prompts_says_so(verb, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")] if verb != "live" else ["--json", str(tmp_path / "out.jsonl")]
    assert main([verb, str(EXAMPLE), "--model", "avs_mini.synthetic", *out, "--prompt", "red car"]) == 2
    assert "takes no free words. Take the model open" in capsys.readouterr().err


def test_a_corpus_tells_it_before_it_begins(tmp_path):
    with pytest.raises(ValueError, match="takes no free words"):
        run([str(EXAMPLE)], tmp_path, Options("avs_mini.synthetic", replace(FOR_CORPORA, prompt=PROMPT)))
    assert not list(tmp_path.iterdir())
