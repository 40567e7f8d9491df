"""Write a model as ONNX or torch.export, and leave no file that disagrees with it.

Batch is always free; time is, unless the fusion folds the clip into pieces; size is, if every part of the network allows it
in steps of 32, else it is fixed. The result and the file beside the model say which dimensions are free.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.export import Dim

from sonomask.errors import MissingExtraError, WeightsError
from sonomask.export.graph import Frontend, Graph, example, plain_padding, stands_alone
from sonomask.export.shrink import halve, quarter
from sonomask.inference.onnx_scorer import ALONE
from sonomask.models.parts.net import Net
from sonomask.safe_reading.config import write_config
from sonomask.workspace import atomic_path

__all__ = ["Exported", "Format", "export"]

Format = Literal["onnx", "torch-export"]
NAMES: dict[Format, str] = {"onnx": "model.onnx", "torch-export": "model.pt2"}
FRONTENDS: dict[Format, str] = {"onnx": "frontend.onnx", "torch-export": "frontend.pt2"}
CONFIG = "config.json"
OPSET = 18  # the first whose Resize and ReduceMean suit; known to onnxruntime 1.14 and later
STEP = 32  # pixels: the backbones halve five times
MOST = 1024  # clips or seconds at once
SMALL = 128  # pixels a side that suffice for tracing and comparing where the size is free
TOLERANCE = 1e-3  # of the logits' span; float32 in another order of operations

Run = Callable[..., Tensor]


@dataclass(frozen=True)
class Exported:
    """Facts about an exported file.

    Attributes:
        folder: Folder with the model, `config.json` and, if it was asked for, the front end.
        free: Names of what may vary: batch, time and size.
        difference: Largest difference of a logit from torch's, over all shapes that were tried.
        span: Span of the logits, with which to compare the difference.
        megabytes: Megabytes of the model's file.
    """

    folder: Path
    free: tuple[str, ...]
    difference: float
    span: float
    megabytes: float


def export(
    model: Net,
    out: str | Path,
    *,
    format: Format = "onnx",  # noqa: A002
    frontend: Literal["none", "included", "separate"] = "none",
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
    attention: bool = False,
    bits: Literal[32, 16, 8] = 32,
) -> Exported:
    """Export a network, check it against torch, and put the folder in place only if both agree.

    The graph takes `images` (B, T, 3, H, W), normalised as `config.json` says, and `logmel` (B, T, 1, 96, 64) or, with the
    front end included, `waveform` (B, T, 15600), and of COMBO and VCT `maskige`, a picture like the first; it gives `logits`
    (B, T, K, H, W) and uses no custom operator.

    Args:
        model: Model from `load`; it is brought to the CPU and to eval mode.
        out: Folder to make.
        format: "onnx", or "torch-export" for `torch.export.load`.
        frontend: The log-mel front end: left out, inside the graph, or beside it as a graph of its own.
        size: (height, width) of the images if the size can't be free; the config's unless given.
        overwrite: Replace a folder of this command.
        attention: Give the attention map of each frame as a second output, where the network has one.
        bits: Bits of each stored weight of ONNX (`export.shrink`); the agreement with torch is measured before.

    Raises:
        WeightsError: The network can't be exported, or what came out disagrees with it.
        MediaError: The folder exists.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    model = model.cpu().eval()
    if model.not_exported:
        raise WeightsError(
            f"{model.config.name} can't be exported: {model.not_exported}. Export one of the `avs_…` networks."
        )
    if overwrite and Path(out).exists() and not (Path(out) / CONFIG).is_file():
        raise WeightsError(f"{out} exists and is not a model. Give another folder.")
    inside = Frontend() if frontend == "included" and model.config.listens else None
    graph = Graph(model, inside, attention=attention).eval()
    with _needs_onnx(format), _quiet(), atomic_path(out, overwrite=overwrite) as fresh:
        fresh.mkdir()
        file = fresh / NAMES[format]
        free, difference, span = _write_graph(graph, file, format, size or model.config.image_size)
        if frontend == "separate" and model.config.listens:
            _write_frontend(fresh / FRONTENDS[format], format)
        if bits < 32 and format == "onnx":
            (halve if bits == 16 else quarter)(file)
        about = {"free": free, "inputs": list(graph.inputs), "difference": difference}
        config = model.config
        if "size" not in free:
            config = replace(config, image_size=_rounded(size or config.image_size), sizing="exact")
        write_config(fresh / CONFIG, config, export=about)
        megabytes = file.stat().st_size / 1e6
    return Exported(Path(out), free, difference, span, megabytes)


def _write_graph(
    graph: Graph,
    file: Path,
    kind: Format,
    size: tuple[int, int],
) -> tuple[tuple[str, ...], float, float]:
    """Find the most flexible form that works: its free dimensions, and the largest difference from torch in the trials."""
    refused: Exception | None = None
    for free in (("batch", "time", "size"), ("batch", "time"), ("batch",)):
        own = (min(size[0], SMALL), min(size[1], SMALL)) if "size" in free else size
        try:
            run = _traced(graph, file, kind, free, own)
            difference, span = _compare(graph, run, free, own)
        except Exception as error:  # each exporter, runtime and torch release has its own tree of errors
            logging.getLogger(__name__).debug("free %s: %s", free, error)
            refused = error
            continue
        if difference <= TOLERANCE * span and span > 0:
            return free, difference, span
        refused = WeightsError(f"its logits differ by {difference:.2g}, where they span {span:.2g}")
    reason = " ".join(str(refused).split())[:300]
    raise WeightsError(f"{graph.model.config.name} can't be exported as {kind}: {reason}.") from refused


def _traced(graph: Graph, file: Path, kind: Format, free: Sequence[str], size: tuple[int, int]) -> Run:
    """Write the file; gives a function that runs it."""
    time = graph.model.config.clip_length
    inputs = example(graph, 2, 3 if "time" in free and time != 3 else time, _rounded(size))
    axes: dict[int, Any] = {0: Dim("batch", min=1, max=MOST)}
    if "time" in free:
        axes[1] = Dim("time", min=1, max=MOST)
    picture = dict(axes)
    if "size" in free:
        picture |= {3: STEP * Dim("height", min=1, max=128), 4: STEP * Dim("width", min=1, max=128)}
    third = {0: axes[0]} if graph.model.config.recurrent else picture
    shapes = dict(zip(("images", "sound", "more"), (picture, axes, third)[: len(inputs)], strict=False))
    with plain_padding(graph):
        program = torch.export.export(graph, inputs, dynamic_shapes=shapes, strict=False)
    return _saved(program, file, kind, graph.inputs, graph.outputs, alone=stands_alone(graph.model))


def _write_frontend(file: Path, kind: Format) -> None:
    frontend = Frontend()
    waveform = torch.randn(2, 3, 15_600, generator=torch.Generator().manual_seed(0)) / 4
    axes = {0: Dim("batch", min=1, max=MOST), 1: Dim("time", min=1, max=MOST)}
    program = torch.export.export(frontend, (waveform,), dynamic_shapes={"waveform": axes}, strict=False)
    run = _saved(program, file, kind, ("waveform",), ("logmel",))
    difference = float((run(waveform[:1]) - frontend(waveform[:1])).abs().max())
    if difference > TOLERANCE:
        raise WeightsError(f"The front end can't be exported as {kind}: it differs by {difference:.2g}.")


def _saved(
    program: Any, file: Path, kind: Format, inputs: Sequence[str], outputs: Sequence[str], *, alone: bool = False
) -> Run:
    if kind == "torch-export":
        torch.export.save(program, file)
        loaded = torch.export.load(file).module()
        return lambda *values: _first(loaded(*values))
    torch.onnx.export(
        program, (), str(file), dynamo=True, input_names=list(inputs), output_names=list(outputs), opset_version=OPSET,
        external_data=False, verbose=False,
    )  # fmt: skip
    _tidy(file, {ALONE: "true"} if alone else {})
    from sonomask.safe_reading.onnx_graphs import open_session

    ready = open_session(file)

    def run(*values: Tensor) -> Tensor:
        fed = {name: value.numpy() for name, value in zip(inputs, values, strict=True)}
        return torch.from_numpy(ready.run(None, fed)[0])

    return run


def _first(output: Any) -> Tensor:
    logits: Tensor = output[0] if isinstance(output, tuple | list) else output
    return logits


def _tidy(file: Path, properties: Mapping[str, str]) -> None:
    """Take out what the exporter noted of this machine (stack traces with paths), and note properties of the graph."""
    import onnx

    model = onnx.load(str(file))
    del model.metadata_props[:]
    parts = [model.graph, *model.functions]
    for part in (*parts, *(node for each in parts for node in each.node), *model.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.helper.set_model_props(model, dict(properties))
    onnx.save(model, str(file))


@torch.inference_mode()
def _compare(graph: Graph, run: Run, free: Sequence[str], size: tuple[int, int]) -> tuple[float, float]:
    """Largest difference from torch over some shapes that tracing did not see, and the span of torch's logits."""
    time, (height, width) = graph.model.config.clip_length, _rounded(size)
    shapes = [(1, time, (height, width)), (3, 1 if "time" in free else time, (height, width))]
    if "size" in free:
        shapes.append((1, 2, (height + STEP, max(STEP, width - STEP))))
    difference, low, high = 0.0, float("inf"), -float("inf")
    for seed, (batch, seconds, picture) in enumerate(shapes, start=1):
        inputs = example(graph, batch, seconds, picture, seed)
        truth = _first(graph(*inputs))
        difference = max(difference, float((run(*inputs) - truth).abs().max()))
        low, high = min(low, float(truth.min())), max(high, float(truth.max()))
    return difference, high - low


def _rounded(size: tuple[int, int]) -> tuple[int, int]:
    return max(STEP, round(size[0] / STEP) * STEP), max(STEP, round(size[1] / STEP) * STEP)


@contextmanager
def _needs_onnx(kind: Format) -> Iterator[None]:
    if kind == "onnx":
        try:
            import onnx
            import onnxruntime
            import onnxscript  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtraError("Export to ONNX", "torch") from error
        del onnx, onnxruntime
    yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' warnings about their own internals, and their optimiser's log."""
    optimiser = logging.getLogger("onnxscript")
    level = optimiser.level
    optimiser.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optimiser.setLevel(level)
