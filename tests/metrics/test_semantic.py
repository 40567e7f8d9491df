import json

import numpy as np
import pytest
import torch

from sonomask.metrics import SemanticMetrics
from sonomask.metrics.semantic import class_scores


def score(logits, target, **more):
    metric = SemanticMetrics(71)
    metric.update(logits[None], target[None].long(), **more)
    return metric.compute()


@pytest.fixture(scope="module")
def inputs(golden):
    def randn(seed, *shape):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    with np.load(golden / "metrics.npz") as file:
        target = torch.from_numpy(file["avss.target"]).long()
    pred = randn(501, 10, 71, 32, 32)
    hit = randn(503, 10, 32, 32) > 0.2
    corr = pred + 6 * torch.nn.functional.one_hot(target, 71).movedim(-1, 1) * hit[:, None]
    padded = corr.clone()
    padded[5:] = 0
    last = torch.zeros(10, 71, 8, 8)
    last[:, 70] = 1
    few = corr[..., :8, :8], target[..., :8, :8].clamp(max=3)
    cases = {"rand": (pred, target), "corr": (corr, target), "padded_frames_zero_logits": (padded, target), "few": few,
             "last_class": (last, torch.full((10, 8, 8), 70))}  # fmt: skip
    return cases, json.loads((golden / "metrics.json").read_text())


@pytest.mark.parametrize("case", ["rand", "corr", "padded_frames_zero_logits", "few", "last_class"])
def test_figures_equal_the_reference(inputs, case):
    cases, values = inputs
    scores, expected = score(*cases[case]), values[f"avss.{case}"]
    assert scores["avss/miou"] == pytest.approx(expected["miou_71"], abs=1e-6)
    assert scores["avss/fscore"] == pytest.approx(expected["f_71"], abs=1e-6)
    assert scores["avss/miou_drop_last"] == pytest.approx(expected["miou_noBg_official_drops_last"], abs=1e-6)
    assert scores["avss/miou_foreground"] == pytest.approx(expected["miou_drop_first"], abs=1e-6)
    assert scores["avss/miou_seen"] == pytest.approx(expected["miou_over_present"], abs=1e-6)


def test_unpadded_figures_leave_padded_frames_out():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(4, 71, 8, 8, generator=generator), torch.randint(0, 71, (4, 8, 8), generator=generator)
    logits[2:], target[2:] = 0, 0
    valid = torch.tensor([[True, True, False, False]])
    assert score(logits, target, valid=valid)["avss_unpadded/miou"] == pytest.approx(
        score(logits[:2], target[:2])["avss/miou"]
    )


def test_scores_equal_a_loop_over_classes():
    generator = torch.Generator().manual_seed(1)
    found, truth = (torch.randint(0, 4, (2, 6, 6), generator=generator) for _ in range(2))
    iou, _, seen = class_scores(found, truth, 5)
    for n in range(2):
        for k in range(5):
            either = ((found[n] == k) | (truth[n] == k)).sum()
            assert seen[n, k] == (either > 0)
            both = ((found[n] == k) & (truth[n] == k)).sum()
            assert iou[n, k].item() == pytest.approx(both.item() / max(either.item(), 1))


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="labels 0 to 70"):
        score(torch.zeros(1, 71, 2, 2), torch.full((1, 2, 2), 71))
