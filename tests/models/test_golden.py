"""The model on the reference's deterministic weights, converted as a user's checkpoint is, against the reference's numbers."""

import json

import numpy as np
import pytest
import torch

from sonomask.checkpoints.convert import convert_state
from sonomask.models.optimize import optimize
from sonomask.models.parts.tpavi import TPAVI

CASES = [
    *(f"avs_ms3_{net}_{fusion}" for net in ("resnet", "pvt") for fusion in ("none", "va", "vvva")),
    "avs_ms3_resnet_vv", "avs_ms3_resnet_va_s23",
    *(f"avss_{net}_{fusion}" for net in ("resnet", "pvt") for fusion in ("va", "va_half", "vvva_half")),
    "avss_resnet_vvva",
]  # fmt: skip
FUSION = {(True, False): "tpavi", (False, True): "visual", (True, True): "both", (False, False): "none"}


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def converted(golden, fill):
    """Model, inputs and the reference's numbers of a case."""

    def build(case):
        about = json.loads((golden / f"model_{case}.json").read_text())
        semantic, net = case.startswith("avss"), "pvt" if "pvt" in case else "resnet"
        keys = json.loads((golden / f"keys_{'avss' if semantic else 'avs_ms3'}_{net}.json").read_text())["keys"]
        stages = {f"tpavi_b{i + 1}" for i in about["tpavi_stages"] or ()}
        wanted = {k: v["shape"] for k, v in keys.items() if not k.startswith("tpavi") or k.split(".")[0] in stages}
        model = convert_state(fill(wanted), fusion=FUSION[about["va"], about["vv"]]).eval()
        clips = (1, 10) if semantic else (2, 5)
        images, sound = randn(10, 3, 224, 224, seed=1234), randn(10, 128, seed=4321).relu()
        flags = about.get("vid_temporal_mask_flag")
        valid = torch.tensor(flags).bool().view(clips) if flags else None
        numbers = np.load(golden / f"model_{case}.npz")
        return model, (images.unflatten(0, clips), sound.unflatten(0, clips), valid), numbers

    return build


@pytest.mark.parametrize("case", CASES)
def test_logits_and_maps_are_those_of_the_reference(case, converted):
    model, inputs, numbers = converted(case)
    with torch.inference_mode():
        output = model.decode(*inputs)
    logits = output.logits.flatten(0, 1)
    logits = logits[::3, ::4, ::8, ::8] if case.startswith("avss") else logits[:, :, ::4, ::4]
    torch.testing.assert_close(logits, torch.from_numpy(numbers["pred"]), atol=2e-4, rtol=0)
    for level, step in enumerate((7, 4, 2, 1)):
        ours = output.fused[level].flatten(0, 1)[::3, ::16, ::step, ::step]
        theirs = torch.from_numpy(numbers[f"feat{level + 1}"])
        assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max()


@pytest.mark.parametrize("case", ["avs_ms3_resnet_va", "avs_ms3_pvt_vvva", "avss_resnet_va_half"])
def test_the_fast_form_gives_the_same_logits(case, converted):
    model, inputs, numbers = converted(case)
    with torch.inference_mode():
        logits = optimize(model).decode(*inputs).logits.flatten(0, 1)
    logits = logits[::3, ::4, ::8, ::8] if case.startswith("avss") else logits[:, :, ::4, ::4]
    torch.testing.assert_close(logits.float(), torch.from_numpy(numbers["pred"]), atol=2e-4, rtol=0)


NAMES = {"align_channel": "align", "W_z.0": "out", "W_z.1": "bn", "norm_layer": "norm"}


def block(golden, fill, case):
    about = json.loads((golden / "tpavi.json").read_text())["cases"][case]
    made = TPAVI(about["in_channels"], 128, keys="tpavi" if about["audio"] else "visual")
    own, values = made.state_dict(), {}
    for key, value in fill(about["keys"]).items():
        for theirs, ours in NAMES.items():
            key = key.replace(theirs, ours)
        if key in own:
            values[key] = value.reshape(own[key].shape)
    made.load_state_dict(values, strict=about["audio"])
    b, c, t, h, w = about["shape"]
    x = randn(b, c, t, h, w, seed=11).transpose(1, 2).contiguous().requires_grad_()
    return made.train(about["train"]), x, randn(b, t, 128, seed=12).requires_grad_(), about


@pytest.mark.parametrize("case", ["dot_audio", "dot_noaudio", "dot_audio_train", "dot_noaudio_train", "dot_audio_256"])
def test_tpavi_and_its_gradients_are_those_of_the_reference(case, golden, fill):
    numbers = np.load(golden / "tpavi.npz")
    made, x, sound, about = block(golden, fill, case)
    out, _ = made(x, sound if about["audio"] else None)
    out = out.transpose(1, 2)
    torch.testing.assert_close(out, torch.from_numpy(numbers[f"{case}.out"]), atol=1e-5, rtol=1e-5)
    if f"{case}.grad_x" not in numbers:
        return
    (out * randn(*out.shape, seed=13)).sum().backward()
    theirs = torch.from_numpy(numbers[f"{case}.grad_x"])
    torch.testing.assert_close(x.grad.transpose(1, 2), theirs, atol=2e-5, rtol=2e-5)
    if about["audio"]:
        torch.testing.assert_close(sound.grad, torch.from_numpy(numbers[f"{case}.grad_audio"]), atol=5e-4, rtol=1e-4)
    if about["train"]:
        torch.testing.assert_close(made.bn.running_mean, torch.from_numpy(numbers[f"{case}.W_z.1.running_mean"]))
        torch.testing.assert_close(made.bn.running_var, torch.from_numpy(numbers[f"{case}.W_z.1.running_var"]))
