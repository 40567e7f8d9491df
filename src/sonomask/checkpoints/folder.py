"""Models on disk: a folder with `model.safetensors` and `config.json`.

`config.json` is written and read by `safe_reading.config`. safetensors files contain only numbers, so loading a model from
an untrusted source runs no code.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from huggingface_hub import create_repo, upload_folder
from jaxtyping import Float, Int8
from safetensors import SafetensorError
from torch import Tensor, nn

from sonomask.checkpoints.layout import build_for
from sonomask.checkpoints.places import BUILT_IN, CONFIG, PART_OF, WEIGHTS, find, weights_of
from sonomask.errors import SonomaskError, WeightsError
from sonomask.models.catalog import create_model, list_models, record_of
from sonomask.models.parts.net import Net
from sonomask.safe_reading.config import read_config, write_config
from sonomask.workspace import atomic_path


def save(model: Net, folder: str | Path, *, half: bool = False, bits: Literal[32, 16, 8] = 32) -> Path:
    """Save a model as a folder, completely or not at all.

    Args:
        model: Any model with a `config`.
        folder: Folder to write. A model in it is replaced; a folder with anything else in it is an error.
        half: The same as `bits=16`.
        bits: Bits per weight: 32, 16, or 8 with a scale for each output channel (`eight_bits`); with 8, tensors other than
            matrices and convolutions keep 16. Loading always gives float32.

    Raises:
        WeightsError: The folder contains something other than a model.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / CONFIG).is_file():
        raise WeightsError(f"{folder} exists and is not a model. Give the folder of a model, or a new one.")
    tensors: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        tensors |= _stored(key, value, 16 if half else bits)
    with atomic_path(folder, overwrite=True) as fresh:
        fresh.mkdir()
        safetensors.torch.save_file(tensors, fresh / WEIGHTS)
        write_config(fresh / CONFIG, model.config)
    return folder


SCALE = "::scale"  # behind the name of a tensor that is stored at 8 bits, for what it is to be multiplied with


def _stored(key: str, value: Tensor, bits: int) -> dict[str, Tensor]:
    value = value.detach().cpu().contiguous()
    if bits == 32 or not value.is_floating_point():
        return {key: value}
    if bits == 8 and value.ndim > 1 and value.numel() >= 1024:
        whole, scale = eight_bits(value)
        return {key: whole, key + SCALE: scale}
    return {key: value.half()}


def eight_bits(value: Float[Tensor, "C ..."]) -> tuple[Int8[Tensor, "C ..."], Float[Tensor, " C"]]:
    """Quantise a weight to whole numbers from -127 to 127, with a step size for each output channel.

    Of 20 candidate steps, the largest of which just fits the largest weight, the one with the least squared error is used.
    """
    flat = value.detach().float().flatten(1)
    largest = flat.abs().amax(1).clamp(min=1e-12)
    steps = largest[:, None] / 127 * torch.linspace(0.62, 1, 20)
    rounded = (flat[:, None] / steps[..., None]).round().clamp(-127, 127)
    error = (rounded * steps[..., None] - flat[:, None]).square().sum(2)
    best = error.argmin(1)
    rows = torch.arange(len(flat))
    return rounded[rows, best].to(torch.int8).reshape(value.shape), steps[rows, best]


def load(source: str | Path, device: str | torch.device = "cpu", create: Callable[..., Net] | None = None) -> Net:
    """Load a model, in eval mode.

    Args:
        source: Name of a built-in model (`built_in()`), a folder, the folder of a training run (its best model), or a
            repository of the Hugging Face hub as "owner/name"; the hub is asked only if there is no such folder.
        device: Device to load it to.
        create: Function that builds the network from the options of its config, for a network that is not in the catalogue.

    Raises:
        WeightsError: There is no such model, or its files are invalid.
    """
    if str(source) in list_models() and not record_of(str(source)).needs_weights:
        return create_model(str(source)).to(device).eval()
    folder = find(str(source))
    config, tensors = read_config(folder / CONFIG), read_tensors(weights_of(folder))
    if folder.parent == BUILT_IN and folder.name in PART_OF:
        tensors = {key: v for key, v in tensors.items() if not key.startswith(PART_OF[folder.name][1])}
    tensors = {re.sub(r"^backbone\.regions\.", "backbone.maskige.", key): v for key, v in tensors.items()}  # format 1
    weights = str(folder / WEIGHTS)
    try:
        model = build_for(
            tensors,
            lambda: (create or partial(create_model, config.name))(**config.options),
            lambda net: check_fit(net, tensors, weights),
        )
    except SonomaskError:
        raise
    except Exception as error:  # networks raise what they like of another one's options
        raise WeightsError(f"{folder / CONFIG}: {' '.join(str(error).split())[:500]}") from error
    if model.config.num_classes != config.num_classes:
        raise WeightsError(
            f"{folder / CONFIG}: `num_classes` is {config.num_classes}, its network has {model.config.num_classes}."
        )
    model.config = config
    fill(model, tensors, source=weights)
    return model.to(device).eval()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file; those of 16 and 8 bits are converted to float32.

    Raises:
        WeightsError: The file is no safetensors file, is truncated, or has a false header.
    """
    try:
        return _widened(safetensors.torch.load_file(path), path)
    except (
        OSError,
        SafetensorError,
        RuntimeError,
    ) as error:  # the last for numbers that torch can't convert, of 4 bits
        raise WeightsError(f"{path}: can't be read as safetensors ({error}). Fetch or convert it again.") from error


def _widened(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    scales = {key: tensors.pop(key).float() for key in [k for k in tensors if k.endswith(SCALE)]}
    for key, scale in scales.items():
        whole = tensors.get(key.removesuffix(SCALE))
        if whole is None or whole.dtype != torch.int8 or scale.shape != whole.shape[:1]:
            raise WeightsError(f"{path}: {key} belongs to no tensor of 8 bits. Save or fetch it again.")
        tensors[key.removesuffix(SCALE)] = whole.float() * scale.reshape(-1, *[1] * (whole.ndim - 1))
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def fill(model: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Load a state dict whose keys and shapes must all match.

    Raises:
        WeightsError: Keys are missing or left over, or shapes differ; the message names them.
    """
    check_fit(model, tensors, source)
    model.load_state_dict(dict(tensors))


def check_fit(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Compare names and shapes of tensors with those of a model, which may be on the meta device.

    Raises:
        WeightsError: Keys are missing or left over, or shapes differ; the message names them.
    """
    own = model.state_dict()
    problems = {
        "missing": sorted(set(own) - set(tensors)),
        "left over": sorted(set(tensors) - set(own)),
        "of another shape": sorted(k for k in set(own) & set(tensors) if own[k].shape != tensors[k].shape),
    }
    if any(problems.values()):
        text = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in problems.items() if keys)
        raise WeightsError(f"{source} does not fit the model. {text}.")


def fill_agreeing(model: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> int:
    """Load those tensors whose names and shapes match, for example from a model with another head or fusion.

    Returns:
        Number of the model's tensors that were loaded.

    Raises:
        WeightsError: No tensor matches.
    """
    own = model.state_dict()
    agreeing = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    if not agreeing:
        raise WeightsError(f"{source} shares no tensor with the model. Start from a related model.")
    model.load_state_dict(agreeing, strict=False)
    return len(agreeing)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (", …" if len(keys) > 5 else "")


def fingerprint(model: nn.Module) -> str:
    """Return twelve hexadecimal digits that change if any weight changes."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def push_to_hub(model: Net, repository: str, *, private: bool = False) -> str:
    """Upload a model to the Hugging Face hub, where `load("owner/name")` finds it, and return the page's address."""
    create_repo(repository, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        return str(upload_folder(repo_id=repository, folder_path=save(model, Path(folder) / "model")))
