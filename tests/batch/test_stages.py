"""From a video to rows, in three places or in one."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as runs

from sonomask.batch.job import VideoJob
from sonomask.batch.stages import DecodeStage, FinishStage, ScoreStage
from sonomask.inference.segmenter import Segmenter
from sonomask.media import opening

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools on numpy 2


def pieces(path, model, options, video="v"):
    decode, score, finish = (
        DecodeStage(options, model.config),
        ScoreStage(options, model),
        FinishStage(options, model.config),
    )
    sent = [pickle.loads(pickle.dumps(piece)) for piece in decode(VideoJob(video, str(path)))]  # noqa: S301 - our own
    return [finish(score(piece)) for piece in sent]


def test_the_rows_are_the_masks_of_the_segmenter(corpus, stub, options):
    *parts, last = pieces(corpus / "clip2.mp4", stub, options)
    rows = [row for part in parts for row in part.body]
    for row, masks in zip(rows, Segmenter(stub, rate=2.0)(corpus / "clip2.mp4"), strict=True):
        mask = runs.decode({"size": [row["height"], row["width"]], "counts": row["counts"]})
        assert np.array_equal(mask, masks.mask[0])
        assert (row["time"], row["presence"]) == (masks.times[0], masks.presence[0])
    assert (last.body.status, last.body.width, last.body.height) == ("done", 48, 32)


def test_the_rows_of_a_part_have_the_times_of_the_video(corpus, stub, options):
    part = replace(options, request=replace(options.request, start=1.0, end=2.0))
    *parts, last = pieces(corpus / "clip2.mp4", stub, part)
    times = [row["time"] for piece in parts for row in piece.body]
    assert [round(time, 3) for time in times] == [1.469, 1.969]
    assert last.body.status == "done"


@pytest.mark.parametrize(
    ("limits", "name", "says"),
    [
        ({}, "nonsense.mp4", "v: can't be opened"),
        ({}, "absent.mp4", "v: no such file"),
        ({"max_seconds": 1.0}, "clip2.mp4", "the limit is 1 s"),
        ({"max_pixels": 100}, "clip0.mp4", "the limit is 100"),
        ({"max_bytes": 10}, "clip0.mp4", "more than 10 bytes"),
    ],
)
def test_a_bad_video_is_an_ending_with_its_reason(limits, name, says, corpus, stub, options):
    (last,) = pieces(corpus / name, stub, replace(options, **limits))
    assert last.body.status == "failed"
    assert says in last.body.reason
    assert str(corpus) not in last.body.reason


def test_a_video_is_opened_in_a_sandbox_unless_it_is_trusted(corpus, stub, options, monkeypatch):
    monkeypatch.setattr(opening, "_try_open", lambda *_, **__: pytest.fail("opened in the process of the worker"))
    *_, last = pieces(corpus / "clip0.mp4", stub, options)
    assert last.body.status == "done"
    with pytest.raises(pytest.fail.Exception):
        pieces(corpus / "clip0.mp4", stub, replace(options, trusted=True))


def test_a_model_that_gives_no_numbers_is_a_fault_of_the_piece(corpus, stub, options):
    stub.register_buffer("nan", torch.tensor(torch.nan))
    stub.forward = lambda images, logmel: replace(
        type(stub).forward(stub, images, logmel), logits=images[:, :, :1] * torch.nan
    )
    first, *_ = pieces(corpus / "clip0.mp4", stub, options)
    assert "NaN" in first.fault


def test_a_semantic_frame_has_a_row_for_each_class():
    from sonomask.batch.stages import _rows
    from sonomask.structures import Masks

    labels = np.array([[[0, 3], [7, 3]], [[0, 0], [0, 0]]], np.uint8)
    rows = list(_rows("v", Masks((0.0, 1.0), np.zeros((2, 2, 2), np.float32), labels=labels)))
    assert [(row["time"], row["label"], row["area"]) for row in rows] == [(0.0, 3, 2), (0.0, 7, 1), (1.0, 0, 0)]
