"""Smaller and faster ONNX files: weights in 16 or 8 bits, widened when the file is loaded; padding within convolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["fold_padding", "halve", "quarter"]

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


def quarter(file: Path) -> None:
    """Store the large float32 tensors of a graph as 8-bit integers with a scale for each output channel.

    A cast and a product stand behind each, which ONNX Runtime carries out once, while it loads the file, so that the graph
    computes in float32. Weights that came from 8 bits (`checkpoints.folder.save`) are stored as they were.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(file))
    graph = model.graph
    nodes, scales, right = [], [], _right_sides(graph)
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST or len(tensor.dims) < 2:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        turned = name in right and values.ndim == 2  # stored as torch does, so that a built-in graph shares the bytes
        axis = values.ndim - 1 if name in right and not turned else 0
        whole, steps = eight_bits(values.T if turned else values, axis)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(whole), f"{name}.whole"))
        steps = steps.reshape([-1 if place == axis else 1 for place in range(values.ndim)])
        scales.append(numpy_helper.from_array(steps, f"{name}.scale"))
        wide = f"{name}.wide" if turned else name
        nodes.append(helper.make_node("Cast", [f"{name}.whole"], [f"{name}.cast"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [wide]))
        if turned:
            nodes.append(helper.make_node("Transpose", [wide], [name], perm=[1, 0]))
    graph.initializer.extend(scales)
    for node in reversed(nodes):
        graph.node.insert(0, node)
    onnx.save(model, str(file))


def fold_padding(file: Path) -> None:
    """Let convolutions pad their input themselves, where nodes with constant zeros before them do.

    A node of its own copies the whole map, and keeps ONNX Runtime from leaving it in the layout that its convolutions read.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(file))
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Pad"]:
        pads = constants.get(node.input[1], np.ones(0))
        readers = [other for other in graph.node if node.output[0] in other.input]
        if pads.size != 8 or pads[[0, 1, 4, 5]].any() or any(other.op_type != "Conv" for other in readers):
            continue
        if any(value.any() for value in (constants.get(name, np.ones(1)) for name in node.input[2:3] if name)):
            continue
        for conv in readers:
            own = next((attribute for attribute in conv.attribute if attribute.name == "pads"), None)
            if own is None:
                own = conv.attribute.add(name="pads", type=onnx.AttributeProto.INTS, ints=[0] * 4)
            own.ints[:] = [int(a + b) for a, b in zip(own.ints, pads[[2, 3, 6, 7]], strict=True)]
            conv.input[0] = node.input[0]
        graph.node.remove(node)
    onnx.save(model, str(file))


def eight_bits(values: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Integers from -127 to 127 and the step between two of them, one for each index along an axis.

    Of the steps at which the largest weight becomes 78 to 127, the one with the least squared error is taken: for weights that
    lie on such a grid already the error is 0.
    """
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
    largest = np.maximum(np.abs(rows).max(1), 1e-12)
    best, steps = np.full(len(rows), np.inf), largest / 127
    for most in range(127, 77, -1):
        step = (largest / most)[:, None]
        error = np.square(np.clip(np.round(rows / step), -127, 127) * step - rows).sum(1)
        better = error < best * (1 - 1e-9)
        best, steps = np.where(better, error, best), np.where(better, step[:, 0], steps)
    whole = np.clip(np.round(rows / steps[:, None]), -127, 127).astype(np.int8)
    moved = np.moveaxis(values, axis, 0).shape
    return np.moveaxis(whole.reshape(moved), 0, axis), steps.astype(np.float32)


def _right_sides(graph: Any) -> set[str]:
    """Names of the tensors that are the right factor of a matrix product, whose last axis is the output channels."""
    return {node.input[1] for node in graph.node if node.op_type == "MatMul"}
