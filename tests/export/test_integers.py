"""Graphs whose convolutions compute in 8-bit integers."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sonomask.export.integers import compute_in_integers
from sonomask.export.shrink import eight_bits, quarter
from sonomask.safe_reading.onnx_graphs import open_session


@pytest.fixture
def graph(tmp_path):
    """Three convolutions, the second of them around a sum, as a file."""
    rng = np.random.default_rng(0)
    weights = {
        "one": rng.normal(size=(16, 3, 3, 3)), "two": rng.normal(size=(16, 16, 3, 3)) / 12,
        "three": rng.normal(size=(8, 16, 3, 3)) / 12, "bias": rng.normal(size=16),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "one"], ["a"], pads=[1] * 4, name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="rectified"),
        helper.make_node("Conv", ["b", "two", "bias"], ["c"], pads=[1] * 4, name="second"),
        helper.make_node("Add", ["b", "c"], ["d"], name="sum"),
        helper.make_node("Conv", ["d", "three"], ["y"], pads=[1] * 4, name="third"),
    ]
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", 1, ["n", 8, 16, 16])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))
    return file


def examples(seed, count=6):
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]


def test_convolutions_compute_in_integers_but_for_those_that_are_spared(graph, tmp_path):
    out = tmp_path / "model.int8.onnx"
    assert compute_in_integers(graph, out, examples(0), "first") == 3
    found = onnx.load(str(out)).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.initializer}
    assert constants["one"].dtype == np.float32
    weights = numpy_helper.to_array(next(t for t in onnx.load(str(graph)).graph.initializer if t.name == "two"))
    stored = next(value for value in constants.values() if value.dtype == np.int8 and value.shape == weights.shape)
    np.testing.assert_array_equal(stored, eight_bits(weights)[0])  # so both forms of a graph share their bytes
    quarter(out)
    for (given,) in (example.values() for example in examples(1)):
        before, after = (open_session(file).run(None, {"x": given})[0] for file in (graph, out))
        assert 0 < np.abs(after - before).mean() < 0.02 * np.abs(before).mean()
