"""Checkpoint files of other programs, as flat tables of tensors; nothing in them is run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sonomask.checkpoints.folder import read_tensors
from sonomask.errors import WeightsError
from sonomask.safe_reading.tensors import load_tensors

__all__ = ["flat_tensors", "read_checkpoint", "read_content", "split_pca"]

INSIDE = ("state_dict", "model", "state_dict_ema", "model_ema", "ema")  # where training checkpoints keep their tensors
WRAPPERS = ("_orig_mod.", "module.")  # what torch.compile and DataParallel put before each name


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.safetensors` file; a file that holds anything that runs is refused.

    What training puts around them is taken off: the tables of `INSIDE`, and the prefixes of `WRAPPERS`.

    Raises:
        WeightsError: It can't be read in this way, or is no flat table of tensors.
    """
    return flat_tensors(read_content(path), source=str(path))


def read_content(path: str | Path) -> Any:
    """All that such a file holds.

    Raises:
        WeightsError: It holds more than tensors and plain values, is damaged, or is not there.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        return load_tensors(path)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file.") from error
    except Exception as error:  # a damaged pickle can raise any error
        reason = (str(error) or type(error).__name__).splitlines()[0][:500]
        raise WeightsError(
            f"{path}: not a file of tensors only ({reason}). If you trust it, write its tensors again with the code that "
            "made it: torch.save(model.state_dict(), 'weights.pth')."
        ) from error


def flat_tensors(content: Any, *, source: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint's content; `source` is named in errors.

    Raises:
        WeightsError: There is no flat table of tensors in it.
    """
    for place in INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(place), Mapping):
            content = content[place]
    if isinstance(content, Mapping):  # of a moving average of torch: how many it is the mean of
        content = {key: value for key, value in content.items() if key != "n_averaged"}
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{source}: expected a flat table of tensors, got {type(content).__name__}.")
    if any(
        value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes()
        for value in content.values()
    ):
        raise WeightsError(f"{source}: holds a tensor that is larger than its numbers. Do not use this file.")
    return {_bare(str(key)): value for key, value in content.items()}


def _bare(key: str) -> str:
    """A tensor's name without the prefixes that wrappers add, in any order and position."""
    for wrapper in WRAPPERS:
        key = key.replace(f".{wrapper}", ".").removeprefix(wrapper)
    for wrapper in WRAPPERS:  # the first may have hidden behind the second
        key = key.removeprefix(wrapper)
    return key


def split_pca(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """VGGish's network and the tables of its PCA (empty where the file has none)."""
    pca = {key.removeprefix("pproc."): value for key, value in tensors.items() if key.split(".")[-1].startswith("pca_")}
    network = {
        k.removeprefix("audio_backbone."): v for k, v in tensors.items() if not k.split(".")[-1].startswith("pca_")
    }
    return network, pca
