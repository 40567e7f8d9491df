"""A model that onnxruntime runs, in the interface of every other: `Segmenter(load_onnx("model.onnx"))`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.errors import MissingExtraError, WeightsError
from sonomask.models.parts.net import gate
from sonomask.safe_reading.config import read_config
from sonomask.structures import ModelConfig, Output

__all__ = ["OnnxNet", "load_onnx", "session"]


def session(file: Path) -> Any:
    """An onnxruntime session on the CPU with as many threads as torch has.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        WeightsError: The file is no such graph.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtraError("The ONNX back end", "export") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base but Exception
        raise WeightsError(f"{file}: can't be read as an ONNX graph ({error}). Export it again.") from error


class OnnxNet(nn.Module):
    """Hands clips to an ONNX graph and gives its logits.

    Args:
        file: A `model.onnx` that `export` wrote, without the front end inside.
        config: What lies beside it.
    """

    def __init__(self, file: Path, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.session = config, session(file)
        names = [entry.name for entry in self.session.get_inputs()]
        wanted = ["images", *["logmel"] * config.listens, *["maskige"] * config.maskige]
        if names != wanted:
            raise WeightsError(
                f"{file}: expected a graph that takes {', '.join(wanted)}, it takes {', '.join(names)}. "
                "Export it with --frontend none or separate; one with the front end inside is for other programs."
            )
        channels = self.session.get_outputs()[0].shape[2:3]
        if channels != [config.num_classes]:
            raise WeightsError(
                f"{file}: expected logits of {config.num_classes} classes (`num_classes` in config.json), "
                f"the graph gives {channels}."
            )

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
        maskige: Float[Tensor, "B T 3 H W"] | None = None,
    ) -> Output:
        """Logits at the size of the images."""
        given = {"images": images, "logmel": logmel if self.config.listens else None, "maskige": maskige}
        fed = {name: value.contiguous().cpu().numpy() for name, value in given.items() if value is not None}
        try:
            logits = torch.from_numpy(self.session.run(None, fed)[0])
        except Exception as error:  # as above
            raise WeightsError(
                f"The ONNX graph takes no clip of shape {tuple(images.shape)} ({' '.join(str(error).split())[:200]})."
            ) from error
        return Output(gate(logits.to(images.device), valid))


def load_onnx(file: str | Path) -> OnnxNet:
    """A model from `model.onnx` with its `config.json` beside it.

    Raises:
        WeightsError: A file is missing or is not what it should be.
        MissingExtraError: onnxruntime is not installed.
    """
    file = Path(file)
    path = file.with_name("config.json")
    if not file.is_file() or not path.is_file():
        raise WeightsError(f"{file}: expected a graph with config.json beside it. `sonomask export` writes both.")
    return OnnxNet(file, read_config(path))
