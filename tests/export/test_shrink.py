"""Weights of ONNX files in 16 and 8 bits."""

import numpy as np
import pytest

from sonomask.export.shrink import eight_bits, fold_padding, halve, quarter
from sonomask.safe_reading.onnx_graphs import open_session


@pytest.fixture
def graph(tmp_path):
    """A convolution and a matrix product, as a file."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    helper, of = onnx.helper, onnx.numpy_helper.from_array
    conv = (
        rng.normal(size=(32, 16, 3, 3)).astype(np.float32)
        * np.geomspace(0.01, 1, 32, dtype=np.float32)[:, None, None, None]
    )
    line = rng.normal(size=(32, 64)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "conv"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["y"], ["z"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["z", "line"], ["out"]),
    ]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, "g", [value("x", 1, ["n", 16, 8, 8])], [value("out", 1, ["n", 64])], [of(conv, "conv"), of(line, "line")]
    )
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))
    return file


def run(file):
    x = np.random.default_rng(1).normal(size=(2, 16, 8, 8)).astype(np.float32)
    return open_session(file).run(None, {"x": x})[0]


@pytest.mark.parametrize(("shrink", "share", "error"), [(halve, 0.55, 1e-3), (quarter, 0.36, 0.02)])
def test_a_shrunken_graph_is_smaller_and_gives_nearly_the_same(shrink, share, error, graph):
    before, size = run(graph), graph.stat().st_size
    shrink(graph)
    assert graph.stat().st_size < share * size
    assert np.abs(run(graph) - before).max() < error * np.abs(before).max()


@pytest.mark.parametrize(("value", "left"), [(0, 0), (1, 1)])
def test_convolutions_pad_with_zeros_themselves(value, left, graph):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(graph))
    of = onnx.numpy_helper.from_array
    model.graph.node[0].input[0] = "padded"
    model.graph.node.insert(0, onnx.helper.make_node("Pad", ["x", "pads", "value"], ["padded"]))
    model.graph.initializer.extend([
        of(np.array([0, 0, 0, 1, 0, 0, 2, 1]), "pads"), of(np.array(value, np.float32), "value"),
    ])  # fmt: skip
    onnx.save(model, str(graph))
    before = run(graph)
    fold_padding(graph)
    assert sum(node.op_type == "Pad" for node in onnx.load(str(graph)).graph.node) == left
    np.testing.assert_allclose(run(graph), before, atol=1e-5)


def test_weights_that_came_from_8_bits_are_stored_as_they_were():
    rng = np.random.default_rng(2)
    steps = rng.uniform(0.001, 1, (8, 1)).astype(np.float32)
    whole = rng.integers(-100, 101, (8, 400))
    whole[:, 0] = 100
    values = (whole * steps).astype(np.float32)
    found, step = eight_bits(values)
    np.testing.assert_array_equal(found, whole)
    np.testing.assert_allclose(step, steps[:, 0], rtol=1e-6)
