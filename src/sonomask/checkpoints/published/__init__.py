"""Names in published checkpoints, one file for each system: what a file is, and what its tensors are called here.

A file in this room has `recognise(tensors, hints) -> Layout | None`; `layout` is what they share.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from torch import Tensor

from sonomask.checkpoints.published.layout import Hints, Layout

__all__ = ["readers"]


@cache
def readers() -> Mapping[str, Callable[[Mapping[str, Tensor], Hints], Layout | None]]:
    """The readers of published files by the names of their modules, in the order in which they are asked."""
    names = sorted(module.name for module in iter_modules(__path__) if module.name != "layout")
    return MappingProxyType({name: import_module(f"{__name__}.{name}").recognise for name in names})
