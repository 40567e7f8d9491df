"""Collect attention maps while a model runs: where sound and picture were matched, one map for each frame."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sonomask.models.optimize import Autocast
from sonomask.models.parts.net import Net

__all__ = ["Watch"]


class Watch:
    """Takes the attention map of whatever a model computes in the `with` block.

    That is the paper's α at the finest level that has it, between each pixel and its own second. A model without TPAVI has
    no such map: adding sound to a picture attends to nothing.

    Args:
        model: Any; only levels of fusion that attend to sound (`Net.attending`) have a map.

    Source: Zhou et al., "Audio-Visual Segmentation", ECCV 2022, equations 1 to 4.
    """

    def __init__(self, model: nn.Module) -> None:
        levels = model.attending() if isinstance(model, Net | Autocast) else []
        self.fuse: nn.Module | None = next(iter(levels), None)
        self.alpha: list[Tensor] = []
        self.hook: Any = None

    def __enter__(self) -> Watch:
        if self.fuse is not None:
            self.hook = self.fuse.register_forward_hook(self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.hook is not None:
            self.hook.remove()

    def _record(self, fuse: Any, inputs: tuple[Tensor, Tensor], _: Any) -> None:
        self.alpha.append(fuse.match(*inputs))

    def maps(self) -> Float[Tensor, "B T _h _w"] | None:
        """α as a share of its clip's largest, 0 to 1, what is negative as 0; None without TPAVI."""
        if not self.alpha:
            return None
        alpha = torch.cat(self.alpha, 1).clamp(min=0)
        return alpha / alpha.amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
