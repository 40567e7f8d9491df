"""One set of defaults and checks for whatever is asked of masks."""

from dataclasses import fields
from inspect import signature

import pytest

from sonomask.request import Request


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0}, {"rate": 1001.0}, {"rate": "fast"}, {"rate": True}, {"rate": float("nan")}, {"threshold": -0.1},
        {"threshold": 1.5}, {"min_presence": 2.0}, {"smooth": -1}, {"smooth": 11},
        {"precision": "fp8"}, {"batch_size": 0}, {"start": -1}, {"start": "1:75"}, {"start": "soon"},
        {"end": 0}, {"end": "0:04", "start": 5}, {"end": "1:2:3:4"}, {"start": "nan"}, {"start": "-0:05"},
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
        Request(**wrong)


def test_what_the_masks_depend_on_is_all_but_the_device():
    assert {f.name for f in fields(Request)} - set(Request().mask_settings()) == {"device", "cuda_graphs"}


def test_every_field_has_a_help_text():
    assert all(f.metadata.get("help") for f in fields(Request))


def test_no_way_in_has_a_default_of_its_own_for_a_field_of_a_request():
    from sonomask import api
    from sonomask.batch.job import Options
    from sonomask.cli import corpus, live, video
    from sonomask.inference.segmenter import Segmenter
    from sonomask.live.segmenter import LiveSegmenter

    own = {f.name for f in fields(Request)}
    for way in (api.segment, Options, Segmenter, LiveSegmenter, corpus.batch, live.live, video.segment):
        assert not own & set(signature(way).parameters), way


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("40", 40), ("0:40", 40), ("1:02:03.5", 3723.5), (12.25, 12.25), ("90:00", 5400), ("7.5", 7.5)],
)
def test_a_time_is_seconds_or_a_clock_s(text, seconds):
    assert Request(start=text).start == seconds
