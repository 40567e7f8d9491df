"""Runs a network of torch on a CPU, CUDA or MPS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from sonomask.batches import Output
from sonomask.inference.attention import Watch
from sonomask.inference.replay import Replay
from sonomask.inference.scorer import Scored
from sonomask.request import Precision
from sonomask.structures import ModelConfig, ModelOrigin

__all__ = ["PRECISIONS", "TorchScorer", "choose_device", "chosen_precision", "computing"]

PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bf16")
SHARE = 0.8  # of the free memory of a GPU that clips may take


@contextmanager
def computing(precision: Precision, device: str | torch.device) -> Iterator[None]:
    """Set the number format of matrix products and convolutions within the context.

    Args:
        precision: "float32": all 23 bits everywhere. "tf32": 10 bits in products, where the device can (CUDA from Ampere
            on; a CPU ignores it). "bf16": autocast to bfloat16, and TF32 for what is left.
        device: Device of the tensors.

    Raises:
        ValueError: There is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"`precision`: expected one of {', '.join(PRECISIONS)}, got {precision!r}.")
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    try:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


class TorchScorer:
    """See `scorer.StreamScorer`; only a network with `start` and `step` streams.

    Args:
        model: Model in the interface of `docs/design.md`, with its `config`; moved to the device and put in eval mode.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the best there is.
        threads: Number of threads of one operation on a CPU, for the whole process; 0 for torch's own choice.
        precision: Precision, as in `Request`; "auto" becomes what `chosen_precision` says.
        cuda_graphs: Use of CUDA graphs, as in `Request`; without effect on other devices.

    Raises:
        ValueError: There is no such device here.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str = "auto",
        threads: int = 0,
        precision: Precision = "auto",
        *,
        cuda_graphs: bool = False,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.threads = threads
        self.place = choose_device(device)
        self.on_cuda = self.place.type == "cuda"
        self.each = 0.0  # bytes of the largest clip so far
        self.replay = Replay(model) if cuda_graphs and self.on_cuda else None
        network: Any = model.to(self.place).eval()
        self.model = network
        self.config: ModelConfig = network.config
        self.precision = chosen_precision(precision, self.place, recurrent=self.config.recurrent)
        self.device = str(self.place)
        self.origin = ModelOrigin(self.config.name)

    @torch.inference_mode()
    def __call__(
        self,
        pictures: UInt8[np.ndarray, "B T H W 3"],
        logmel: Float32[np.ndarray, "B T P 96 64"] | None,
        maskige: UInt8[np.ndarray, "B T H W 3"] | None = None,
        *,
        attention: bool = False,
        past: Float32[np.ndarray, "B _S"] | None = None,
    ) -> Scored:
        """Scores of clips."""
        with self._memory(), self._measured(len(pictures)), computing(self.precision, self.place):
            images, sound = self.prepare(pictures), None if logmel is None else torch.from_numpy(logmel).to(self.place)
            more = {} if maskige is None else {"maskige": self.prepare(maskige)}
            if past is not None:
                more["past"] = torch.from_numpy(past).to(self.place)
            if not attention and self.replay is not None:
                return _scored(self.replay(images=images, logmel=sound, **more))
            if not attention:
                return _scored(self.model(images, sound, **more))
            with Watch(self.model) as watch:
                output = self.model(images, sound, **more)
            return _scored(output, watch.maps())

    def to(self, device: str) -> TorchScorer:
        """The same network on another device."""
        return self._again(device, self.precision, cuda_graphs=self.replay is not None)

    def asked(self, precision: Precision, *, cuda_graphs: bool) -> TorchScorer:
        """The same network on the same device, computing as asked.

        Raises:
            ValueError: torch has no such precision.
        """
        if precision == "int8":
            raise ValueError(
                "`precision`: 'int8' is computed by ONNX Runtime on a processor. Use --backend onnx --device cpu."
            )
        return self._again(self.device, precision, cuda_graphs=cuda_graphs)

    def _again(self, device: str, precision: Precision, *, cuda_graphs: bool) -> TorchScorer:
        made = TorchScorer(self.model, device, self.threads, precision, cuda_graphs=cuda_graphs)
        made.origin = self.origin
        return made

    def room(self) -> int | None:
        """Number of clips that fit into the device's free memory: one before the first call, None if unknown."""
        if not self.on_cuda:
            return None
        if not self.each:
            return 1
        free = torch.cuda.mem_get_info(self.place)[0]
        spare = torch.cuda.memory_reserved(self.place) - torch.cuda.memory_allocated(self.place)
        return max(1, int(SHARE * (free + spare) / self.each))

    def start(self) -> Any:
        """The empty past of a stream.

        Raises:
            ValueError: The network has no streaming form.
        """
        if not hasattr(self.model, "step"):
            raise ValueError("`model`: has no streaming form. Take one of `avs_…`, `avss_…` or `world…`.")
        return self.model.start()

    @torch.inference_mode()
    def step(
        self,
        picture: UInt8[np.ndarray, "H W 3"],
        logmel: Float32[np.ndarray, "P 96 64"] | None,
        past: Any,
        time: float,
    ) -> tuple[Scored, Any]:
        """Scores of a stream's next frame, and the past for the step after it."""
        sound = None if logmel is None else torch.from_numpy(logmel[None]).to(self.place)
        with computing(self.precision, self.place):
            output, past = self.model.step(self.prepare(picture[None]), sound, past, time=time)
        return _scored(output), past

    def prepare(self, pictures: UInt8[np.ndarray, "*N H W 3"]) -> Float[Tensor, "*N 3 H W"]:
        """RGB pictures as the network takes them, on its device."""
        images = torch.from_numpy(pictures).to(self.place).movedim(-1, -3) / 255
        mean, std = (torch.tensor(v, device=self.place)[:, None, None] for v in (self.config.mean, self.config.std))
        return (images - mean) / std

    @contextmanager
    def _measured(self, clips: int) -> Iterator[None]:
        """Note what a clip takes at most."""
        if not self.on_cuda:
            yield
            return
        torch.cuda.reset_peak_memory_stats(self.place)
        before = torch.cuda.memory_allocated(self.place)
        yield
        peak = torch.cuda.max_memory_allocated(self.place)
        self.each = max(self.each, (peak - before) / clips)

    @contextmanager
    def _memory(self) -> Iterator[None]:
        """Raise the same error for too little memory on every device."""
        try:
            yield
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            if self.place.type == "cuda":
                torch.cuda.empty_cache()
            raise MemoryError(str(error)) from error


def chosen_precision(precision: Precision, device: torch.device, *, recurrent: bool = False) -> Precision:
    """The number format in use.

    Args:
        precision: "auto" is what keeps the masks of the example clip (mean IoU 0.999 with float32, `benchmarks/gpu.py --part
            precision`): TF32 on CUDA, but float32 for recurrent models, which decide what sounds by comparing scores.
        device: Only CUDA has TF32; elsewhere it is float32.
        recurrent: Whether the model is (`ModelConfig.recurrent`).
    """
    if precision == "auto" and recurrent:
        return "float32"
    if precision in ("auto", "tf32"):
        return "tf32" if device.type == "cuda" else "float32"
    return precision


def _scored(output: Output, attention: Tensor | None = None) -> Scored:
    maps, past, heard = (None if x is None else _array(x) for x in (attention, output.past, output.heard))
    return Scored(_array(output.logits), maps, past, heard, None if output.seen is None else output.seen.cpu().numpy())


def _array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        ValueError: There is no such device here.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, here in present.items() if here))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    beyond = device is not None and device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if device is None or not present.get(device.type, False) or beyond:
        here = ", ".join(kind for kind, is_here in present.items() if is_here)
        raise ValueError(f"`device`: expected 'auto' or one that is here ({here}), got {name!r}.")
    return device
