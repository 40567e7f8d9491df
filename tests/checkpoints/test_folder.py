"""Models on disk."""

import json

import pytest
import safetensors.torch
import torch

from sonomask.checkpoints import folder as weights
from sonomask.errors import WeightsError
from sonomask.models.catalog import create_model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("avs_mini", fusion="add").eval()


def test_a_model_comes_back_as_it_was_saved(model, tmp_path):
    again = weights.load(weights.save(model, tmp_path / "m"))
    assert again.config == model.config
    assert weights.fingerprint(again) == weights.fingerprint(model)
    assert not again.training


def test_half_precision_halves_the_file_and_comes_back_as_float32(model, tmp_path):
    whole, half = (weights.save(model, tmp_path / n, half=n == "half") for n in ("whole", "half"))
    assert (half / weights.WEIGHTS).stat().st_size < 0.55 * (whole / weights.WEIGHTS).stat().st_size
    assert {p.dtype for p in weights.load(half).parameters()} == {torch.float32}


def test_one_changed_weight_changes_the_fingerprint(model):
    before = weights.fingerprint(model)
    with torch.no_grad():
        next(model.parameters())[0] += 1e-6
    assert weights.fingerprint(model) != before


def test_a_folder_that_is_no_model_is_never_replaced(model, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(WeightsError, match="not a model"):
        weights.save(model, tmp_path / "photos")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04 a pickle"), "safetensors"),
        (lambda f: (f / "config.json").write_text("{}"), "format"),
        (lambda f: (f / "config.json").write_text('{"format": 1, "name": "avs_mini", "evil": 1}'), "evil"),
        (lambda f: (f / "config.json").write_text('{"format": 1, "name": "avs_huge"}'), "avs_huge"),
        (lambda f: (f / "config.json").write_text('{"format": 1, "name": "avs_mini"}'), "does not fit"),
    ],
)
def test_a_damaged_model_is_refused_with_its_reason(spoil, says, model, tmp_path):
    folder = weights.save(model, tmp_path / "m")
    spoil(folder)
    with pytest.raises(WeightsError, match=says):
        weights.load(folder)


@pytest.mark.parametrize("name", ["nothing", "./a/b", "../x"])
def test_a_model_that_is_not_here_is_not_looked_for_in_the_net(name, monkeypatch):
    monkeypatch.setattr(weights, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(WeightsError, match="built-in"):
        weights.load(name)


def test_a_hub_repository_is_asked_for_two_files_only(model, tmp_path, monkeypatch):
    asked = {}

    def download(repository, allow_patterns):
        asked[repository] = allow_patterns
        return str(weights.save(model, tmp_path / "hub"))

    monkeypatch.setattr(weights, "snapshot_download", download)
    weights.load("somebody/avs")
    assert asked == {"somebody/avs": ["model.safetensors", "config.json"]}


def test_the_built_in_model_is_small_and_says_what_it_cannot_do():
    folder = weights.BUILT_IN / "avs_mini.synthetic"
    assert sum(p.stat().st_size for p in folder.iterdir()) < 16e6
    config = json.loads((folder / "config.json").read_text())
    assert "synthetic" in config["about"]
    assert (folder / "README.md").is_file()
    assert "avs_mini.synthetic" in weights.built_in()


def test_eight_bits_a_weight_make_a_quarter_of_the_file_and_change_each_weight_by_half_a_step_at_most(tmp_path):
    torch.manual_seed(0)
    model = create_model("avs_mini")
    whole, small = weights.save(model, tmp_path / "whole"), weights.save(model, tmp_path / "small", bits=8)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (whole, small)]
    assert sizes[1] < 0.3 * sizes[0]
    before, after = model.state_dict(), weights.load(small).state_dict()
    assert set(before) == set(after)
    for key, value in before.items():
        if value.ndim > 1 and value.numel() >= 1024:
            step = value.flatten(1).abs().amax(1) / 127
            error = (after[key] - value).flatten(1)
            assert (error.square().mean(1).sqrt() <= 0.5 * step).all(), key


def test_a_scale_without_its_tensor_is_told(tmp_path):
    folder = weights.save(create_model("avs_mini"), tmp_path / "m", bits=8)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    key = next(k for k in tensors if k.endswith("::scale"))
    tensors[key] = tensors[key][:-1]
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="8 bits"):
        weights.load(folder)
