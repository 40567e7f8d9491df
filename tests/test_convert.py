"""Checkpoints of the reference become ours, or are refused by name."""

import json
import os

import pytest
import torch

from sonomask import weights
from sonomask.convert import convert, convert_state, read_checkpoint
from sonomask.errors import WeightsError


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
