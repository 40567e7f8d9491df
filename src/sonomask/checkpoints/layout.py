"""Build a network whose description came with somebody's weights, without memory for more than these weights hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sonomask.models.parts.net import Net

__all__ = ["build_for"]

ROOM = 2**24  # numbers besides, such as tables of positions and what is only made to fill weights
TIMES = 3  # what is made while a network is built, of what its weights hold in the end


class _Budget(TorchDispatchMode):
    """Counts the numbers of all tensors that are made, and ends it when there are too many."""

    def __init__(self, held: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held, self.made = held, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, unless too much was created already."""
        if self.made > TIMES * self.held + ROOM:
            raise ValueError(f"describes a network far larger than the {self.held} numbers of the weights beside it.")
        result = func(*args, **(kwargs or {}))
        if all(entry.alias_info is None for entry in func._schema.returns):  # neither in place nor a view
            self.made += sum(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result


def build_for(tensors: Mapping[str, Tensor], create: Callable[[], Net], check: Callable[[Net], None]) -> Net:
    """A network that the tensors fit, with random weights.

    It is laid out without memory first, where its parts allow that, and has to fit then.

    Args:
        tensors: The weights that it will be filled with.
        create: Builds the network.
        check: Raises if the tensors don't fit.

    Raises:
        ValueError: The network is far larger than the weights, or its description is wrong.
        Exception: Whatever `check` raises.
    """
    held = sum(value.numel() for value in tensors.values())
    try:
        with _Budget(held), torch.device("meta"):
            drawn = create()
    except (NotImplementedError, RuntimeError):  # a part that can't be laid out without values; the budget holds below
        drawn = None
    if drawn is not None:
        check(drawn)
        return create()
    with _Budget(held):
        return create()
