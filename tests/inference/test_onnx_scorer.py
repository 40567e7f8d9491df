"""Files that are no graph of ours, and the forms of those that are."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import sonomask
from sonomask.checkpoints.places import BUILT_IN, GRAPH
from sonomask.errors import WeightsError
from sonomask.inference.loading import load_onnx
from sonomask.inference.segmenter import Segmenter
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


def test_masks_from_integers_are_nearly_those_from_floats():
    clip = Path(__file__).parents[2] / "examples" / "friday.mp4"
    exact, whole = (
        np.stack(
            [m.mask for m in Segmenter("world_duo.real", device="cpu", rate=1, end=3, precision=precision)(str(clip))]
        )
        for precision in ("float32", "int8")
    )
    assert exact.any()
    assert 0.9 < (exact & whole).sum() / (exact | whole).sum() < 1


def test_a_scorer_in_integers_stays_one_in_another_process():
    scorer = load_onnx(BUILT_IN / "world.real" / GRAPH).asked("int8", cuda_graphs=False)
    assert (scorer.precision, scorer.origin.name) == ("int8", "world.real")
    moved = pickle.loads(pickle.dumps(scorer))  # noqa: S301 - ours
    assert moved.asked("int8", cuda_graphs=False) is moved is moved.asked("auto", cuda_graphs=False)
    assert scorer.asked("float32", cuda_graphs=False).precision == "float32"


@pytest.mark.parametrize(
    ("model", "message"), [("avs_mini.synthetic", r"comes without model\.int8\.onnx"), (None, "ONNX Runtime")]
)
def test_integers_where_there_are_none_are_refused(model, message):
    model = model or sonomask.load("avs_mini.synthetic")
    with pytest.raises(ValueError, match=message):
        Segmenter(model, device="cpu", precision="int8")
