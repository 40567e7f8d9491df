"""A faster form of a model for inference: the same function, fewer operations."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sonomask.batches import Output
from sonomask.models.parts.depthwise import use_fast_depthwise
from sonomask.models.parts.net import Net
from sonomask.models.parts.tpavi import FusionLevel


def optimize(model: Net, dtype: torch.dtype = torch.float32, *, in_place: bool = False) -> nn.Module:
    """Fold each batch norm into the convolution before it and keep pixels' channels together in memory.

    TPAVI's own algebra and the dropping of taps that meet only padding need no preparation, see `tpavi` and `aspp`.

    Args:
        model: Any of ours; it is not changed unless `in_place`.
        dtype: float32 keeps the logits within 2e-4; bfloat16 halves bytes and, on a processor that has it, operations,
            and drifts (the benchmark prints how far).
        in_place: Change the model itself, which saves the memory of a copy.

    Returns:
        A copy (or the model) in eval mode with the same interface; with bfloat16 its logits are float32 again.
    """
    fast = (model if in_place else copy.deepcopy(model)).eval()
    fast.requires_grad_(requires_grad=False)
    use_fast_depthwise(fast)
    seeing = fast.foldable()
    if not seeing:
        return fast if dtype == torch.float32 else Autocast(fast, dtype)
    device, hearing = next(fast.parameters()).device, fast.part("audio")
    for part in seeing:
        try:
            _fold_batch_norms(part, torch.zeros(1, 3, 64, 64, device=device))
        except ValueError:  # a windowed network, or patches of 14 pixels
            _fold_batch_norms(part, torch.zeros(1, 3, *fast.config.image_size, device=device))
    if hearing is not None:
        _fold_batch_norms(hearing, torch.zeros(1, 1, 96, 64, device=device))
    fast = fast.to(memory_format=torch.channels_last)
    if dtype != torch.float32:
        return Autocast(fast, dtype)
    return fast


class Autocast(nn.Module):
    """Runs a model in a lower precision and returns float32.

    Args:
        model: Model in eval mode.
        dtype: Number format of convolutions and matrix products.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype, self.config = model, dtype, model.config

    def forward(self, images: Tensor, *args: Any, **kwargs: Any) -> Output:
        """Like the model's method."""
        return self._run(self.model, images, *args, **kwargs)

    def decode(self, images: Tensor, *args: Any, **kwargs: Any) -> Output:
        """Like the model's method."""
        return self._run(self.model.decode, images, *args, **kwargs)

    def start(self, *args: Any, **kwargs: Any) -> Any:
        """Like the model's method."""
        return self._streaming().start(*args, **kwargs)

    def step(self, images: Tensor, *args: Any, **kwargs: Any) -> tuple[Output, Any]:
        """Like the model's method; the past keeps the lower precision."""
        with torch.autocast(images.device.type, self.dtype):
            output, past = self._streaming().step(images, *args, **kwargs)
        return replace(output, logits=output.logits.float()), past

    def attending(self) -> list[FusionLevel]:
        """Like the model's method."""
        return self.model.attending() if isinstance(self.model, Net) else []

    def _streaming(self) -> Any:
        if not isinstance(self.model, Net) or not self.model.streams:
            raise TypeError("This model has no streaming form; that is for `avs_…`, `avss_…` and `world…`.")
        return self.model

    def _run(self, function: Any, images: Tensor, *args: Any, **kwargs: Any) -> Output:
        with torch.autocast(images.device.type, self.dtype):
            output = function(images, *args, **kwargs)
        sound = tuple(None if s is None else s.float() for s in output.sound)
        fused = tuple(x.float() for x in output.fused)
        return replace(output, logits=output.logits.float(), fused=fused, sound=sound)


def _fold_batch_norms(part: nn.Module, probe: Tensor) -> None:
    """Fold each batch norm of `part` whose input is what a convolution just returned, as a run over `probe` shows."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # keeps the tensors, so that no id is used twice
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (module, output)
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    hooks = [module.register_forward_hook(watch) for module in part.modules()]
    try:
        with torch.no_grad():
            part(probe)
    finally:
        for hook in hooks:
            hook.remove()
    names = {module: name for name, module in part.named_modules()}
    for conv, norm in pairs:
        part.set_submodule(names[conv], fuse_conv_bn_eval(conv, norm))
        part.set_submodule(names[norm], _rest(norm))


def _rest(norm: nn.BatchNorm2d) -> nn.Module:
    """The remainder of a folded batch norm: timm's contain dropout and activation."""
    parts = [getattr(norm, key) for key in ("drop", "act") if isinstance(getattr(norm, key, None), nn.Module)]
    return nn.Sequential(*parts) if parts else nn.Identity()
