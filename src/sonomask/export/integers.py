"""ONNX graphs whose convolutions compute in 8-bit integers, by ONNX Runtime's quantiser."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sonomask.export.shrink import eight_bits

__all__ = ["compute_in_integers"]

WATCHED = ("Add", "Clip", "Conv", "Relu")  # operators the ranges of whose inputs and outputs are measured


def compute_in_integers(file: Path, out: Path, examples: Iterable[dict[str, np.ndarray]], spared: str) -> int:
    """Write a graph in which convolutions, and the sums between them, take and give 8-bit integers.

    The range of each map is the largest that the examples show. Each output channel of a weight has its own step, chosen as
    `export.shrink` does, so that both forms of a graph can share their stored weights.

    Args:
        file: Graph in float32, its batch norms folded.
        out: File for the new graph.
        examples: Inputs by name, such as typical pictures with their sounds.
        spared: Regular expression for the names of nodes that stay in float32.

    Returns:
        Number of nodes that compute in integers.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    ranges = _ranges(file, examples)
    model = onnx.load(str(file))
    chosen = [node for node in model.graph.node if node.op_type in ("Conv", "Add") and not re.search(spared, node.name)]
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    chosen = [node for node in chosen if node.op_type == "Conv" or not constants.keys() & set(node.input)]
    weights = {node.input[1]: eight_bits(constants[node.input[1]]) for node in chosen if node.op_type == "Conv"}
    whole = {"quant_type": QuantType.QInt8, "zero_point": np.array(0, np.int8)}
    steps = {
        name: [{"axis": 0, **whole, "scale": own[0]}, *({**whole, "scale": step} for step in own[1:])]
        for name, (_, own) in weights.items()
    }
    quantizer: Any = QDQQuantizer(
        model, per_channel=True, reduce_range=False, weight_qType=QuantType.QInt8, activation_qType=QuantType.QUInt8,
        tensors_range=ranges, nodes_to_quantize=[node.name for node in chosen], nodes_to_exclude=[],
        op_types_to_quantize=["Conv", "Add"], extra_options={"TensorQuantOverrides": steps},
    )  # fmt: skip
    quantizer.quantize_model()
    for tensor in quantizer.model.initializer():  # its own rounding differs where a weight lies between two steps
        name = tensor.name.removesuffix("_quantized")
        if name in weights and tensor.data_type == onnx.TensorProto.INT8:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(weights[name][0]), tensor.name))
    quantizer.model.save_model_to_file(str(out), use_external_data_format=False)
    return len(chosen)


def _ranges(file: Path, examples: Iterable[dict[str, np.ndarray]]) -> Any:
    """The least and the largest value of each watched map."""
    from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Examples(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(examples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with TemporaryDirectory() as folder:
        watched = create_calibrator(
            str(file), list(WATCHED), augmented_model_path=str(Path(folder) / "watched.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip
        watched.collect_data(Examples())
        return watched.compute_data()
