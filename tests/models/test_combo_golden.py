"""COMBO and VCT on the references' deterministic weights, converted as a user's file is, against the references' numbers."""

import json
import re

import numpy as np
import pytest
import torch

from sonomask.checkpoints.convert import convert_state, recognise
from sonomask.models.catalog import create_model
from sonomask.models.nets import vct
from sonomask.training.evaluate import fit

CASES = {
    "combo": ("res50_s4", "res50_avss_mhanone", "res50_avss", "pvt_s4", "pvt_avss"),
    "vct": ("swinb_ms3", "swinb_s4", "swinb_avss"),
}
QUICK = ("res50_s4",)
EVERY = [(system, case) for system, cases in CASES.items() for case in cases]


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def keys_of(shared, system, case):
    keys = json.loads((shared / f"golden/zoo/{system}/keys_{case}.json").read_text())["keys"]
    return {key: shape for key, (shape, _) in keys.items()}


def inputs(system, case):
    """A clip, its sound as the reference's VGGish would give it, and its maskige."""
    count, size = (2, 384) if system == "vct" else (5, 224)
    images, maskige = (randn(count, 3, size, size, seed=seed)[None] for seed in (1234, 5678))
    rows = 10 if "avss" in case else count
    sound = randn(rows, 512, 6, 4, seed=4321) if system == "vct" else randn(rows, 128, seed=4321)
    return images, sound.relu()[None, :count], None, maskige


def runner_up(fit):
    """VCT's choice of a query for each pixel, but where two fit alike to float32's last digits, the other of them."""
    best, index = fit.topk(2, 1)
    tied = best[:, :1] - best[:, 1:] < 1e-6
    assert tied.sum() <= 1  # else there would be more than two answers to compare with
    return torch.zeros_like(fit).scatter_(1, torch.where(tied, index[:, 1:], index[:, :1]), 1.0)


@torch.inference_mode()
def answers(model, given, system):
    said, predict = [], model.predict
    model.predict = lambda *given, **_: said.append(predict(*given)) or said[-1]
    logits = fit(model.decode(*given).logits, (224, 224))[0]
    model.predict = predict
    said = said[0][0] if system == "vct" else said[0]
    return {
        "pred_logits": said.classes[-1], "pred_masks": said.masks[-1], "pred_logits_0": said.classes[0],
        "pred_masks_0": said.masks[0], "logits": logits,
    }  # fmt: skip


def apart(ours, about, numbers):
    """Names of what differs by more than the reference differs from itself in float64."""
    different = []
    for name in set(ours) & set(about):
        theirs = torch.from_numpy(numbers[name])
        if name == "logits" and about[name]["shape"][1] == 2:  # background and object there, their difference here
            theirs = theirs[:, 1:] - theirs[:, :1]
        taken = ours[name][tuple(slice(None, None, step) for step in about[name]["stride"])]
        if (taken - theirs).abs().max() > (2e-3 if name == "logits" else 2e-4):
            different.append(name)
    return different


@pytest.mark.parametrize(
    ("system", "case"),
    [pytest.param(s, c, marks=() if c in QUICK else pytest.mark.slow) for s, c in EVERY],
)
def test_masks_classes_and_logits_are_those_of_the_reference(system, case, shared, fill, monkeypatch):
    about, numbers = (
        json.loads(next((shared / f"golden/zoo/{system}").glob(f"{case}_[0-9]*.json")).read_text()),
        np.load(next((shared / f"golden/zoo/{system}").glob(f"{case}_[0-9]*.npz"))),
    )
    model = convert_state(fill(keys_of(shared, system, case))).eval()
    different = apart(answers(model, inputs(system, case), system), about, numbers)
    if different and system == "vct":
        monkeypatch.setattr(vct, "_hard", runner_up)
        different = apart(answers(model, inputs(system, case), system), about, numbers)
    assert different == []


@pytest.mark.parametrize(("system", "case"), EVERY)
def test_every_key_is_used_or_known_to_be_dead(system, case, shared):
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in keys_of(shared, system, case).items()}
        layout = recognise(state)
        own = create_model(layout.name, **layout.options).state_dict()
    shapes = {key: tensor.shape for key, tensor in layout.rename(state).items()}
    wanted = {key: tensor.shape for key, tensor in own.items() if not re.search(layout.derived, key)}
    assert shapes == wanted


@pytest.mark.parametrize(
    ("system", "case", "expected"),
    [
        ("combo", "res50_s4", ("combo_resnet50", "combo", (224, 224), None, 5)),
        ("combo", "pvt_avss", ("combo_pvt_v2_b5", "avss_unpadded", (224, 224), None, 10)),
        ("vct", "swinb_s4", ("vct_swin_b", "combo", (384, 384), (224, 224), 5)),
        ("vct", "swinb_avss", ("vct_swin_b", "avss_unpadded", (384, 384), (224, 224), 10)),
    ],
)
def test_protocol_and_sizes_of_the_published_figure_travel_with_the_model(system, case, expected, shared):
    with torch.device("meta"):
        layout = recognise({key: torch.empty(shape) for key, shape in keys_of(shared, system, case).items()})
        config = create_model(layout.name, **layout.options).config
    assert (config.name, config.protocol, config.image_size, config.score_size, config.clip_length) == expected
    assert config.maskige


def test_converted_combo_mixes_its_sounds_and_vct_names_its_kinds(shared):
    with torch.device("meta"):
        combo, vct = (
            recognise({k: torch.empty(s) for k, s in keys_of(shared, system, case).items()})
            for system, case in (("combo", "res50_avss_mhanone"), ("vct", "swinb_s4"))
        )
    assert (combo.options["audio_queries"], combo.options["fusion"]) == ("mixed", "none")
    assert vct.options["categories"][18] == "ambulance_siren"
