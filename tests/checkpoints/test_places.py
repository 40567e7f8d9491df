"""Each weight of the built-in models is in the package once, and every way to it leads to the same numbers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors import safe_open

import sonomask
from sonomask.checkpoints.places import BUILT_IN, GRAPH, INTEGERS, PART_OF, WEIGHTS, built_in, read_graph, weights_of
from sonomask.errors import WeightsError
from sonomask.safe_reading.onnx_constants import bring_in, leave_out
from sonomask.safe_reading.onnx_graphs import check_graph, open_session

GRAPHS = [(name, graph) for name in built_in() for graph in (GRAPH, INTEGERS) if (BUILT_IN / name / graph).is_file()]


@pytest.mark.parametrize(("name", "graph"), GRAPHS)
def test_a_built_in_graph_points_at_weights_that_are_its_own(name, graph):
    """Fails after `model.safetensors` was exchanged without a new export (`scripts/export_built_in.py`)."""
    pointing = onnx.load(str(BUILT_IN / name / graph), load_external_data=False)
    places = {t.name: {e.key: e.value for e in t.external_data} for t in pointing.graph.initializer if t.external_data}
    whole = onnx.load_from_string(read_graph(BUILT_IN / name / graph))
    check_graph(whole.SerializeToString())
    with safe_open(weights_of(BUILT_IN / name), "np") as file:
        known = {file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118 - no mapping
    shared, weights = sum(int(place["length"]) for place in places.values()), weights_of(BUILT_IN / name)
    assert shared > 0.4 * weights.stat().st_size  # `world.real` is the smaller half of its file
    for tensor in whole.graph.initializer:
        if tensor.name in places and numpy_helper.to_array(tensor).any():  # zeros lie anywhere
            assert numpy_helper.to_array(tensor).tobytes() in known, tensor.name


def test_a_built_in_graph_is_read_by_a_relative_path_too(monkeypatch):
    monkeypatch.chdir(BUILT_IN)
    assert read_graph(Path("world.real") / INTEGERS) == read_graph(BUILT_IN / "world.real" / INTEGERS)


@pytest.mark.parametrize("name", PART_OF)
def test_a_model_that_is_part_of_another_has_no_weights_of_its_own_and_loads(name):
    assert not (BUILT_IN / name / WEIGHTS).exists()
    part, whole = sonomask.load(name).state_dict(), sonomask.load(PART_OF[name][0]).state_dict()
    assert len(part) < len(whole)
    assert all(np.array_equal(value, whole[key]) for key, value in part.items())


def graph(*tensors):
    inputs = [onnx.helper.make_tensor_value_info("x", 1, [4, 300])]
    nodes = [onnx.helper.make_node("Add", ["x", "w"], ["y"])]
    outputs = [onnx.helper.make_tensor_value_info("y", 1, [4, 300])]
    return onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", inputs, outputs, list(tensors))
    ).SerializeToString()


def test_what_is_left_out_comes_back_byte_for_byte():
    values = np.random.default_rng(0).random((4, 300), np.float32)
    whole = graph(numpy_helper.from_array(values, "w"))
    weights = b"head" + values.tobytes() + b"tail"
    small = leave_out(whole, weights)
    assert len(small) < len(whole) - values.nbytes + 200
    back = onnx.load_from_string(bring_in(small, weights))
    assert np.array_equal(numpy_helper.to_array(back.graph.initializer[0]), values)
    assert leave_out(whole, b"other") == whole == bring_in(whole, b"")


@pytest.mark.parametrize("place", [
    {"location": "../secret", "offset": "0", "length": "4800"}, {"location": WEIGHTS, "offset": "1", "length": "4800"},
    {"location": WEIGHTS, "offset": "-8", "length": "4800"}, {"location": WEIGHTS, "offset": "0", "length": "9" * 30},
])  # fmt: skip
def test_a_constant_that_lies_elsewhere_is_refused(place):
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4, 300], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in place.items():
        tensor.external_data.add(key=key, value=value)
    with pytest.raises(ValueError, match="no file that belongs"):
        bring_in(graph(tensor), bytes(4800))


def test_a_strangers_graph_gets_nothing_from_other_files(tmp_path):
    values = np.ones((4, 300), np.float32)
    small = leave_out(graph(numpy_helper.from_array(values, "w")), values.tobytes())
    (tmp_path / GRAPH).write_bytes(small)
    (tmp_path / WEIGHTS).write_bytes(values.tobytes())
    assert read_graph(tmp_path / GRAPH) == small
    with pytest.raises(WeightsError, match="other files"):
        open_session(tmp_path / GRAPH)
