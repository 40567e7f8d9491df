"""What a downloaded model folder may say, and what it may not."""

import json
import struct
from dataclasses import fields, replace

import pytest

from sonomask.checkpoints.folder import load, read_tensors
from sonomask.checkpoints.places import BUILT_IN, CONFIG, WEIGHTS, built_in
from sonomask.errors import WeightsError
from sonomask.inference.loading import load_onnx
from sonomask.safe_reading.config import (
    FORMAT,
    RULES,
    check_options,
    check_source,
    read_config,
    write_config,
)  # fmt: skip
from sonomask.structures import ModelConfig


@pytest.fixture
def folder(tmp_path):
    """The built-in model, to be spoilt."""
    for name in (CONFIG, WEIGHTS):
        (tmp_path / name).write_bytes((BUILT_IN / "avs_mini.synthetic" / name).read_bytes())
    return tmp_path


def spoil(folder, **changes):
    values = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(values | changes))


@pytest.mark.parametrize("name", built_in())
def test_the_built_in_models_pass(name):
    assert read_config(BUILT_IN / name / CONFIG).num_classes == 1


def test_every_field_of_a_config_has_a_rule():
    assert list(RULES) == [f.name for f in fields(ModelConfig)]


def test_what_is_written_is_read_back(tmp_path):
    names = tuple(f"thing {i}" for i in range(5))
    config = ModelConfig(
        "avs_resnet50", {"num_classes": 5}, (64, 96), (32, 48), num_classes=5, classes=names, presence=(1.5, -2)
    )
    write_config(tmp_path / CONFIG, config, export={"free": ["batch"]})
    assert read_config(tmp_path / CONFIG) == config


WRONG = {
    "name": ["../x", None, 3],
    "options": [None, [1], {"pretrained_cfg": "x"}, {"a": float("nan")}],
    "image_size": [None, 224, [224], [224, 224, 224], [1e6, 1e6], [10**6, 10**6], [7, 7], [224.0, 224.0], "big"],
    "score_size": [[1, 2, 3], [0, 0], 5, [True, True], "no"],
    "mean": [None, [0, 0], [float("nan"), 0, 0], [True, 0, 0]],
    "std": [None, [0, 1, 1], [float("inf"), 1, 1]],
    "clip_length": [None, 0, 5.0, 10**9, True, "5"],
    "pairing": [None, "middle", ["end"]],
    "threshold": [None, "high", 1.5, float("nan"), True],
    "protocol": [None, 3, "a/b", "x" * 101],
    "num_classes": [None, 0, 1.0, 257, True, "1"],
    "sizing": [None, "cover", 3],
    "things": [None, "names", [1, 2], ["x" * 201]],
    "recurrent": [None, "yes", 1],
    "patches": [None, 0, 17, 1.5],
    "classes": [None, "names", [1, 2], ["x" * 201], ["only one name"]],
    "listens": [None, "yes", 1],
    "dense": [None, "no", 0],
    "maskige": [None, "yes", 1],
    "presence": [1, [1], [1, 2, 3], ["a", "b"]],
    "licence": [None, 3, "x" * 1001],
    "about": [None, 3, "x" * 100_001],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f in RULES for v in WRONG[f]], ids=lambda v: str(v)[:20])
def test_a_field_that_breaks_its_rule_is_refused_in_either_kind_of_folder(field, value, folder):
    spoil(folder, format=FORMAT, **{field: value})
    (folder / "model.onnx").write_bytes(b"never read")
    for read in (load, lambda place: load_onnx(place / "model.onnx")):
        with pytest.raises(WeightsError, match=field):
            read(folder)


@pytest.mark.parametrize("changes", [{"format": 99}, {"format": True}, {"format": None}, {"regions": False}])
def test_another_format_or_an_unknown_field_is_refused_in_either_kind_of_folder(changes, folder):
    spoil(folder, **{"format": FORMAT, **changes})
    (folder / "model.onnx").write_bytes(b"never read")
    for read in (load, lambda place: load_onnx(place / "model.onnx")):
        with pytest.raises(WeightsError, match=r"format|regions"):
            read(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"name": "avs_mini"}, ModelConfig("avs_mini")),
        ({"name": "avss_resnet50"}, ModelConfig("avss_resnet50", num_classes=71)),
        (
            {"name": "combo_resnet50", "regions": False, "options": {"regions": False, "num_classes": 5}},
            ModelConfig("combo_resnet50", {"num_classes": 5, "maskige": False}, num_classes=5),
        ),
    ],
)
def test_a_config_of_format_1_is_read_as_what_it_meant(old, new, tmp_path):
    (tmp_path / CONFIG).write_text(json.dumps({"format": 1, **old}))
    assert read_config(tmp_path / CONFIG) == new


def test_a_number_of_classes_that_the_network_does_not_have_is_refused(folder):
    spoil(folder, format=FORMAT, num_classes=5)
    with pytest.raises(WeightsError, match="`num_classes` is 5, its network has 1"):
        load(folder)


def test_classes_go_by_number_where_they_have_no_names():
    config = ModelConfig("x", num_classes=3)
    assert config.semantic
    assert config.class_names == ("background", "class 1", "class 2")
    assert replace(config, classes=("background", "dog", "cat")).class_names[1] == "dog"
    assert ModelConfig("x").class_names == ()


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
