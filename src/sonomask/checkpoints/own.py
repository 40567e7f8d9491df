"""Networks that are not in the catalogue: a class or function of the user's own, named by its path.

Only what a person writes on the command line or in a recipe is imported; the config of a model folder names no code.
"""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonomask.models.catalog import create_model, list_models
from sonomask.models.parts.net import Net
from sonomask.structures import ModelConfig

__all__ = ["build", "find"]


def build(name: str, options: Mapping[str, Any]) -> Net:
    """A network with random weights.

    Args:
        name: A name of the catalogue, or "package.module.Name" of a subclass of `Net` or of a function that gives one; the
            current folder is searched too.
        options: Its arguments.

    Raises:
        ValueError: There is no such name, it can't be built, or it is something else.
    """
    if name in list_models() or "." not in name:
        return create_model(name, **options)
    try:
        made = find(name)(**options)
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(
            f"`model`: {name!r} can't be built ({error}). Give a name of `sonomask models`, or a class."
        ) from error
    if not isinstance(made, Net) or not isinstance(getattr(made, "config", None), ModelConfig):
        raise ValueError(  # noqa: TRY004 - a word of the command line is wrong
            f"`model`: expected {name!r} to give a `sonomask.models.parts.net.Net` that sets `config`, got a "
            f"{type(made).__name__}. See docs/models.md."
        )
    return made


def find(path: str) -> Any:
    """Import "package.module.Name", from the current folder too.

    Raises:
        ImportError: There is no such module.
        AttributeError: It has no such member.
    """
    module, _, member = path.rpartition(".")
    here = str(Path.cwd())
    if here not in sys.path:  # as with `python -m`
        sys.path.insert(0, here)
    return getattr(importlib.import_module(module), member)
