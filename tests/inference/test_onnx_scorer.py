"""Files that are no graph of ours."""

import json

import pytest

from sonomask.errors import WeightsError
from sonomask.inference.loading import load_onnx
from sonomask.structures import ModelConfig


def beside(folder):
    (folder / "config.json").write_text(json.dumps({"format": 1, **ModelConfig("avs_mini").to_dict()}))


def test_a_graph_without_its_config_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_onnx(tmp_path / "model.onnx")


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_text("no graph")
    beside(tmp_path)
    with pytest.raises(WeightsError, match="ONNX graph"):
        load_onnx(tmp_path / "model.onnx")


@pytest.mark.filterwarnings("ignore")
def test_a_graph_with_the_front_end_inside_is_for_other_programs(tmp_path):
    from onnx import TensorProto, helper, save

    names = ("images", "waveform")
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b"]) for name in names]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b"])
    graph = helper.make_graph([helper.make_node("Add", list(names), ["logits"])], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    save(model, tmp_path / "model.onnx")
    beside(tmp_path)
    with pytest.raises(WeightsError, match="front end inside"):
        load_onnx(tmp_path / "model.onnx")
