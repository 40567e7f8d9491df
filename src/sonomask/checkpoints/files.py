"""Checkpoint files of other programs, as flat tables of tensors; nothing in them is run."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sonomask.checkpoints.folder import read_tensors
from sonomask.errors import WeightsError
from sonomask.safe_reading.tensors import load_tensors

__all__ = ["read_checkpoint", "split_pca"]

INSIDE = ("state_dict", "model")  # where a training checkpoint keeps its tensors


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.safetensors` file; a file that holds anything that runs is refused.

    Raises:
        WeightsError: It can't be read so, or is no flat table of tensors.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        content = load_tensors(path)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file.") from error
    except Exception as error:  # a damaged pickle raises whatever it likes
        reason = (str(error) or type(error).__name__).splitlines()[0][:500]
        raise WeightsError(f"{path}: not a file of tensors only ({reason}).") from error
    for place in INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(place), Mapping):
            content = content[place]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path}: expected a flat table of tensors, got {type(content).__name__}.")
    if any(
        value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes()
        for value in content.values()
    ):
        raise WeightsError(f"{path}: holds a tensor that is larger than its numbers. Do not use this file.")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def split_pca(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """VGGish's network and the tables of its PCA (empty where the file has none)."""
    pca = {key.removeprefix("pproc."): value for key, value in tensors.items() if key.split(".")[-1].startswith("pca_")}
    network = {
        k.removeprefix("audio_backbone."): v for k, v in tensors.items() if not k.split(".")[-1].startswith("pca_")
    }
    return network, pca
