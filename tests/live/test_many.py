"""Several streams share a model, and none waits for another."""

import json
import threading
import time
import urllib.request

import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.inference.loading import load_fast
from sonomask.inference.scorer import as_scorer
from sonomask.inference.shared import SharedScorer
from sonomask.live.many import LiveRuns, numbered
from sonomask.live.run import LiveRun, Outputs
from sonomask.live.segmenter import LiveSegmenter
from sonomask.media.live.source import parse_source
from sonomask.monitoring import served

from .conftest import Broadcast


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def broadcasts():
    found = [Broadcast() for _ in range(3)]
    yield found
    for one in found:
        one.close()


def test_streams_with_one_model_get_on_while_one_stalls_and_one_fails(broadcasts, stub, tmp_path):
    outputs = Outputs(json=str(tmp_path / "masks-{}.jsonl"))
    with SharedScorer(scorer_of(stub())) as scorer:
        runs = LiveRuns(
            [
                LiveRun(LiveSegmenter(scorer), parse_source(one.url), outputs=numbered(outputs, i), timeout=1.0,
                        patience=3.0, say=str)
                for i, one in enumerate(broadcasts)
            ]
        )  # fmt: skip
        thread = threading.Thread(target=runs.run)
        thread.start()
        try:
            until(lambda: all(run.masks > 3 for run in runs.runs))
            broadcasts[1].stalled.set()
            broadcasts[2].off.set()
            broadcasts[2].broken.set()
            until(lambda: 2 in runs.errors)
            before = runs.runs[0].masks
            until(lambda: runs.runs[0].masks > before + 5)
            broadcasts[1].stalled.clear()
            before = runs.runs[1].masks
            until(lambda: runs.runs[1].masks > before + 3)
            with served(runs.figures(), "0", "live") as address:
                text = urllib.request.urlopen(address, timeout=10).read().decode()  # noqa: S310
            assert 'sonomask_live_masks{stream="3"}' in text
            assert 'sonomask_live_stage_seconds{stage="model",stream="1"}' in text
        finally:
            assert runs.ask_to_end() or not thread.is_alive()
            thread.join(30)
    assert not thread.is_alive()
    assert isinstance(runs.errors[2], MediaError)
    for index, run in enumerate(runs.runs):
        rows = (tmp_path / f"masks-{index + 1}.jsonl").read_text().splitlines()
        assert len(rows) == run.masks
        assert all(abs(json.loads(row)["areas"][0]["share"] - 0.5) < 0.1 for row in rows)
    assert runs.report().count("\n") == 2


def scorer_of(model):
    return as_scorer(model, "cpu")


def test_pictures_that_wait_together_are_scored_together_and_as_alone():
    scorer = load_fast("world.real", "cpu", threads=1)
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(3)]
    patches = [draw.normal(-3, 1, (3, 96, 64)).astype(np.float32) for _ in range(3)]
    alone = [scorer.step(picture, patch, scorer.start(), 0.0) for picture, patch in zip(pictures, patches, strict=True)]
    shared = SharedScorer(scorer, most=8)
    found = {}

    def one(index):
        found[index] = shared.step(pictures[index], patches[index], shared.start(), 0.0)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: shared.worker.waiting == 3)
    with shared:
        for thread in threads:
            thread.join(60)
    assert shared.batches == {3: 1}
    for index, (scored, past) in enumerate(alone):
        np.testing.assert_allclose(found[index][0].logits, scored.logits, atol=1e-4)
        np.testing.assert_allclose(found[index][1], past, atol=1e-5)


def test_pictures_of_other_sizes_go_in_batches_of_their_own(stub):
    shared = SharedScorer(scorer_of(stub()), most=8)
    results = []
    threads = [
        threading.Thread(target=lambda h=h: results.append(shared.step(np.zeros((h, 32, 3), np.uint8), None, 0, 0.0)))
        for h in (24, 48)
    ]
    for thread in threads:
        thread.start()
    until(lambda: shared.worker.waiting == 2)
    with shared:
        for thread in threads:
            thread.join(30)
    assert sorted(scored.logits.shape[-2] for scored, _ in results) == [24, 48]


def test_an_error_of_the_model_reaches_who_asked_and_the_model_goes_on(stub):
    model = stub()
    with SharedScorer(scorer_of(model)) as shared:
        with pytest.raises(Exception, match=r"."):
            shared.step(np.zeros((24, 32, 5), np.uint8), None, 0, 0.0)
        scored, _ = shared.step(np.zeros((24, 32, 3), np.uint8), None, 0, 0.0)
    assert scored.logits.shape[-2:] == (24, 32)
    with pytest.raises(RuntimeError, match="closed"):
        shared.step(np.zeros((24, 32, 3), np.uint8), None, 0, 0.0)


def test_outputs_of_several_streams_are_told_apart():
    outputs = numbered(Outputs(json="a-{}.jsonl", events=("mqtt://b/{}",), page="10.0.0.1:80"), 2)
    assert (outputs.json, outputs.events, outputs.page) == ("a-3.jsonl", ("mqtt://b/3",), "10.0.0.1:82")
    assert numbered(Outputs(), 1).page == "127.0.0.1:8766"
    assert numbered(Outputs(page="0"), 1).page == "0"
    with pytest.raises(ValueError, match="json"):
        numbered(Outputs(json="a.jsonl"), 0)
    with pytest.raises(ValueError, match="window"):
        numbered(Outputs(window=True), 0)
