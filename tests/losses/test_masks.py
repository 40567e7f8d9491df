import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sonomask.batches import Output
from sonomask.losses import masks as losses
from sonomask.losses.masks import Matching

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "losses.json").read_text())
FLAGS = GOLDEN["_inputs_avss"]["flags"]


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def binary():
    pred = F.interpolate(3 * randn(201, 10, 1, 14, 14), (224, 224), mode="bilinear")
    truth = F.interpolate(randn(202, 10, 1, 14, 14), (224, 224), mode="bilinear") > 0
    sides = (56, 28, 14, 7)
    sound = [randn(220 + i, 2, 5, 256) for i in range(4)]
    raw = [randn(210 + i, 10, 256, s, s) for i, s in enumerate(sides)]
    related = [F.relu(v + 2 * a.reshape(10, 256, 1, 1)) for v, a in zip(raw, sound, strict=True)]
    return pred.unflatten(0, (2, 5)), truth.reshape(2, 5, 224, 224), [F.relu(v) for v in raw], related, sound


@pytest.fixture(scope="module")
def semantic():
    pred = randn(301, 10, 71, 56, 56)
    pred[:, 0] += 2
    label = torch.randint(0, 71, (10, 56, 56), generator=torch.Generator().manual_seed(302))
    label[:, :28] = 0
    maps = [F.relu(randn(310 + i, 10, 256, s, s)) for i, s in enumerate((14, 7, 4, 2))]
    return pred[None], label[None], maps, [randn(320 + i, 2, 5, 256) for i in range(4)]


def settings(name):
    """How a golden case's name reads as a `Matching`."""
    setting, function, *words = name.split(".")
    stages = next((w for w in words if w.startswith("stages")), "stages0123").removeprefix("stages")
    threshold, semantic = "thr1" in words, setting == "AVSS"
    nearest = function == "closer_loss"
    mask = {"S4": "hard", "MS3": "threshold" if threshold else "soft"}.get(setting, "labels" + "_threshold" * threshold)
    distance = "cosine" if setting == "S4" else "euclidean" if words[0] == "both" else words[0]
    if semantic and nearest and distance == "kl":
        nearest = False  # the reference compares with the sound here, whatever the name says
    how = {"mask": mask, "distance": distance, "partner": "nearest" if nearest else "sound",
           "pool": "max" if "max" in words else "avg", "normalise": "norm1" in words,
           "sum": setting == "MS3" and distance == "kl"}  # fmt: skip
    return how, [int(s) for s in stages], next((w for w in words if w in FLAGS), None)


def cases():
    wrong = pytest.mark.wrong_arguments
    found = [key for key in GOLDEN if "A_MaskedV" in key or "closer_loss" in key]
    return [pytest.param(key, marks=wrong if "error" in GOLDEN[key] else ()) for key in found]


@pytest.mark.parametrize("name", cases())
def test_matching_equals_the_reference(name, binary, semantic):
    case = GOLDEN[name]
    how, stages, flags = settings(name)
    if "error" in case:
        with pytest.raises(ValueError, match="distance"):
            Matching(**how)
        return
    if flags:
        logits, _, maps, sound = semantic
        maps, sound = [m.unflatten(0, (1, 10)) for m in maps], [s.reshape(1, 10, 256) for s in sound]
        valid = torch.tensor(FLAGS[flags])[None] > 0
    else:
        logits, _, plain, related, sound = binary
        maps, valid = [m.unflatten(0, (2, 5)) for m in (related if case["corr_inputs"] else plain)], None
    first = maps[0].clone().requires_grad_()
    output = Output(logits, (first, *maps[1:]), tuple(s if i in stages else None for i, s in enumerate(sound)))
    value = losses.matching(output, valid, variant=Matching(**how))
    assert value.item() == pytest.approx(case["value"], rel=1e-5, abs=1e-6)
    expected = (case.get("grad_abs_sum") or {}).get("v_map0")
    if expected is not None:
        (gradient,) = torch.autograd.grad(value, first)
        assert gradient.abs().sum().item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("S4.F1_IoU_BCELoss", 1),
        ("MS3.F5_IoU_BCELoss", 1),
        ("MS3.F5_IoU_BCELoss.logits_times_40", 40),
        ("MS3.F5_IoU_BCELoss.logits_times_200", 200),
    ],
)
def test_binary_cross_entropy_equals_the_reference(name, factor, binary):
    logits, truth, *_ = binary
    labelled = torch.tensor([[True, *[name[:2] == "MS"] * 4]] * 2)
    value = losses.binary_cross_entropy(logits * factor, truth.long(), labelled)
    assert value.item() == pytest.approx(GOLDEN[name]["value"], rel=1e-6)


@pytest.mark.parametrize("flags", ["v1s", "v1m", "v2"])
def test_cross_entropy_equals_the_reference(flags, semantic):
    logits, label, *_ = semantic
    value = losses.cross_entropy(logits, label, torch.tensor(FLAGS[flags])[None] > 0)
    assert value.item() == pytest.approx(GOLDEN[f"AVSS.F10.{flags}"]["value"], rel=1e-6)


def total(binary, semantic, name):
    if name.startswith("AVSS"):
        logits, label, maps, sound = semantic
        valid = torch.tensor(FLAGS[name.rsplit(".", 1)[1]])[None] > 0
        output = Output(
            logits, tuple(m.unflatten(0, (1, 10)) for m in maps), tuple(s.reshape(1, 10, -1) for s in sound)
        )
        return losses.cross_entropy(logits, label, valid) + 0.5 * losses.matching(output, valid, variant="avss")
    logits, truth, plain, related, sound = binary
    maps = related if GOLDEN[name]["corr_inputs"] else plain
    output = Output(logits, tuple(m.unflatten(0, (2, 5)) for m in maps), tuple(sound))
    labelled = torch.tensor([[True, *[name[:2] == "MS"] * 4]] * 2)
    weight, variant = {"S4.total.lambda50.stages0123": (50, "s4"), "MS3.total.train_sh(lambda0.5,kl,norm False)": (0.5, "ms3"),
                       "MS3.total.closer(lambda0.5,kl,norm False)": (0.5, "ms3_closer")}.get(name, (0, "s4"))  # fmt: skip
    loss = losses.binary_cross_entropy(logits, truth.long(), labelled)
    return loss + weight * losses.matching(output, variant=variant)


@pytest.mark.parametrize("name", [key for key in GOLDEN if ".total." in key])
def test_the_sums_that_the_reference_trains_with_are_equal(name, binary, semantic):
    assert total(binary, semantic, name).item() == pytest.approx(GOLDEN[name]["value"], rel=1e-6)


@pytest.mark.parametrize("variant", losses.RELEASED)
def test_a_batch_without_any_sounding_pixel_is_finite(variant):
    classes = 3 if variant.startswith("avss") else 1
    logits = torch.full((1, 5, classes, 8, 8), -50.0).requires_grad_()
    maps = torch.zeros(1, 5, 4, 2, 2).requires_grad_()
    loss = losses.matching(Output(logits, (maps,), (torch.zeros(1, 5, 4),)), variant=variant)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize("loss", [losses.binary_cross_entropy, losses.cross_entropy, losses.dice])
def test_no_labelled_frame_costs_nothing(loss):
    logits = torch.randn(1, 2, 1, 4, 4, requires_grad=True)
    value = loss(logits, torch.zeros(1, 2, 4, 4, dtype=torch.long), torch.zeros(1, 2, dtype=torch.bool))
    value.backward()
    assert value == 0
    assert logits.grad.abs().sum() == 0


def test_the_attention_term_asks_each_level_for_the_mask_at_its_size():
    truth = torch.zeros(1, 2, 8, 8, dtype=torch.long)
    truth[:, 0, :4] = 1
    right = torch.full((1, 2, 2, 2), -30.0)
    right[:, 0, 0] = 30.0
    labelled, output = torch.ones(1, 2, dtype=torch.bool), Output(torch.zeros(1, 2, 1, 8, 8), match=(right, None))
    assert losses.attention(output, truth, labelled) < 1e-6
    assert losses.attention(Output(output.logits, match=(-right,)), truth, labelled) > 20
    assert losses.attention(Output(output.logits, match=(None,)), truth, labelled) == 0


def test_dice_of_a_perfect_mask_is_near_zero_and_of_a_wrong_one_near_one():
    truth = torch.zeros(1, 1, 40, 40, dtype=torch.long)
    truth[..., :20, :] = 1
    confident = 40.0 * (2 * truth - 1)[:, :, None]
    everything = torch.ones(1, 1, dtype=torch.bool)
    assert losses.dice(confident, truth, everything) < 0.01 < 0.95 < losses.dice(-confident, truth, everything)


def test_an_unknown_variant_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="ms3_closer"):
        losses.matching(Output(torch.zeros(1, 1, 1, 2, 2)), variant="paper")


def test_class_weights_weigh_classes_and_must_fit():
    logits = torch.randn(1, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    masks, every = torch.zeros(1, 1, 4, 4, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool)
    masks[..., :2, :] = 2
    each = -logits[0, 0].log_softmax(0).gather(0, masks[0, 0][None])[0]
    wanted = (each[:2].mean() * 3 + each[2:].mean()) / 4
    value = losses.cross_entropy(logits, masks, every, torch.tensor([1.0, 1.0, 3.0]))
    torch.testing.assert_close(value, wanted)


def test_a_score_that_is_not_a_number_makes_the_loss_one_and_is_no_riddle():
    logits = torch.zeros(1, 2, 1, 4, 4, requires_grad=True)
    spoilt = logits + torch.where(torch.arange(32) == 3, torch.nan, 0.0).view(1, 2, 1, 4, 4)
    masks, labelled = torch.ones(1, 2, 4, 4, dtype=torch.long), torch.tensor([[True, False]])
    assert losses.binary_cross_entropy(spoilt, masks, labelled).isnan()
    assert losses.binary_cross_entropy(logits, masks, labelled).isfinite()
