"""Scores of single clips, and two runs compared by them."""

import numpy as np
import pytest
import torch

from sonomask.batches import Batch
from sonomask.cli.main import main
from sonomask.errors import DatasetError
from sonomask.training.clips import clip_scores, compare, read_clips, write_clips


def batch(masks):
    b, t = masks.shape[:2]
    true = torch.ones(b, t, dtype=torch.bool)
    return Batch(
        images=torch.zeros(b, t, 3, 4, 4), logmel=torch.zeros(b, t, 1, 96, 64), masks=masks, labelled=true, valid=true,
        names=tuple("ab"[:b]), categories=("dog", "cat")[:b],
    )  # fmt: skip


def test_a_clip_is_scored_by_itself():
    masks = torch.zeros(2, 1, 4, 4, dtype=torch.long)
    masks[:, :, :2] = 1
    logits = torch.full((2, 1, 1, 4, 4), -9.0)
    logits[0, 0, 0, :2], logits[1, 0, 0, :1] = 9, 9
    one, two = clip_scores(batch(masks), logits)
    assert (one["name"], one["category"], one["miou"], one["fscore"]) == ("a", "dog", 1.0, pytest.approx(1.0))
    assert two["miou"] == pytest.approx(0.5)


def test_a_clip_of_classes_is_scored_over_those_that_are_there():
    masks = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    masks[:, :, :2] = 2
    logits = torch.nn.functional.one_hot(masks, 5).movedim(-1, 2).float()
    assert clip_scores(batch(masks), logits)[0]["miou"] == 1.0


@pytest.mark.parametrize("name", ["clips.csv", "clips.parquet"])
def test_a_table_of_clips_is_read_back(name, tmp_path):
    rows = [{"name": n, "category": "", "miou": v, "fscore": v, "frames": 5} for n, v in (("a", 0.25), ("b", 0.5))]
    write_clips(rows, tmp_path / name)
    assert read_clips(tmp_path / name, "miou") == {"a": 0.25, "b": 0.5}


def test_a_table_that_is_none_is_told(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        read_clips(tmp_path, "miou")
    (tmp_path / "clips.csv").write_text("name,other\na,1\n")
    with pytest.raises(DatasetError, match="name and miou"):
        read_clips(tmp_path, "miou")


def test_a_difference_of_every_clip_is_sure_and_one_of_noise_is_not():
    generator = np.random.default_rng(0)
    one = {str(i): float(v) for i, v in enumerate(generator.random(200))}
    sure = compare(one, {k: v + 0.01 for k, v in one.items()})
    assert sure.low == pytest.approx(0.01)
    assert sure.better == 1.0
    noise = compare(one, {k: v + float(generator.normal(0, 0.1)) for k, v in one.items()})
    assert noise.low < 0 < noise.high
    # pairing counts: the same two means without it would say nothing about 0.01 among values from 0 to 1
    assert sure.high - sure.low < 1e-9


def test_the_interval_holds_the_truth_as_often_as_it_says():
    generator, held = np.random.default_rng(1), 0
    for _ in range(100):
        gains = generator.normal(0.05, 0.2, 60)
        found = compare(
            dict.fromkeys(map(str, range(60)), 0.0), dict(zip(map(str, range(60)), gains, strict=True)), draws=400
        )
        held += found.low <= 0.05 <= found.high
    assert 88 <= held <= 99


def test_runs_over_other_clips_are_not_compared():
    with pytest.raises(ValueError, match="0 clips that both have"):
        compare({"a": 1.0}, {"b": 1.0})


def test_two_runs_are_compared_on_the_command_line(tmp_path, capsys):
    for name, gain in (("one", 0.0), ("two", 0.1)):
        rows = [{"name": str(i), "category": "", "miou": i / 20 + gain, "fscore": 0, "frames": 5} for i in range(10)]
        write_clips(rows, tmp_path / name / "clips.csv")
    assert main(["compare-runs", str(tmp_path / "one"), str(tmp_path / "two"), "--draws", "200"]) == 0
    printed = capsys.readouterr().out
    assert "10 clips that both have" in printed
    assert "+0.1000" in printed
