"""ONNX Runtime and torch mark the same pixels."""

from pathlib import Path

import numpy as np
import pytest

import sonomask
from sonomask.checkpoints.places import BUILT_IN, GRAPH, built_in
from sonomask.inference.loading import load_fast

EXAMPLES = Path(__file__).parents[2] / "examples"
DEV = sorted((Path(__file__).parents[3] / "shared" / "data" / "real" / "videos").glob("*.mp4"))
NAMES = [name for name in built_in() if (BUILT_IN / name / GRAPH).is_file()]


def likeness(model, clip, **options):
    """Mean IoU of the two engines' masks, frame by frame, and the largest difference of a probability."""
    found = [
        list(sonomask.Segmenter(load_fast(model, "cpu", backend), device="cpu", **options)(clip))
        for backend in ("onnx", "torch")
    ]
    assert [m.times for m in found[0]] == [m.times for m in found[1]]
    scores, apart = [], 0.0
    for one, other in zip(*found, strict=True):
        union = (one.mask | other.mask).sum()
        scores.append((one.mask & other.mask).sum() / union if union else 1.0)
        apart = max(apart, float(np.abs(one.probability - other.probability).max()))
    return float(np.mean(scores)), apart


@pytest.mark.parametrize("name", NAMES)
def test_both_engines_mark_the_same_on_the_example(name):
    score, apart = likeness(name, EXAMPLES / "three_things.mp4", rate=1.0, end=6)
    assert score >= 0.999
    assert apart < 0.05


@pytest.mark.slow
@pytest.mark.skipif(not DEV, reason="the development clips are not here")
@pytest.mark.parametrize("clip", DEV, ids=lambda path: path.stem[:30])
def test_both_engines_mark_the_same_on_the_development_clips(clip):
    assert likeness(None, clip, rate=1.0)[0] >= 0.999
