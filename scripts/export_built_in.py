"""Writes `model.onnx` beside the weights of the built-in models, for the core that runs without torch.

python scripts/export_built_in.py [NAME …]

Weights are in the package once: the graph points into `model.safetensors`, and brings what is not found there byte for byte. So
whoever puts another `model.safetensors` into a folder runs this for it before anything else; for `world_duo.real` that is
`python scripts/export_built_in.py world_duo.real world.real`, since the second is a part of the first (`places.PART_OF`) and
has no weights of its own. `tests/checkpoints/test_places.py` finds what was forgotten.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch
from safetensors import safe_open

from sonomask.checkpoints.folder import SCALE, load
from sonomask.checkpoints.places import BUILT_IN, GRAPH, built_in, weights_of
from sonomask.export.graph import Graph, example, plain_padding
from sonomask.export.shrink import fold_padding, quarter
from sonomask.export.write import export
from sonomask.models.parts.net import Net
from sonomask.safe_reading.onnx_constants import bring_in, leave_out
from sonomask.safe_reading.onnx_graphs import open_session

LARGEST = 20e6  # bytes of a file


def main(names: list[str]) -> None:
    """Export these models, or all."""
    for name in names or built_in():
        model = load(name)
        if model.config.recurrent:
            trace(model, BUILT_IN / name / GRAPH)
            print(f"{name}: {share(name):.1f} MB")
            continue
        with TemporaryDirectory() as folder:
            made = export(model, Path(folder) / "model", attention=True, bits=8 if eighth(name) else 16)
            assert made.megabytes * 1e6 < LARGEST, f"{name}: {made.megabytes:.1f} MB are too large for the package"  # noqa: S101
            shutil.copy(made.folder / GRAPH, BUILT_IN / name / GRAPH)
        print(f"{name}: {share(name):.1f} MB, {', '.join(made.free)} free, differs by {made.difference:.1e}")


def trace(model: Net, out: Path) -> float:
    """A recurrent model by torch's tracing exporter, which takes half a minute where `export` takes many.

    ONNX Runtime folds batch norms and constants, convolutions pad for themselves, weights are stored in 8 bits, and the file is
    compared with torch at sizes that tracing did not see.

    Returns:
        Megabytes.
    """
    graph = Graph(model).eval()
    inputs = example(graph, 2, 3, (96, 160))
    free = {
        name: {0: "batch"} if name in ("past", "onward") else {0: "batch", 1: "time"}
        for name in (*graph.inputs, *graph.outputs)
    }
    for name, last in (("images", 4), ("logits", 4), ("seen", 3)):
        free[name] |= {last - 1: f"{name}_height", last: f"{name}_width"}
    with TemporaryDirectory() as folder, warnings.catch_warnings(), plain_padding(graph), torch.no_grad():
        warnings.simplefilter("ignore")
        first, second = Path(folder) / "traced.onnx", Path(folder) / GRAPH
        torch.onnx.export(
            graph, inputs, str(first), dynamo=False, input_names=list(graph.inputs), output_names=list(graph.outputs),
            opset_version=17, dynamic_axes=free,
        )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(second)
        onnxruntime.InferenceSession(str(first), options, providers=["CPUExecutionProvider"])
        fold_padding(second)
        quarter(second)
        session = open_session(second)
        for batch, time, size in ((1, 1, (192, 320)), (2, 4, (320, 192))):
            tried = example(graph, batch, time, size, seed=batch)
            found = session.run(None, {name: value.numpy() for name, value in zip(graph.inputs, tried, strict=True)})
            for name, ours, theirs in zip(graph.outputs, found, graph(*tried), strict=True):
                same = np.mean(
                    np.abs(ours.astype(float) - theirs.numpy()) < 1e-3
                )  # a few places lie on an edge of a rule
                assert same > 0.999, f"{name} differs at {size}: {same}"  # noqa: S101
        megabytes = second.stat().st_size / 1e6
        assert megabytes * 1e6 < LARGEST, f"{megabytes:.1f} MB are too large for the package"  # noqa: S101
        shutil.copy(second, out)
    return megabytes


def share(name: str) -> float:
    """Leave out of a graph what lies among the weights; megabytes that are left."""
    file = BUILT_IN / name / GRAPH
    whole, weights = file.read_bytes(), weights_of(file.parent).read_bytes()
    small = leave_out(whole, weights)
    assert bring_in(small, weights) == bring_in(whole, weights)  # noqa: S101
    file.write_bytes(small)
    return len(small) / 1e6


def eighth(name: str) -> bool:
    """Whether the weights are stored in 8 bits."""
    with safe_open(weights_of(BUILT_IN / name), "np") as file:
        return any(key.endswith(SCALE) for key in file.keys())  # noqa: SIM118 - no mapping


if __name__ == "__main__":
    main(sys.argv[1:])
