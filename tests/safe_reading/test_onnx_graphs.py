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
