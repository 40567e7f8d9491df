"""Checkpoints of the reference become ours, or are refused by name."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from sonomask.checkpoints import folder as weights
from sonomask.checkpoints.backbones import load_backbone
from sonomask.checkpoints.convert import convert, convert_state, recognise
from sonomask.checkpoints.files import read_checkpoint
from sonomask.cli.main import main
from sonomask.data.tree import write_tree
from sonomask.errors import WeightsError
from sonomask.models.catalog import create_model

VIDEO = str(Path(__file__).parents[2] / "examples" / "three_things.mp4")


@pytest.fixture
def state(golden, fill):
    keys = json.loads((golden / "keys_avs_ms3_resnet.json").read_text())["keys"]
    return fill({k: v["shape"] for k, v in keys.items()})


def test_a_checkpoint_becomes_a_folder_that_loads(state, tmp_path):
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "a.pth")
    made = convert(tmp_path / "a.pth", tmp_path / "m")
    again = weights.load(tmp_path / "m")
    assert weights.fingerprint(again) == weights.fingerprint(made)
    assert again.config.name == "avs_resnet50"
    assert again.config.pairing == "avsbench"


@pytest.mark.parametrize("change", ["missing", "left over", "of another shape"])
def test_what_does_not_fit_is_named(change, state):
    key = "conv1.conv2d_list.0.weight"
    if change == "missing":
        del state[key]
    elif change == "left over":
        state["mystery.weight"] = torch.zeros(1)
    else:
        state[key] = torch.zeros(2, 2)
    with pytest.raises(WeightsError, match=change):
        convert_state(state)


@pytest.fixture(scope="module")
def avsegformer(shared, fill):
    keys = json.loads((shared / "golden/zoo/avsegformer/keys_res50_s4.json").read_text())["keys"]
    return fill({key: shape for key, (shape, _) in keys.items()})


def test_an_avsegformer_is_known_by_its_names_and_becomes_a_folder_with_its_protocol(avsegformer, tmp_path):
    torch.save(avsegformer, tmp_path / "S4_res50.pth")
    convert(tmp_path / "S4_res50.pth", tmp_path / "m")
    model = weights.load(tmp_path / "m")
    assert model.config.name == "avsegformer_resnet50"
    assert (model.config.image_size, model.config.protocol, model.config.pairing) == ((512, 512), "batch2", "avsbench")
    assert torch.equal(model.audio_proj.weight, avsegformer["audio_proj.weight"])


@pytest.mark.parametrize("name", ["keys_res50_s4", "keys_pvt_s4", "keys_res50_avss", "keys_pvt_avss"])
def test_every_key_of_avsegformer_is_used_or_known_to_be_dead(name, shared):
    keys = json.loads((shared / f"golden/zoo/avsegformer/{name}.json").read_text())["keys"]
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, (shape, _) in keys.items()}
        layout = recognise(state)
        own = create_model(layout.name, **layout.options).state_dict()
    renamed = layout.rename(state)
    assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in own.items()}
    dead = {key.split(".")[1] for key in state if any(re.search(pattern, key) for pattern in layout.dead)}
    assert dead == {"fpn", "attn_fc"} | ({"layer3_2", "layer4_2"} if "res50" in name else set())


@pytest.mark.parametrize("change", ["missing", "left over"])
def test_an_avsegformer_that_is_not_whole_is_refused_by_name(change, avsegformer):
    state = {**avsegformer, "mystery.weight": torch.zeros(1)}
    if change == "missing":
        state = {k: v for k, v in avsegformer.items() if k != "head.level_embed"}
    with pytest.raises(WeightsError, match=f"{change}: (encoder.level_embed|mystery.weight)"):
        convert_state(state)


def test_an_avsegformer_brings_its_own_ear(avsegformer):
    with pytest.raises(WeightsError, match="holds its own VGGish"):
        convert_state(avsegformer, listens=True)


@pytest.mark.parametrize("inside", ["state_dict", "model"])
def test_a_training_checkpoint_is_opened_where_its_tensors_are(inside, tmp_path):
    torch.save({inside: {"a": torch.ones(1)}, "iteration": 7}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth") == {"a": torch.ones(1)}


def test_another_models_checkpoint_is_refused():
    with pytest.raises(WeightsError, match="no checkpoint of AVSBench"):
        convert_state({"head.weight": torch.zeros(3)})


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="tensors only"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "pwned").exists()


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path / "none.pth")


def test_both_encoders_of_combo_start_from_the_same_weights(tmp_path):
    torch.manual_seed(0)
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    model = create_model("combo_resnet50", backbone="resnet18", audio="light", width=32, audio_hidden=8)
    load_backbone(model, tmp_path / "resnet18.pth")
    frames, maskige = (net.state_dict() for net in model.backbone.nets)
    assert torch.equal(frames["layer4.1.conv2.weight"], torch.load(tmp_path / "resnet18.pth")["layer4.1.conv2.weight"])
    assert all(torch.equal(frames[key], maskige[key]) for key in frames)


def test_vct_starts_from_the_official_file_of_swin(tmp_path):
    name = "swin_tiny_patch4_window7_224"
    model = create_model("vct_swin_b", backbone=name, size=64, width=32, audio_hidden=8, maskige=False)
    own = model.backbone.nets[0].state_dict()

    def official(key):
        key = re.sub(r"^layers_(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key)
        return re.sub(r"^layers_(\d)\.", r"layers.\1.", key)

    state = {official(key): torch.randn_like(v) if v.is_floating_point() else v for key, v in own.items()}
    extra = {
        "head.weight": torch.zeros(1),
        "norm.weight": torch.zeros(1),
        "layers.0.blocks.1.attn_mask": torch.zeros(9),
    }
    torch.save({"model": {**state, **extra}}, tmp_path / "swin.pth")
    load_backbone(model, tmp_path / "swin.pth")
    ours = model.backbone.nets[0].state_dict()["layers_2.downsample.reduction.weight"]
    assert torch.equal(ours, state["layers.1.downsample.reduction.weight"])


LAYOUTS = {
    "avsegformer": ("res50_s4", lambda state: state, "pictures: 512×512", "truth 512×512", "protocol: batch2"),
    "combo": (
        "res50_s4", lambda state: {"model": state, "iteration": 89_999}, "pictures: 224×224", "truth 224×224",
        "protocol: combo",
    ),
    "vct": (
        "swinb_s4", lambda state: {"model": state, "optimizer": {}}, "pictures: 384×384", "truth 224×224",
        "protocol: combo",
    ),
}  # fmt: skip
"""Of each system a file in its published form, and what `evaluate` is to say unasked."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries that evaluation starts
@pytest.mark.parametrize("system", LAYOUTS)
def test_a_published_file_is_converted_scored_and_shown_a_video(system, shared, fill, tmp_path, capfd):
    case, published, *expected = LAYOUTS[system]
    keys = json.loads((shared / f"golden/zoo/{system}/keys_{case}.json").read_text())["keys"]
    torch.save(published(fill({key: shape for key, (shape, _) in keys.items()})), tmp_path / "model_best.pth")
    write_tree(tmp_path / "data", preset="tiny", subsets=("s4",))
    model, data = str(tmp_path / "m"), "sonomask.data.datamodule.AVSBenchDataModule"
    assert main(["convert", str(tmp_path / "model_best.pth"), model]) == 0
    options = {"class_path": data, "root": str(tmp_path / "data"), "subset": "s4", "workers": "0"}
    if system != "avsegformer":
        options["maskige"] = "superpixels"  # unasked, it wants the authors' files
    assert main(["evaluate", "--model", model, *(f"--data.{key}={value}" for key, value in options.items())]) == 0
    said = capfd.readouterr().out
    assert [words for words in expected if words not in said] == []
    assert "nan" not in said
    assert main(["segment", VIDEO, "--model", model, "--rate", "0.2", "--out", str(tmp_path), "--format", "npz"]) == 0
    assert np.isfinite(np.load(tmp_path / "three_things.npz")["probability"]).all()
