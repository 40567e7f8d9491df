"""CUDA's autocast acted out on a CPU: the same casts and the same refusal, so that a test needs no GPU.

PyTorch's own `torch.autocast("cpu")` has other lists, and lets through what CUDA's refuses. The simulation stands above
autograd, as autocast does, and sees what Python code calls; what a single call does inside of itself it does not see.

Source: the table "CUDA op-specific behavior" of the documentation of `torch.amp`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


LOWER = _names("""
    __matmul__ __rmatmul__ addbmm addmm addmv addr baddbmm bilinear bmm chain_matmul conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d einsum linear matmul mm multi_dot multi_head_attention_forward mv prelu
    scaled_dot_product_attention
""")
FLOAT32 = _names("""
    __pow__ __rdiv__ __rpow__ __rtruediv__ acos asin binary_cross_entropy_with_logits cdist cosh cosine_embedding_loss
    cosine_similarity cross_entropy cumprod cumsum dist erfinv exp expm1 group_norm hinge_embedding_loss huber_loss
    interpolate kl_div l1_loss layer_norm log log10 log1p log2 log_softmax logsumexp margin_ranking_loss mse_loss
    multi_margin_loss multilabel_margin_loss nll_loss norm normalize pdist poisson_nll_loss pow prod reciprocal renorm
    rsqrt sinh smooth_l1_loss soft_margin_loss softmax softmin softplus sum tan triplet_margin_loss upsample
""")
WIDEST = _names("addcdiv addcmul atan2 cross dot grid_sample index_put scatter_add tensordot vdot")
REFUSED = frozenset(["binary_cross_entropy"])


class CudaAutocast(TorchFunctionMode):
    """Within it, calls on CPU tensors get the types that they would get on CUDA.

    `torch.autocast(…, enabled=False)` inside switches it off, as it does the real one.

    Args:
        dtype: The lower precision.
    """

    def __init__(self, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.dtype = dtype
        self.calls: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.before = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        torch.set_autocast_dtype("cpu", self.dtype)
        _switch(on=True)
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        _switch(on=self.before[0])
        torch.set_autocast_dtype("cpu", self.before[1])

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # fmt: skip
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        if not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        self.calls[name] = self.calls.get(name, 0) + 1
        if name in REFUSED:
            raise RuntimeError(
                f"CUDA's autocast refuses {name}: use a form with logits, or switch autocast off around it."
            )
        target = self.dtype if name in LOWER else torch.float32 if name in FLOAT32 else None
        if name in WIDEST:
            target = max((x.dtype for x in _tensors((args, kwargs)) if x.is_floating_point()), key=lambda d: d.itemsize)
        if target is None:
            return self._plain(func, args, kwargs)
        if name in FLOAT32 and "dtype" in kwargs:
            return self._plain(func, args, kwargs)
        return self._plain(func, _cast(args, target), _cast(kwargs, target))

    @staticmethod
    def _plain(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The call without the CPU's own rules."""
        dtype = torch.get_autocast_dtype("cpu")
        _switch(on=False)
        try:
            return func(*args, **kwargs)
        finally:
            torch.set_autocast_dtype("cpu", dtype)
            _switch(on=True)


class Tf32(TorchFunctionMode):
    """Within it, products and convolutions of float32 tensors take 10 of 23 bits of their inputs, as CUDA's do in TF32.

    Sums stay in float32, as there. A convolution's weights are rounded too, its bias is not.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # fmt: skip
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        if name in LOWER:
            args = [*(_rounded(value) for value in args[:3]), *args[3:]]
        return func(*args, **kwargs)


def _rounded(value: Any) -> Any:
    """To the nearest number of 10 bits behind the point."""
    if not isinstance(value, Tensor) or value.dtype != torch.float32 or value.ndim < 2:
        return value
    bits = value.detach().contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def _switch(*, on: bool) -> None:
    torch.set_autocast_enabled("cpu", on)


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    return [t for v in values for t in _tensors(v)] if isinstance(values, list | tuple) else []


def _cast(values: Any, dtype: torch.dtype) -> Any:
    """Floating-point tensors but float64 in another type, which stays as it is under autocast."""
    if isinstance(values, Tensor):
        wanted = values.is_floating_point() and values.dtype not in (dtype, torch.float64)
        return values.to(dtype) if wanted else values
    if isinstance(values, dict):
        return {k: _cast(v, dtype) for k, v in values.items()}
    if type(values) in (list, tuple):
        return type(values)(_cast(v, dtype) for v in values)
    return values
