"""Models on disk."""

import contextlib
import json

import pytest
import safetensors.torch
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sonomask.checkpoints import folder as weights
from sonomask.checkpoints import places
from sonomask.checkpoints.layout import build_for
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
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(WeightsError, match="built-in"):
        weights.load(name)


def test_a_hub_repository_is_asked_for_its_own_files_only(model, tmp_path, monkeypatch):
    asked = {}

    def download(repository, allow_patterns):
        asked[repository] = allow_patterns
        return str(weights.save(model, tmp_path / "hub"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    weights.load("somebody/avs")
    assert asked == {"somebody/avs": ["model.safetensors", "config.json", "model.onnx", "model.int8.onnx"]}


def test_the_built_in_model_is_small_and_says_what_it_cannot_do():
    folder = places.BUILT_IN / "avs_mini.synthetic"
    assert sum(p.stat().st_size for p in folder.iterdir()) < 5e6
    config = json.loads((folder / "config.json").read_text())
    assert "synthetic" in config["about"]
    assert (folder / "README.md").is_file()
    assert "avs_mini.synthetic" in places.built_in()


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


class Counted(TorchDispatchMode):
    """How many numbers the largest tensor has that takes memory."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.device.type != "meta" and "empty" in str(func):
            self.total += result.numel()
        return result


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "vit_7b_patch16_dinov3"},
        {"backbone": "convnextv2_huge"},
        {"width": 2048},
        {"width": 2048, "sound_channels": 2048},
    ],
)
def test_weights_that_name_a_huge_network_cost_no_memory(options, model, tmp_path):
    folder = weights.save(model, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["options"] |= options
    (folder / "config.json").write_text(json.dumps(config))
    with Counted() as counted, pytest.raises(WeightsError, match=r"far larger|does not fit|levels"):
        weights.load(folder)
    assert counted.total < 4 * sum(v.numel() for v in model.state_dict().values())


@pytest.mark.parametrize(
    ("name", "option"),
    [("world", ("backbone", "resnet18.a1_in1k")), ("vct_swin_b", ("backbone", None)), ("avs_mini", ("width", None))],
)
def test_options_of_another_network_are_told_in_one_line(name, option, model, tmp_path):
    folder = weights.save(model, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"name": name, "options": dict([option])}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"config\.json"):
        weights.load(folder)


def test_a_network_that_cannot_be_laid_out_without_memory_is_built_within_a_budget():
    def create():
        if torch.empty(1).device.type == "meta":
            raise NotImplementedError("no values")
        return torch.nn.Sequential(*(torch.nn.Linear(1000, 1000) for _ in range(1000)))

    with pytest.raises(ValueError, match="far larger"):
        build_for({"a": torch.zeros(10)}, create, lambda _: None)


@pytest.mark.parametrize("kind", ["F4", "F6_E2M3", "C64", "U64", "F8_E8M0", "BOOL", "I2"])
def test_numbers_of_any_kind_are_read_or_refused_in_one_line(kind, tmp_path):
    size = {"F4": 4, "F6_E2M3": 6, "C64": 64, "U64": 64, "I2": 2}.get(kind, 8)
    head = json.dumps({"a": {"dtype": kind, "shape": [8], "data_offsets": [0, size]}}).encode()
    (tmp_path / "m.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(size))
    with contextlib.suppress(WeightsError):
        assert weights.read_tensors(tmp_path / "m.safetensors")["a"].numel() == 8


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": [0, 4], "b": [0, 4]},
        {"a": [0, 4], "b": [2, 6]},
        {"a": [0, 2**63]},
        {"a": [4, 0]},
        {"a": [2**64, 2**64 + 4]},
    ],
)
def test_tensors_that_lie_on_one_another_or_beyond_the_end_are_refused(tensors, tmp_path):
    head = json.dumps(
        {k: {"dtype": "F32", "shape": [1], "data_offsets": place} for k, place in tensors.items()}
    ).encode()
    for length in (len(head), 2**62, 10 * len(head)):
        (tmp_path / "m.safetensors").write_bytes(length.to_bytes(8, "little") + head + bytes(8))
        with pytest.raises(WeightsError, match="safetensors"):
            weights.read_tensors(tmp_path / "m.safetensors")
