"""`rate="auto"`: as many masks a second as the machine makes in half of the time."""

# ruff: noqa: ARG002 - a scorer's own arguments
import numpy as np
import pytest

from sonomask.batch import run as batch
from sonomask.batch.job import Options
from sonomask.inference import pace
from sonomask.inference.scorer import Scored
from sonomask.inference.segmenter import Segmenter
from sonomask.live.segmenter import LiveSegmenter
from sonomask.request import FOR_STREAMS, Request
from sonomask.structures import ModelConfig


class Model:
    """One whose runs take as long as is said, by a clock of its own."""

    device = "cpu"

    def __init__(self, seconds, **config):
        self.config, self.seconds, self.now = ModelConfig("stub", image_size=(32, 32), **config), iter(seconds), 0.0

    def __call__(self, pictures, logmel, maskige=None, *, attention=False, past=None):
        self.now += next(self.seconds)
        return Scored(np.zeros((*pictures.shape[:2], 1, 32, 32), np.float32))

    def to(self, device):
        return self

    def start(self):
        return None

    def step(self, picture, logmel, past, time):
        return self(picture[None, None], None), None


@pytest.mark.parametrize(("seconds", "config", "rate"), [
    ([9, 1, 0.5, 2], {"clip_length": 5}, 5), ([9, 1, 0.9, 0.8], {"recurrent": True}, 2),
    ([0, 0, 0, 0], {}, 30), ([50, 50, 50, 50], {}, 1),
])  # fmt: skip
def test_the_quickest_of_some_runs_tells_the_rate(seconds, config, rate, monkeypatch):
    model = Model(seconds, **config)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: model.now)
    assert Segmenter(model, Request(rate="auto")).request.rate == rate


@pytest.mark.parametrize(("integers", "taken"), [(1, "int8"), (3, "float32")])
def test_a_stream_takes_the_quicker_of_two_forms_unless_told(integers, taken, monkeypatch):
    floats, whole = Model([2] * 4), Model([integers] * 4)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: floats.now + whole.now)
    floats.precision, whole.precision = "float32", "int8"
    floats.forms = lambda: [floats, whole]
    assert LiveSegmenter(floats).scorer.precision == taken
    assert LiveSegmenter(floats, precision="float32").scorer is floats


def test_a_stream_takes_the_newest_picture_anyway_and_a_corpus_wants_a_number():
    assert LiveSegmenter(Model([]), Request(rate="auto")).rate == FOR_STREAMS.rate
    with pytest.raises(ValueError, match="`rate`"):
        batch.run([], "nowhere", Options("stub", request=Request(rate="auto")))
