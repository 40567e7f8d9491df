"""Models by name, ready to run, with the engine that this machine has."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from sonomask.checkpoints.places import CONFIG, DEFAULT_MODEL, GRAPH, find, meant, weights_of
from sonomask.errors import MissingExtraError, WeightsError
from sonomask.inference.onnx_scorer import OnnxScorer
from sonomask.inference.scorer import Scorer, origin_of
from sonomask.safe_reading.config import read_config
from sonomask.structures import ModelOrigin

__all__ = ["DEFAULT_MODEL", "Backend", "fingerprint", "graph_of", "is_open", "load_fast", "load_onnx"]

OPEN = "open"  # words by what is heard, things by networks of transformers (`inference.open_scorer`)
Backend: TypeAlias = Literal["auto", "torch", "onnx"]


def load_fast(
    model: str | Path | None = None, device: str = "auto", backend: Backend = "auto", threads: int = 0
) -> Scorer:
    """A model by name, folder or `.onnx` file (the built-in one if None), on its device and fit for inference.

    Args:
        model: A file that ends with `.onnx` is run by ONNX Runtime in any case. "open", "open:NAME" and "open:BOXES,MASKS" are
            networks of transformers for free words.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps"; ONNX Runtime takes the CPU unless told, and knows "coreml" and
            "directml" too.
        backend: "auto" takes ONNX Runtime where the model comes as a graph and no accelerator is asked for or found, else
            torch.
        threads: Number of threads of one operation on a CPU; 0 for the engine's own choice.

    Raises:
        WeightsError: There is no such model, or it has no graph.
        ValueError: There is no such device.
        MissingExtraError: The engine is not installed.
    """
    source = str(DEFAULT_MODEL if model is None else model)
    if source.endswith(".onnx"):
        return load_onnx(source, threads, device)
    if is_open(source):
        return _load_open(source, device)
    graph = graph_of(source)
    only_onnx = device in ("coreml", "directml")
    if backend == "onnx" or only_onnx or (backend == "auto" and graph is not None and _cpu_suffices(device)):
        if graph is None:
            raise WeightsError(f"{source}: comes without {GRAPH}. `sonomask export` writes one.")
        return load_onnx(graph, threads, device)
    if meant(source) and not Path(source).exists() and "/" not in source:
        find(source)  # a mistyped name is told before torch is loaded
    try:
        from sonomask.checkpoints.folder import load
        from sonomask.inference.torch_scorer import TorchScorer, choose_device
        from sonomask.models.optimize import optimize
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The model {source} on {device}" if graph else f"The model {source}", "torch"
        ) from error
    scorer = TorchScorer(optimize(load(source, choose_device(device)), in_place=True), device, threads)
    scorer.origin = ModelOrigin(_name(source), _hash_of_file(source))
    return scorer


def is_open(source: str) -> bool:
    """Whether a name means a model that finds things by free words, and so takes prompts."""
    return source.partition(":")[0] in (OPEN, f"{OPEN}-tracked")


def _load_open(source: str, device: str) -> Scorer:
    try:
        from sonomask.inference.open_scorer import load_open
    except ModuleNotFoundError as error:
        raise MissingExtraError("The model open", "open") from error
    return load_open(source, device)


def load_onnx(file: str | Path, threads: int = 0, device: str = "cpu") -> OnnxScorer:
    """A model from `model.onnx` with its `config.json` beside it.

    Raises:
        WeightsError: A file is missing or is not what it should be.
        ValueError: There is no such device here.
    """
    file = Path(file)
    if not file.is_file() or not file.with_name(CONFIG).is_file():
        raise WeightsError(f"{file}: expected a graph with config.json beside it. `sonomask export` writes both.")
    scorer = OnnxScorer(file, read_config(file.with_name(CONFIG)), threads, device)
    scorer.origin = replace(scorer.origin, name=file.absolute().parent.name)
    return scorer


def fingerprint(model: str, scorer: Scorer) -> str:
    """Twelve hexadecimal digits that change when any weight or the engine does."""
    return origin_of(scorer).weights or hashlib.sha256(model.encode()).hexdigest()[:12]  # one that needs no weights


def _name(source: str) -> str:
    """Name of a model in results: the last part of a path, otherwise the name as given."""
    return Path(source).absolute().name if Path(source).exists() else source


def _hash_of_file(source: str) -> str:
    try:
        return hashlib.sha256(weights_of(find(source)).read_bytes()).hexdigest()[:12]
    except (WeightsError, OSError):  # a model that needs no weights
        return ""


def graph_of(source: str) -> Path | None:
    """The ONNX graph of a model that is on this machine, if it has one."""
    try:
        path = find(source) / GRAPH
    except (WeightsError, MissingExtraError):
        return None
    return path if path.is_file() else None


def _cpu_suffices(device: str) -> bool:
    """Whether torch has no accelerator to use, determined without importing it."""
    if device != "auto":
        return device == "cpu"
    if find_spec("torch") is None:
        return True
    if sys.platform == "darwin":  # torch knows Metal
        return False
    driver = Path("/dev/nvidiactl"), Path(os.environ.get("SYSTEMROOT", "C:/Windows"), "System32/nvcuda.dll")
    return not any(path.exists() for path in driver)
