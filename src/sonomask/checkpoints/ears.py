"""Weights of audio encoders, from a file or from a model that has one."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sonomask.checkpoints.files import read_checkpoint, split_pca
from sonomask.checkpoints.folder import load
from sonomask.checkpoints.places import built_in

__all__ = ["ear_weights"]


def ear_weights(source: str) -> Mapping[str, Tensor]:
    """Weights of an audio encoder.

    Args:
        source: A file, or the name or folder of a model whose encoder to take.

    Raises:
        ValueError: The model has none.
    """
    if source not in built_in() and not Path(source).is_dir():
        return split_pca(read_checkpoint(source))[0]
    ear = load(source).part("audio")
    if ear is None:
        raise ValueError(f"`audio_weights`: the model {source} has no audio encoder to take.")
    return ear.state_dict()
