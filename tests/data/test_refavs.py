"""Ref-AVS's layout and its metrics, on a small tree of the synthetic world and by hand."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from sonomask.benchmark.referring import refer
from sonomask.cli.main import main
from sonomask.data.drawn.world import FRAME, scene
from sonomask.data.refavs import RefAVS
from sonomask.errors import DatasetError
from sonomask.media.writer import write_wav
from sonomask.metrics.referring import ReferringScore


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A video of ten seconds with a sentence of the first thing, and one that means nothing."""
    root = tmp_path_factory.mktemp("refavs")
    made, video = scene(3, size=(48, 64), seconds=10), "abc_0_10000"
    for name in (video, "null_c-abc"):
        (root / "media" / name / "frames").mkdir(parents=True)
        for second in range(10):
            Image.fromarray(made.frame(second + FRAME)[0]).save(root / "media" / name / "frames" / f"{second}.jpg")
        write_wav(root / "media" / name / "audio.wav", made.waveform())
    masks = root / "gt_mask" / video / "fid_1"
    masks.mkdir(parents=True)
    for second in range(10):
        Image.fromarray(255 * (made.instances(second + FRAME) == 1).astype(np.uint8)).save(masks / f"{second:05d}.png")
    with (root / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["vid", "uid", "split", "fid", "exp"])
        rows.writerow([video, f"{video}_dog_1", "test_s", "1", "the dog that barks, on the left"])
        rows.writerow([video, "null_c-abc_null_2", "test_n", "0", "the horn behind the door"])
    return root


def test_a_tree_is_read(tree):
    (one,) = RefAVS(tree, "test_s")
    assert one.text == "the dog that barks, on the left"
    assert (len(one.pictures()), one.truth().shape) == (10, (10, 256, 256))
    assert len(one.waveform()) == 160_000
    made = scene(3, size=(48, 64), seconds=10)
    np.testing.assert_array_equal(
        one.truth().any((1, 2)), [(made.instances(s + FRAME) == 1).any() for s in range(10)]
    )  # fmt: skip
    (null,) = RefAVS(tree, "test_n")
    assert not null.truth().any()
    assert len(null.pictures()) == 10


def test_a_row_that_leads_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "metadata.csv").write_text("uid,split,fid,exp\n../../etc_a_1,val,1,x\n")
    with pytest.raises(DatasetError):
        RefAVS(tmp_path, "val")[0]
    (tmp_path / "metadata.csv").write_text("uid,split,fid,exp\na_b_1,val,../..,x\n")
    with pytest.raises(DatasetError, match="fid"):
        RefAVS(tmp_path, "val")[0]
    with pytest.raises(ValueError, match="test_u"):
        RefAVS(tmp_path, "test")


def clip(value, *, left=True):
    truth = torch.zeros(2, 8, 8, dtype=torch.bool)
    if left:
        truth[:, :, :4] = True
    return torch.full((2, 8, 8), value), truth


def test_j_and_s_have_thresholds_of_their_own():
    """At 0.45 everything is marked for J, where half is meant, and nothing for S."""
    score = ReferringScore()
    score.update(*clip(0.45))
    found = score.compute()
    assert found["J"] == pytest.approx(0.5, abs=1e-6)
    assert found["S"] == 0
    precision, recall = 0.5, 1.0
    assert found["F"] == pytest.approx(1.3 * precision * recall / (0.3 * precision + recall), abs=1e-6)
    assert found["J&F"] == pytest.approx((found["J"] + found["F"]) / 2)


def test_frames_without_truth_count_what_is_rightly_empty():
    score = ReferringScore()
    probability, truth = clip(0.0, left=False)
    probability[:, :2] = 0.9  # a quarter
    score.update(probability, truth)
    found = score.compute()
    assert found["J"] == pytest.approx(0.75, abs=1e-6)
    assert found["S"] == pytest.approx(0.5)


def test_batches_count_alike_whatever_their_clips():
    score = ReferringScore(batch=2)
    for value in (0.9, 0.9, 0.0):
        score.update(*clip(value))
    assert score.compute()["J"] == pytest.approx((0.5 + 0.0) / 2, abs=1e-6)
    with pytest.raises(ValueError, match="at least one"):
        ReferringScore().compute()


def test_the_verb_scores_a_model(tree, capsys):
    assert main(["evaluate-referring", str(tree), "--split", "test_s", "--model", "avs_mini.synthetic"]) == 0
    told = capsys.readouterr().out
    assert "J&F" in told
    assert "takes no words" in told


def test_a_model_that_takes_words_gets_the_sentence(tree):
    from sonomask.api import load_fast

    asked = []

    class Asked:
        def __init__(self, scorer):
            self.scorer, self.config, self.device = scorer, scorer.config, "cpu"

        def __call__(self, *given, **options):
            return self.scorer(*given, **options)

        def to(self, _):
            return self

        def prompted(self, words):
            asked.extend(words)
            return self

    figures = refer(Asked(load_fast("avs_mini.synthetic", "cpu")), RefAVS(tree, "test_s"), device="cpu")
    assert asked == ["the dog that barks, on the left"]
    assert 0 <= figures["J"] <= 1
