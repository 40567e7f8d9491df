"""Models by name: the records of `models.nets`, gathered, and one function that builds."""

from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any

from sonomask.models import nets
from sonomask.models.parts.net import Net
from sonomask.models.record import ModelRecord
from sonomask.structures import ModelConfig

__all__ = ["create_model", "list_models", "record_of", "records"]


@cache
def records() -> Mapping[str, ModelRecord]:
    """The record of every net, by the name of its file in `models.nets`."""
    files = sorted(module.name for module in iter_modules(nets.__path__))
    return MappingProxyType({name: import_module(f"{nets.__name__}.{name}").RECORD for name in files})


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` knows, in order; `pattern` is a shell wildcard."""
    names = (preset for record in records().values() for preset in record.presets)
    return sorted(name for name in names if fnmatchcase(name, pattern))


def record_of(name: str) -> ModelRecord:
    """The record of the net that a name in the catalogue belongs to.

    Raises:
        ValueError: The name is unknown.
    """
    for record in records().values():
        if name in record.presets:
            return record
    near = get_close_matches(name, list_models(), n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else " `sonomask models --networks` lists them."
    raise ValueError(f"`name`: expected a network of the catalogue, got {name!r:.80}.{hint}")


def create_model(name: str, **options: Any) -> Net:
    """A model with random weights.

    Args:
        name: One of `list_models()`.
        options: Arguments of its network that replace the preset's, see `build` in its record.

    Raises:
        ValueError: The name or an option is unknown.
    """
    record = record_of(name)
    config = ModelConfig(name=name, options=dict(options), **record.config_of(name, options))
    try:
        return record.build(config=config, **{**record.presets[name], **options})
    except TypeError as error:
        raise ValueError(f"Options of {name}: {error}. See `{record.build.__module__}` for what there is.") from error
