"""Foreign sounds: who hears whom, and the figures of AVSBench-Robust."""

import pytest
import torch

from sonomask.batches import Batch
from sonomask.data.datamodule import SyntheticDataModule
from sonomask.models.catalog import create_model
from sonomask.training.evaluate import evaluate
from sonomask.training.robust import Offscreen, Share, alter, g_scores


def batch(first, categories):
    """Clips whose sound is their number."""
    b = len(categories)
    numbers = torch.arange(first, first + b).float()
    return Batch(
        images=torch.zeros(b, 2, 3, 8, 8), logmel=numbers.reshape(b, 1, 1, 1, 1).expand(b, 2, 1, 96, 64),
        masks=torch.ones(b, 2, 8, 8, dtype=torch.long), labelled=torch.ones(b, 2, dtype=torch.bool),
        valid=torch.ones(b, 2, dtype=torch.bool), names=tuple(f"clip{first + i}" for i in range(b)), categories=categories,
    )  # fmt: skip


SPLIT = [batch(i, (category,)) for i, category in enumerate(("dog",) * 5 + ("cat",) * 5)]  # the official batches of one


def heard(offscreen):
    changed = [alter(b, "offscreen", torch.Generator(), offscreen) for b in SPLIT]
    assert all(b.masks.sum() == 0 for b in changed)
    return [int(b.logmel[0, 0, 0, 0, 0]) for b in changed]


def test_each_clip_hears_one_of_another_category_from_the_whole_split():
    found = heard(Offscreen(SPLIT, seed=3))
    assert all((own < 5) != (other < 5) for own, other in enumerate(found))
    assert len(set(found)) > 3
    assert heard(Offscreen(SPLIT, seed=3)) == found
    assert heard(Offscreen(SPLIT, seed=4)) != found


def test_pairs_do_not_depend_on_how_clips_came_in_batches():
    whole = Offscreen([batch(0, ("dog",) * 5 + ("cat",) * 5)], seed=3)
    assert whole.next(10)[:, 0, 0, 0, 0].tolist() == heard(Offscreen(SPLIT, seed=3))


def test_a_split_of_one_category_has_no_sound_from_off_screen():
    with pytest.raises(ValueError, match="another category than 'dog'"):
        Offscreen(SPLIT[:5], seed=0)


def test_without_categories_it_is_another_clip_and_said_so():
    offscreen = Offscreen([batch(0, ("",) * 4)], seed=0)
    assert all(own != other for own, other in enumerate(offscreen.partners))
    assert "categories are not known" in offscreen.settings


@pytest.mark.parametrize("sound", ["silence", "noise"])
def test_another_sound_empties_the_truth(sound):
    changed = alter(SPLIT[3], sound, torch.Generator().manual_seed(0))
    assert changed.masks.sum() == 0
    assert not torch.equal(changed.logmel, SPLIT[3].logmel)


def test_who_marks_the_same_whatever_is_heard_scores_badly_and_who_falls_silent_well():
    def rows(miou, fscore):
        return [{"metric": "miou", "value": miou, "count": 7}, {"metric": "fscore", "value": fscore, "count": 7}]

    deaf = g_scores({"own": (rows(0.8, 0.9), 0.2), "silence": (rows(0.8, 0.9), 0.2), "noise": (rows(0.8, 0.9), 0.2)})
    hears = g_scores({"own": (rows(0.8, 0.9), 0.2), "silence": (rows(0.0, 0.0), 0.0), "noise": (rows(0.2, 0.1), 0.1)})
    deaf, hears = ({r["metric"]: r["value"] for r in made} for made in (deaf, hears))
    assert deaf["mean: g_miou"] == pytest.approx(2 * 0.8 * 0.2)
    assert hears["silence: g_miou"] == pytest.approx(2 * 0.8 / 1.8)
    assert hears["noise: g_miou"] == pytest.approx(0.8)
    assert hears["mean: g_fscore"] == pytest.approx((2 * 0.9 / 1.9 + 0.9) / 2)
    assert (deaf["mean: false_positive_rate"], hears["mean: false_positive_rate"]) == pytest.approx((0.2, 0.05))
    assert g_scores({"own": (rows(0.8, 0.9), 0.2)}) == []


def test_the_share_counts_frames_that_count():
    logits = torch.full((1, 2, 1, 4, 4), -1.0)
    logits[0, 0, 0, :2] = 1
    share = Share()
    share.update(logits, torch.tensor([[True, False]]))
    assert share.value() == 0.5


@pytest.mark.parametrize("classes", [1, 3])
def test_one_command_gives_all_figures_of_any_model(classes):
    clips = SyntheticDataModule(test=4, size=32, workers=0, kind="single")
    model = create_model("avs_mini", fusion="add", num_classes=classes).eval()
    report = evaluate(
        model, clips.eval_dataloader("test"), sounds=["own", "silence", "noise", "offscreen"], details=True
    )
    found = {row["metric"] for row in report.rows if row["protocol"] == "robust"}
    wanted = {
        f"{s}: {m}"
        for s in ("silence", "noise", "offscreen", "mean")
        for m in ("g_miou", "g_fscore", "false_positive_rate")
    }
    assert found == wanted
    assert report.facts["precision"] == "float32"
    assert "by seed 0" in report.facts["off-screen sounds"]
