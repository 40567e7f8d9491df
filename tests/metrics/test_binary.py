import json
import os
import subprocess
import sys
from pathlib import Path

import metrics as plain
import numpy as np
import pytest
import torch

from sonomask.metrics import PROTOCOLS, AVSMetrics, boundary_fscore, delays, fscore, jaccard
from sonomask.metrics.fscore import THRESHOLDS, counts, curves


@pytest.fixture(scope="module")
def numbers(golden):
    with np.load(golden / "metrics.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    return json.loads((golden / "metrics.json").read_text()), arrays


CASES = ["random", "correlated", "two_empty_gt", "all_empty_gt", "all_full_gt", "zero_logits", "zero_logits_empty_gt",
         "minus40",
         "plus40", "pm40", "pm100", "ties", "tiny_logits", "threshold_grid", "one_pixel_gt", "perfect", "batch20"]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_iou_and_fscore_equal_the_reference(numbers, case):
    values, arrays = numbers
    logits, truth = arrays[f"{case}.pred"], arrays[f"{case}.gt"] > 0
    assert jaccard(logits, truth)[0].tolist() == pytest.approx(values[case]["per_frame_iou"], abs=1e-6)
    assert jaccard(logits, truth)[0].mean().item() == pytest.approx(values[case]["mask_iou"], abs=1e-6)
    assert fscore(logits, truth).item() == pytest.approx(values[case]["Fmax"], abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_curves_equal_the_reference_s(numbers, case):
    _, arrays = numbers
    expected = arrays[f"{case}.curve"]
    got = curves(*counts(arrays[f"{case}.pred"], arrays[f"{case}.gt"] > 0))
    kept = ~expected.isnan()
    assert torch.allclose(got[kept], expected[kept], rtol=0, atol=1e-6)
    assert torch.equal(THRESHOLDS, arrays["thresholds_f32"])


def test_the_histogram_counts_exactly_what_255_comparisons_count():
    logits = torch.cat([torch.randn(3, 32, 32) * 4, torch.logit(THRESHOLDS.repeat(5)[:1024]).reshape(1, 32, 32)])
    truth = torch.rand(4, 32, 32) > 0.5
    assert torch.equal(curves(*counts(logits, truth)), plain.loop(logits, truth))


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_batches_give_the_reference_s_figures(numbers, batch):
    values, arrays = numbers
    logits, truth = (arrays[f"batch20.{k}"].unflatten(0, (4, 5)) for k in ("pred", "gt"))
    expected = values["_batch_size_effect_on_batch20"][str(batch)]
    name = {1: "batch1", 2: "batch2", 4: "avsbench"}[batch]
    metric = AVSMetrics([name])
    metric.update(logits, truth, indices=torch.arange(4))
    assert metric.compute()[f"{name}/miou"] == pytest.approx(expected["mean_of_batch_iou"], abs=1e-6)
    assert metric.compute()[f"{name}/fscore"] == pytest.approx(expected["mean_of_batch_F"], abs=1e-6)


def clips(count=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 5, 16, 16, generator=generator)
    truth = (logits + 2 * torch.randn(count, 5, 16, 16, generator=generator) > 1).long()
    truth[1], truth[3:4, 2:] = 0, 0
    return logits, truth


def test_no_figure_depends_on_how_clips_come_in():
    logits, truth = clips()
    whole, pieces = AVSMetrics(PROTOCOLS, boundary=True), AVSMetrics(PROTOCOLS, boundary=True)
    whole.update(logits, truth, indices=torch.arange(7))
    for part in torch.tensor([3, 6, 0]), torch.tensor([5]), torch.tensor([1, 2, 4, 0]):
        pieces.update(logits[part], truth[part], indices=part)
    assert pieces.compute() == whole.compute()


def test_dataset_iou_is_a_quotient_of_sums():
    logits, truth = clips()
    metric = AVSMetrics(["dataset"])
    metric.update(logits, truth, indices=torch.arange(7))
    found = logits.sigmoid() > 0.5
    expected = (found & (truth > 0)).sum() / (found | (truth > 0)).sum()
    assert metric.compute()["dataset/miou"] == pytest.approx(expected.item())


def test_a_protocol_s_threshold_is_used():
    logits, truth = torch.full((1, 1, 4, 4), -0.2), torch.ones(1, 1, 4, 4)  # probability 0.45
    metric = AVSMetrics(["threshold0.4", "batch1"])
    metric.update(logits, truth, indices=torch.arange(1))
    scores = metric.compute()
    assert (scores["threshold0.4/miou"], scores["batch1/miou"]) == (1, 0)


def test_frames_without_a_label_do_not_count():
    logits, truth = clips()
    labelled = torch.zeros(7, 5, dtype=torch.bool)
    labelled[:, 0] = True
    first, masked = AVSMetrics(["avsbench"]), AVSMetrics(["avsbench"])
    first.update(logits[:, :1], truth[:, :1], indices=torch.arange(7))
    masked.update(logits, truth, indices=torch.arange(7), labelled=labelled)
    assert masked.compute() == pytest.approx(first.compute())


def test_false_marks_in_silence_are_counted():
    truth = torch.zeros(1, 2, 4, 4)
    logits = torch.full((1, 2, 4, 4), -5.0)
    logits[0, 0, 0] = 5
    metric = AVSMetrics()
    metric.update(logits, truth, indices=torch.arange(1))
    scores = metric.compute()
    assert (scores["frames/silent_pixels_marked"], scores["frames/silent_frames_marked"]) == (0.125, 0.5)


def test_each_category_has_its_iou():
    logits, truth = clips(2)
    truth[1] = 1
    metric = AVSMetrics(categories=True)
    metric.update(logits, truth, indices=torch.arange(2), categories=("dog", "Gitarre, elektrisch"))
    own = jaccard(logits[1], truth[1] > 0)[0].mean().item()
    assert metric.compute()["frames/miou[Gitarre, elektrisch]"] == pytest.approx(own)


def test_boundaries_may_be_off_by_the_tolerance_and_no_more():
    truth = torch.zeros(1, 100, 100, dtype=torch.bool)
    truth[0, 30:60, 30:60] = True
    scores = [boundary_fscore(truth.roll(shift, 2), truth).item() for shift in (0, 1, 8)]
    assert scores[:2] == [1, 1]
    assert scores[2] < 0.8


def test_empty_masks_have_perfect_boundaries_and_false_ones_none():
    none, some = torch.zeros(1, 9, 9, dtype=torch.bool), torch.eye(9, dtype=torch.bool)[None]
    assert (boundary_fscore(none, none).item(), boundary_fscore(some, none).item()) == (1, 0)


def test_delays_tell_late_missed_and_standing_masks():
    truth = torch.tensor([0, 1, 1, 1, 0, 0, 1]).bool()
    late = delays(torch.tensor([0, 0, 0, 1, 1, 0, 0]).bool(), truth, onset=True, step=0.5)
    assert (late.seconds, late.missed, late.standing) == ((1.0,), 1, 0)
    assert delays(torch.tensor([0, 0, 0, 1, 1, 0, 0]).bool(), truth, onset=False, step=0.5).seconds == (0.5,)
    assert delays(torch.ones(7).bool(), truth, onset=True).standing == 2


def test_nan_is_refused():
    with pytest.raises(ValueError, match="finite"):
        AVSMetrics().update(torch.full((1, 1, 2, 2), torch.nan), torch.zeros(1, 1, 2, 2), indices=torch.arange(1))


def test_an_unknown_protocol_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="avsbench"):
        AVSMetrics(["mine"])


def _process(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    logits, truth = clips()
    metric = AVSMetrics(PROTOCOLS)
    mine = torch.arange(rank, 7, 2)
    metric.update(logits[mine], truth[mine], indices=mine)
    scores = metric.compute()
    torch.save(scores, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_figures_of_one(tmp_path):
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['_process'](int(sys.argv[2]), sys.argv[3])"
    command = [sys.executable, "-c", code, __file__]
    folders = {"PYTHONPATH": os.pathsep.join([str(Path(plain.__file__).parent), *sys.path])}
    both = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=os.environ | folders) for rank in range(2)]
    assert [process.wait(timeout=500) for process in both] == [0, 0]
    one = AVSMetrics(PROTOCOLS)
    logits, truth = clips()
    one.update(logits, truth, indices=torch.arange(7))
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == one.compute()
