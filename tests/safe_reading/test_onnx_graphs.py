"""ONNX files that would open other files, run for ever or take all memory, and those that are taken."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from sonomask.errors import WeightsError  # noqa: E402
from sonomask.safe_reading import onnx_graphs  # noqa: E402
from sonomask.safe_reading.onnx_graphs import check_graph, open_session  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
FILL = numpy_helper.from_array(np.array([2**40], np.int64), "n")
ONE = numpy_helper.from_array(np.ones(1, np.float32), "o")


def written(path, nodes, constants=(), functions=(), domains=("",)):
    value = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["b"])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "g", [value], [out], list(constants))
    opsets = [helper.make_opsetid(name, 18 if not name else 1) for name in domains]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=list(functions))
    path.write_bytes(model.SerializeToString())
    return path


def external():
    tensor = TensorProto(name="o", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def lying(dims, content=b"\0\0\0\0"):
    return TensorProto(name="o", data_type=1, dims=dims, raw_data=content)


def inner():
    done = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    return helper.make_graph([helper.make_node("Identity", ["i"], ["c"])], "inner", [done], [done])


ADD = helper.make_node("Add", ["images", "o"], ["logits"])
BAD = {
    "external data": ([ADD], [external()], (), "other files"),
    "more numbers than bytes": ([ADD], [lying([2**39])], (), "larger than its bytes"),
    "more numbers than bytes by a product": ([ADD], [lying([2**20, 2**20])], (), "larger than its bytes"),
    "fewer bytes than numbers": ([ADD], [lying([2])], (), "larger than its bytes"),
    "texts": ([ADD], [TensorProto(name="o", data_type=8, dims=[1], string_data=[b"x"])], (), "type 8"),
    "a constant inside an operator": (
        [helper.make_node("Constant", [], ["o"], value=external()), ADD], (), (), "other files",
    ),
    "a loop": ([helper.make_node("Loop", ["images"], ["logits"], body=inner())], (), (), "Loop|graph"),
    "a graph inside": ([helper.make_node("Odd", ["images"], ["logits"], body=inner())], (), (), "graph .*inside"),
    "an operator of another": ([helper.make_node("Run", ["images"], ["logits"], domain="evil")], (), (), "b'evil'"),
    "functions": (
        [ADD], [ONE],
        [helper.make_function("f", "F", ["x"], ["y"], [helper.make_node("Abs", ["x"], ["y"])],
                              [helper.make_opsetid("", 18)])],
        "functions",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_graph_with_what_no_model_needs_is_refused_before_the_runtime_sees_it(name, tmp_path, monkeypatch):
    nodes, constants, functions, says = BAD[name]
    file = written(tmp_path / "m.onnx", nodes, constants, functions, ("", "evil", "f"))
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("the runtime saw it"))
    with pytest.raises(WeightsError, match=says):
        open_session(file, 1)


def test_a_plain_graph_is_run(tmp_path):
    ready = open_session(written(tmp_path / "m.onnx", [ADD], [ONE]), 1)
    assert ready.run(None, {"images": np.ones(2, np.float32)})[0].tolist() == [2, 2]


@pytest.mark.parametrize("kind", ["fill", "double"])
def test_results_that_grow_without_end_are_an_error_and_not_memory(kind, tmp_path):
    total = helper.make_node("ReduceSum", ["big"], ["s"], keepdims=0)
    grown = {
        "fill": [helper.make_node("ConstantOfShape", ["n"], ["big"])],
        "double": [
            helper.make_node("Concat", [f"x{i - 1}" if i else "o"] * 64, ["big" if i == 7 else f"x{i}"], axis=0)
            for i in range(8)
        ],
    }[kind]
    last = helper.make_node("Add", ["images", "s"], ["logits"])
    ready = open_session(written(tmp_path / "m.onnx", [*grown, total, last], [FILL, ONE]), 1)
    with pytest.raises(Exception, match=r"Available memory|smaller than requested|bad_alloc"):
        ready.run(None, {"images": np.ones(2, np.float32)})


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = written(tmp_path / "m.onnx", [ADD], [ONE]).read_bytes()
    refused = 0
    for end in range(len(whole)):
        try:
            check_graph(whole[:end])
        except ValueError:
            refused += 1
    assert refused > 0.6 * len(whole)  # a cut between two fields of the head leaves a whole, if useless, model


def test_too_many_operators_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graphs, "MOST_NODES", 3)
    nodes = [helper.make_node("Abs", ["images"], [f"x{i}"]) for i in range(3)] + [ADD]
    with pytest.raises(WeightsError, match="4 operators"):
        open_session(written(tmp_path / "m.onnx", nodes, [ONE]), 1)


def number(value):
    """A variable-length number of protocol buffers."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def part(field, content, key=0):
    return number((field << 3 | 2) + key) + number(len(content)) + content


def hidden(graph):
    """A file whose graph is these bytes."""
    empty = helper.make_model(
        helper.make_graph([], "x", [], []), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    empty.ClearField("graph")
    return empty.SerializeToString() + part(7, graph)


CONSTANT = part(1, b"value") + 2 * part(5, lying([1]).SerializeToString()) + number(20 << 3) + number(4)
IF = helper.make_node("If", ["c"], ["logits"], then_branch=inner(), else_branch=inner()).SerializeToString()
DISGUISED = {
    "an operator under a number of which others see the last bits only": (part(1, IF, 2**32), "no protocol buffer"),
    "a field without a number": (number(0) + number(1), "no protocol buffer"),
    "an operator's name that is a number": (part(1, part(4, b"Loop") + number(4 << 3) + number(2**40)), "number where a part"),
    "an operator's domain that is a number of a fixed width": (
        part(1, part(7, b"") + number(7 << 3 | 5) + b"evil"), "number where a part",
    ),
    "a constant's shape that is a number of a fixed width": (
        part(5, number(1 << 3) + number(2**39) + number(2 << 3) + b"\1" + number(1 << 3 | 1) + bytes(8)),
        "number where a part",
    ),
    "a constant in two halves, of which others multiply the shapes": (
        part(1, part(2, b"o") + part(4, b"Constant") + part(5, CONSTANT)), "several constants",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DISGUISED)
def test_what_protocol_buffers_would_read_otherwise_is_refused(name, tmp_path, monkeypatch):
    content, says = DISGUISED[name]
    (tmp_path / "m.onnx").write_bytes(hidden(content))
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("the runtime saw it"))
    with pytest.raises(WeightsError, match=says):
        open_session(tmp_path / "m.onnx", 1)
