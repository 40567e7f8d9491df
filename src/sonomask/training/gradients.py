"""Weight decay and gradient clipping for the parameters of a model."""

from collections.abc import Iterable
from typing import Any

from torch import nn

__all__ = ["clip", "split_by_decay"]

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.Embedding)


def split_by_decay(model: nn.Module, groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Split each parameter group in two: parameters with weight decay, and norms, embeddings and position tables without.

    Args:
        model: The model that the parameters belong to.
        groups: Parameter groups, as an optimiser takes them.
    """
    spared = {id(p) for m in model.modules() if isinstance(m, NORMS) for p in m.parameters(recurse=False)}
    spared |= {id(p) for n, p in model.named_parameters() if n.endswith("relative_position_bias_table")}
    parts = [
        {**group, "params": [p for p in group["params"] if (id(p) in spared) is spare], **more}
        for group in groups
        for spare, more in ((False, {}), (True, {"weight_decay": 0.0}))
    ]
    return [part for part in parts if part["params"]]


def clip(parameters: Iterable[nn.Parameter], value: float, algorithm: object) -> None:
    """Clip gradients in place.

    Args:
        parameters: Parameters whose gradients are clipped.
        value: Greatest norm of all gradients together, or greatest absolute value of each.
        algorithm: Lightning's name of the way: "value", else the norm.
    """
    if str(getattr(algorithm, "value", algorithm)) == "value":
        nn.utils.clip_grad_value_(parameters, value)
    else:
        nn.utils.clip_grad_norm_(parameters, value)
