"""What a downloaded model folder may say, and what it may not."""

import json
import struct

import pytest

import sonomask
from sonomask.checkpoints.folder import BUILT_IN, CONFIG, WEIGHTS, load, read_tensors
from sonomask.errors import WeightsError
from sonomask.safe_reading.config import check_config, check_options, check_source


@pytest.fixture
def folder(tmp_path):
    """The built-in model, to be spoilt."""
    for name in (CONFIG, WEIGHTS):
        (tmp_path / name).write_bytes((BUILT_IN / "avs_mini.synthetic" / name).read_bytes())
    return tmp_path


def spoil(folder, **changes):
    values = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(values | changes))


@pytest.mark.parametrize("name", sonomask.checkpoints.folder.built_in())
def test_the_built_in_models_pass(name):
    values = json.loads((BUILT_IN / name / CONFIG).read_text())
    values.pop("format")
    check_config(values)


HOSTILE = {
    "a repository": {"options": {"backbone": "hf_hub:evil/net"}},
    "a folder": {"options": {"backbone": "local-dir:/tmp/net"}},
    "a file": {"options": {"backbone_options": {"checkpoint_path": "weights.bin"}}},
    "a pickle's address": {"options": {"backbone_options": {"pretrained_cfg": {"url": "x"}}}},
    "a download": {"options": {"backbone_options": {"pretrained": True}}},
    "a class": {"options": {"class_path": "os.system", "init_args": {"command": "id"}}},
    "a path": {"options": {"audio": "../../etc/passwd"}},
    "a network of terabytes": {"options": {"width": 60_000}},
    "a network far larger than its weights": {"options": {"width": 2000}},
    "more layers than atoms": {"options": {"backbone_options": {"depths": [10**9]}}},
    "a picture of terabytes": {"image_size": [10**6, 10**6]},
    "a clip of years": {"clip_length": 10**9},
    "no number": {"mean": [float("nan"), 0, 0]},
    "a text for a number": {"threshold": "high"},
    "nesting": {"options": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}},
    "another network": {"name": "lvs"},
    "an unknown network": {"name": "../lvs"},
    "a list": {"options": [1, 2]},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_config_that_asks_for_more_than_a_network_is_refused(what, folder):
    spoil(folder, **HOSTILE[what])
    with pytest.raises(WeightsError) as refused:
        load(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "[" * 100_000, '{"format": 1}', "\xff", '{"format": 1, "name": 3}']
)
def test_a_config_that_is_none_is_refused(text, folder):
    (folder / CONFIG).write_text(text, encoding="latin-1")
    with pytest.raises(WeightsError):
        load(folder)


def lying(header, data=b"\0" * 64, length=None):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text) if length is None else length) + text + data


FILES = {
    "nothing": b"",
    "a header of 2**63 bytes": lying({}, length=2**63),
    "no json": lying(b"{{{{"),
    "numbers beyond the end": lying({"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}),
    "a shape that its numbers do not fill": lying({"a": {"dtype": "F32", "shape": [10**6], "data_offsets": [0, 64]}}),
    "tensors on one another": lying({k: {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]} for k in ("a", "b")}),
    "negative places": lying({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}),
    "a shape that overflows": lying({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 64]}}),
    "an unknown type": lying({"a": {"dtype": "PICKLE", "shape": [16], "data_offsets": [0, 64]}}),
    "a pickle": b"\x80\x04cposix\nsystem\n\x8c\x02id\x85R.",
}


@pytest.mark.parametrize("what", FILES)
def test_weights_whose_header_lies_are_refused(what, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(FILES[what])
    with pytest.raises(WeightsError, match="safetensors"):
        read_tensors(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["resnet50", "pvt_v2_b5", "tf_efficientnet_lite0", "resnet50.a1_in1k", "vit_b-16"])
def test_names_of_timm_pass(name):
    check_source(name)


@pytest.mark.parametrize("name", ["hf_hub:a/b", "hf-hub:a/b", "local-dir:x", "/etc/passwd", "..", "a\nb"])
def test_names_that_are_fetched_are_refused(name):
    with pytest.raises(ValueError, match="plain name"):
        check_source(name)


def test_options_are_plain_values():
    check_options({"drop_path_rate": 0.1, "dilations": [1, 3, 6], "fusion": "tpavi", "audio": None})
    with pytest.raises(ValueError, match="plain value"):
        check_options({"norm_layer": print})
