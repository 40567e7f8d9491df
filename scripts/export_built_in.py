"""Writes `model.onnx` beside the weights of the built-in models, for the core that runs without torch.

python scripts/export_built_in.py [NAME …] [--pictures FOLDER]

Weights are in the package once: the graph points into `model.safetensors`, and brings what is not found there byte for byte. So
whoever puts another `model.safetensors` into a folder runs this for it before anything else; for `world_duo.real` that is
`python scripts/export_built_in.py world_duo.real world.real`, since the second is a part of the first (`places.PART_OF`) and
has no weights of its own. `tests/checkpoints/test_places.py` finds what was forgotten.

With `--pictures`, `model.int8.onnx` is written too: the same model with most convolutions in 8-bit integers, whose ranges are
those of 40 pictures drawn from that folder by seed 0.
"""

from __future__ import annotations

import argparse
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
from PIL import Image
from safetensors import safe_open

from sonomask.audio.logmel import OFFSET
from sonomask.checkpoints.folder import SCALE, load
from sonomask.checkpoints.places import BUILT_IN, GRAPH, INTEGERS, built_in, weights_of
from sonomask.export.graph import Graph, example, plain_padding
from sonomask.export.integers import compute_in_integers
from sonomask.export.shrink import fold_padding, quarter
from sonomask.export.write import export
from sonomask.inference.inputs import normalised
from sonomask.models.parts.net import Net
from sonomask.safe_reading.onnx_constants import bring_in, leave_out
from sonomask.safe_reading.onnx_graphs import open_session

LARGEST = 20e6  # bytes of a file
PICTURES = 40
IN_FLOATS = r"audio|evidence|category|salience|^/model/[A-Z]|/conv(_\d+)?/Conv$|/stages\.[01]/"
"""Nodes of `world…` that stay in float32: the sound, what decides, and the first two stages, whose maps have the widest ranges.

With the first stages in integers too, 0.021 of the pixels of seven real frames change sides, so 0.002.
"""


def main(names: list[str], pictures: Path | None) -> None:
    """Export these models, or all."""
    for name in names or built_in():
        model = load(name)
        if model.config.recurrent:
            trace(model, BUILT_IN / name / GRAPH, pictures)
            files = [GRAPH, *[INTEGERS] * (pictures is not None)]
            print(f"{name}: {', '.join(f'{share(name, file):.1f}' for file in files)} MB")
            continue
        with TemporaryDirectory() as folder:
            made = export(model, Path(folder) / "model", attention=True, bits=8 if eighth(name) else 16)
            assert made.megabytes * 1e6 < LARGEST, f"{name}: {made.megabytes:.1f} MB are too large for the package"  # noqa: S101
            shutil.copy(made.folder / GRAPH, BUILT_IN / name / GRAPH)
        print(f"{name}: {share(name, GRAPH):.1f} MB, {', '.join(made.free)} free, differs by {made.difference:.1e}")


def trace(model: Net, out: Path, pictures: Path | None = None) -> None:
    """A recurrent model by torch's tracing exporter, which takes half a minute where `export` takes many.

    ONNX Runtime folds batch norms and constants, convolutions pad for themselves, weights are stored in 8 bits, and the file is
    compared with torch at sizes that tracing did not see. With pictures, `model.int8.onnx` is written beside `out`.
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
        if pictures is not None:
            third = Path(folder) / INTEGERS
            compute_in_integers(second, third, examples(model, pictures), IN_FLOATS)
            quarter(third)
            shutil.copy(third, out.with_name(INTEGERS))
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


def examples(model: Net, pictures: Path) -> Iterator[dict[str, np.ndarray]]:
    """Pictures at the model's size with silence, which the convolutions in integers don't hear."""
    files = sorted(pictures.rglob("*.jpg"))
    config, network = model.config, cast("Any", model)
    for index in np.random.default_rng(0).permutation(len(files))[:PICTURES]:
        picture = Image.open(files[index], formats=["JPEG"]).convert("RGB")
        height, width = config.size_of(picture.height, picture.width)
        seen = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))[None, None]
        logmel = np.full((1, 1, config.patches, 96, 64), np.log(OFFSET), np.float32)
        yield {"images": normalised(seen, config), "logmel": logmel, "past": network.start().numpy()}


def share(name: str, graph: str) -> float:
    """Leave out of a graph what lies among the weights; megabytes that are left."""
    file = BUILT_IN / name / graph
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    main(given.names, given.pictures)
