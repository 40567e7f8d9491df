"""The check of ONNX files and the session that it lets through: a session or a `WeightsError`."""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sonomask"]):
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from sonomask.errors import WeightsError
    from sonomask.safe_reading.onnx_graphs import open_session

PLACE = Path(tempfile.mkdtemp(), "model.onnx")
SHAPE = ["N", 4]
WHOLE = helper.make_model(
    helper.make_graph(
        [
            helper.make_node("MatMul", ["frames", "weight"], ["product"]),
            helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
            helper.make_node("Add", ["product", "zeros"], ["sum"]),
            helper.make_node("Softmax", ["sum"], ["logits"], axis=1),
        ],
        "net",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, SHAPE)],
        [
            numpy_helper.from_array(np.eye(4, dtype=np.float32), "weight"),
            numpy_helper.from_array(np.array([1, 4]), "shape"),
        ],
    ),
    opset_imports=[helper.make_opsetid("", 18)],
    ir_version=9,
).SerializeToString()
onnx.load_from_string(WHOLE)


def one(data):
    """A whole graph some of whose bytes are replaced or put in, or the bytes as they are."""
    provider = atheris.FuzzedDataProvider(data)
    content = bytearray(WHOLE) if provider.ConsumeBool() else bytearray()
    for _ in range(provider.ConsumeIntInRange(1, 4)):
        place = provider.ConsumeIntInRange(0, len(content))
        fresh = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 32))
        content[place : place + (len(fresh) if provider.ConsumeBool() else 0)] = fresh
    PLACE.write_bytes(bytes(content))
    with contextlib.suppress(WeightsError):
        session = open_session(PLACE, threads=1)
        session.get_inputs()


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
