"""Runs an exported model with ONNX Runtime; torch is not needed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from sonomask.checkpoints.places import GRAPH, INTEGERS, read_graph
from sonomask.errors import WeightsError
from sonomask.inference.inputs import normalised
from sonomask.inference.scorer import Scored
from sonomask.request import Precision
from sonomask.safe_reading.onnx_graphs import open_session
from sonomask.structures import ModelConfig, ModelOrigin

__all__ = ["ALONE", "OnnxScorer"]

PROVIDERS = {
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime, on macOS"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml, on Windows"),
}
"""What runs a graph on a device, and the wheel that brings it."""

ALONE = "frames_alone"  # in the metadata of a graph whose frames know nothing of one another


def provider_of(device: str) -> tuple[str, dict[str, str]] | None:
    """Name and options of ONNX Runtime's provider for a device; None for the CPU.

    Raises:
        ValueError: There is no such device, or the runtime that is installed can't use it.
    """
    if device in ("auto", "cpu"):
        return None
    kind, _, number = device.partition(":")
    known = PROVIDERS.get({"mps": "coreml"}.get(kind, kind))
    if known is None or not (number.isdecimal() or not number):
        raise ValueError(
            f"`device`: expected 'auto', 'cpu', {', '.join(map(repr, PROVIDERS))} for ONNX Runtime, got {device!r}."
        )
    name, wheel = known
    import onnxruntime

    if name not in onnxruntime.get_available_providers():
        raise ValueError(
            f"`device`: the ONNX Runtime that is installed has no {name}, which {device!r} needs. Install the wheel {wheel}, "
            "or use --backend torch or --device cpu."
        )
    return name, {"device_id": number} if number else {}


def _unpacked(graph: bytes, name: str, config: ModelConfig, threads: int) -> OnnxScorer:
    """A scorer that came from another process or machine."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(graph)
        return OnnxScorer(file, config, threads)


class OnnxScorer:
    """See `scorer.StreamScorer`.

    A graph streams if it is recurrent, or if its frames know nothing of one another, which `export` notes in it.

    Args:
        file: A `model.onnx` that `sonomask export` wrote, without the front end inside, or a `model.int8.onnx`.
        config: Configuration that is stored beside the graph.
        threads: Threads as for `open_session`.
        device: "cpu", "cuda", "cuda:1", "coreml" or "directml"; "auto" is the CPU.

    Raises:
        WeightsError: The file is no graph, or its inputs and outputs are not those of the config.
        ValueError: There is no such device here.
    """

    def __init__(self, file: Path, config: ModelConfig, threads: int = 0, device: str = "cpu") -> None:
        provider = provider_of(device)
        graph = read_graph(file)
        self.file, self.config, self.threads = file, config, threads
        self.precision: Precision = "int8" if file.name == INTEGERS else "float32"
        self.device = "cpu" if provider is None else device
        self.origin = ModelOrigin(config.name, hashlib.sha256(graph).hexdigest()[:12])
        self.session = open_session(file, threads, graph, provider)
        if provider is not None and provider[0] not in self.session.get_providers():
            raise ValueError(
                f"`device`: ONNX Runtime's {provider[0]} did not start, most often for want of a library of CUDA or cuDNN. "
                "Set ORT_LOG_SEVERITY_LEVEL=0 to see which, or use --device cpu."
            )
        names = [entry.name for entry in self.session.get_inputs()]
        wanted = ["images", *["logmel"] * config.listens, *["maskige"] * config.maskige, *["past"] * config.recurrent]
        if names != wanted:
            raise WeightsError(
                f"{file}: expected a graph that takes {', '.join(wanted)}, it takes {', '.join(names)}. "
                "Export it with --frontend none or separate; one with the front end inside is for other programs."
            )
        self.outputs = [entry.name for entry in self.session.get_outputs()]
        channels = self.session.get_outputs()[0].shape[2:3]
        if channels != [config.num_classes]:
            raise WeightsError(
                f"{file}: expected logits of {config.num_classes} classes (`num_classes` in config.json), "
                f"the graph gives {channels}."
            )

    def to(self, device: str) -> OnnxScorer:
        """The same graph on another device; the scorer itself for "auto".

        Raises:
            ValueError: There is no such device here.
        """
        if device in ("auto", self.device):
            return self
        moved = OnnxScorer(self.file, self.config, self.threads, device)
        moved.origin = self.origin
        return moved

    def asked(self, precision: Precision, *, cuda_graphs: bool) -> OnnxScorer:
        """The same model computing as asked; the scorer itself for "auto".

        Raises:
            ValueError: ONNX Runtime has no such precision, or the model no graph for it.
        """
        if cuda_graphs or precision == "bf16":
            name = "cuda_graphs" if cuda_graphs else "precision"
            raise ValueError(f"`{name}`: only torch has it, the model runs on another engine. Use --backend torch.")
        if (precision == "int8") == (self.precision == "int8") or precision == "auto":
            return self
        file = self.file.with_name(INTEGERS if precision == "int8" else GRAPH)
        if not file.is_file():
            raise ValueError(f"`precision`: the model {self.origin.name} comes without {file.name}. Leave it out.")
        if precision == "int8" and self.device != "cpu":
            raise ValueError(
                f"`precision`: 'int8' is for a processor, the model is on {self.device}. Use --device cpu."
            )
        found = OnnxScorer(file, self.config, self.threads, self.device)
        found.origin = replace(found.origin, name=self.origin.name)
        return found

    def forms(self) -> list[OnnxScorer]:
        """This scorer and, on a processor, the one that computes in 8-bit integers, if the model comes with it."""
        if self.precision == "int8" or self.device != "cpu" or not self.file.with_name(INTEGERS).is_file():
            return [self]
        return [self, self.asked("int8", cuda_graphs=False)]

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (read_graph(self.file), self.file.name, self.config, self.threads)

    def __call__(
        self,
        pictures: UInt8[np.ndarray, "B T H W 3"],
        logmel: Float32[np.ndarray, "B T P 96 64"] | None,
        maskige: UInt8[np.ndarray, "B T H W 3"] | None = None,
        *,
        attention: bool = False,
        past: Float32[np.ndarray, "B _S"] | None = None,
    ) -> Scored:
        """Scores of clips; attention maps of a graph that gives them."""
        fed = {"images": normalised(pictures, self.config)}
        if logmel is not None:
            fed["logmel"] = logmel
        if maskige is not None:
            fed["maskige"] = normalised(maskige, self.config)
        if self.config.recurrent:
            fed["past"] = self._beginning(len(pictures)) if past is None else past
        names = [name for name in self.outputs if name != "attention" or attention]
        try:
            found = dict(zip(names, self.session.run(names, fed), strict=True))
            return Scored(found["logits"], *map(found.get, ("attention", "onward", "heard", "seen")))
        except Exception as error:  # onnxruntime's errors share no base but Exception
            text = " ".join(str(error).split())[:200]
            if "allocate memory" in text or "bad_alloc" in text:
                raise MemoryError(text) from error
            raise WeightsError(f"{self.file}: takes no clip of shape {pictures.shape} ({text}).") from error

    def _beginning(self, streams: int) -> Float32[np.ndarray, "B _S"]:
        (width,) = (entry.shape[1] for entry in self.session.get_inputs() if entry.name == "past")
        return np.zeros((streams, width), np.float32)

    def start(self) -> Float32[np.ndarray, "1 _S"] | None:
        """The empty past of a stream.

        Raises:
            ValueError: The graph has no streaming form.
        """
        if self.config.recurrent:
            return self._beginning(1)
        if self.session.get_modelmeta().custom_metadata_map.get(ALONE) != "true":
            raise ValueError(f"`model`: {self.file} has no streaming form. Use --backend torch.")
        return None

    def step(
        self,
        picture: UInt8[np.ndarray, "H W 3"],
        logmel: Float32[np.ndarray, "P 96 64"] | None,
        past: Float32[np.ndarray, "1 _S"] | None,
        time: float,
    ) -> tuple[Scored, Float32[np.ndarray, "1 _S"] | None]:
        """Scores of a stream's next frame, and the past for the step after it."""
        del time
        scored = self(picture[None, None], None if logmel is None else logmel[None, None], past=past)
        return scored, scored.past
