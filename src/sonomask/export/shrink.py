"""Smaller ONNX files: weights stored at half precision and widened again when the file is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["halve"]

LEAST = 1024  # numbers of a tensor that is worth a node of its own
LARGEST = 60_000.0  # float16 ends at 65,504


def halve(file: Path) -> None:
    """Store the large float32 tensors of a graph as float16, each with a cast back to float32 behind it.

    ONNX Runtime carries the casts out once, while it loads the file, so that the graph computes in float32 as before.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(file))
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > LARGEST:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        graph.node.insert(0, node)
    onnx.save(model, str(file))
