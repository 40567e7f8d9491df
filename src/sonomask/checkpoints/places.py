"""Locations of models on disk: folders with `config.json` and weights, as safetensors, an ONNX graph, or both."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from sonomask.errors import MissingExtraError, WeightsError
from sonomask.safe_reading.onnx_constants import bring_in

__all__ = [
    "BEST",
    "BUILT_IN",
    "CONFIG",
    "DEFAULT_MODEL",
    "GRAPH",
    "INTEGERS",
    "PART_OF",
    "WEIGHTS",
    "built_in",
    "find",
    "meant",
    "read_graph",
    "weights_of",
]

BUILT_IN = Path(__file__).parents[1] / "pretrained"
WEIGHTS, CONFIG, GRAPH = "model.safetensors", "config.json", "model.onnx"
INTEGERS = "model.int8.onnx"
"""A graph of the same model, most of whose convolutions compute in 8-bit integers."""
DEFAULT_MODEL = "world_duo.real"
BEST = "best"  # the model within the folder of a training run
PART_OF = {"world.real": ("world_duo.real", ("gate.", "readers.1."))}
"""Built-in models whose weights are those of another one, without what begins with these."""


def built_in() -> list[str]:
    """Names of the models whose weights came with the package."""
    return sorted(path.parent.name for path in BUILT_IN.glob(f"*/{CONFIG}"))


def meant(source: str) -> str:
    """The built-in model whose name is nearly that, or ""."""
    names = built_in()
    stems = {name.partition(".")[0]: name for name in names}
    near = get_close_matches(source.lower(), [*names, *stems], n=1, cutoff=0.7)
    return stems.get(near[0], near[0]) if near and source not in names else ""


def find(source: str) -> Path:
    """The folder of a model, fetched from the Hugging Face hub if it is no name or folder of here.

    Raises:
        WeightsError: There is no such model.
        MissingExtraError: It is to be fetched, and the hub's client is not installed.
    """
    if source in built_in():
        return BUILT_IN / source
    folder = Path(source)
    for place in (folder, folder / BEST):
        if (place / CONFIG).is_file():
            return place
    if folder.is_file():
        raise WeightsError(
            f"{source}: expected a model folder, got a file. `sonomask convert {source} FOLDER` makes one of a published "
            "checkpoint or of a run's last.ckpt."
        )
    if folder.exists() or source.count("/") != 1 or source.startswith((".", "/", "~")):
        near = meant(source)
        advice = f"Did you mean {near}?" if near else "`sonomask convert` makes a folder of a published checkpoint."
        raise WeightsError(
            f"{source!r}: expected a built-in model ({', '.join(built_in())}), a folder with {CONFIG} or a hub "
            f"repository 'owner/name'. {advice}"
        )
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise MissingExtraError("A model from the Hugging Face hub", "torch") from error
    try:
        return Path(snapshot_download(source, allow_patterns=[WEIGHTS, CONFIG, GRAPH, INTEGERS]))
    except Exception as error:  # the hub's own tree of errors differs between its versions
        raise WeightsError(
            f"{source}: neither a folder here nor a hub repository that can be read ({error})."
        ) from error


def weights_of(folder: Path) -> Path:
    """Path of a model folder's weights: in that folder, or in the built-in model that it is a part of."""
    if folder.parent == BUILT_IN and folder.name in PART_OF:
        return BUILT_IN / PART_OF[folder.name][0] / WEIGHTS
    return folder / WEIGHTS


def read_graph(file: Path) -> bytes:
    """An ONNX graph; that of a built-in model has constants that lie among its weights, which are brought in.

    Raises:
        WeightsError: The file can't be read.
    """
    try:
        data, folder = file.read_bytes(), file.absolute().parent
        return bring_in(data, weights_of(folder).read_bytes()) if folder.parent == BUILT_IN else data
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{file}: can't be read as an ONNX graph ({error}). Install the package again.") from error
