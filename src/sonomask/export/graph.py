"""The exported computation: a plain function of tensors, and the audio front end in widely supported operations.

A network's `forward` gives an `Output`; a graph gives its logits. The front end takes the 15,600 samples of each patch; its
Fourier transform is two products with constant matrices, so that no runtime needs complex numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from sonomask.audio.logmel import FFT_SIZE, HOP, MEL_BANDS, OFFSET, PATCH_FRAMES, PATCH_SAMPLES, WINDOW, mel_matrix
from sonomask.inference.attention import Watch
from sonomask.models.parts.net import Net

__all__ = ["Frontend", "Graph", "example", "plain_padding", "stands_alone"]

PAST = 20  # a past as loud as 1 would have the noise count as silence, in which all logits are the same


class Frontend(nn.Module):
    """`audio.logmel` for one patch at a time: samples to the logarithm of a mel spectrogram.

    In float64 inside, as there: the logarithm shows float32's rounding where a band is nearly silent.
    """

    cosines: Tensor
    sines: Tensor
    mel: Tensor
    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(WINDOW, periodic=True, dtype=torch.float64)
        angle = torch.outer(torch.arange(WINDOW), torch.arange(FFT_SIZE // 2 + 1)).double() * (2 * math.pi / FFT_SIZE)
        self.register_buffer("cosines", window[:, None] * angle.cos())
        self.register_buffer("sines", window[:, None] * angle.sin())
        self.register_buffer("mel", mel_matrix())
        places = torch.arange(PATCH_FRAMES)[:, None] * HOP + torch.arange(WINDOW)
        self.register_buffer("places", places.flatten())

    def forward(self, waveform: Float[Tensor, "B T 15600"]) -> Float[Tensor, "B T 1 96 64"]:
        """Log-mel patches; the samples are 16 kHz mono in -1..1."""
        frames = waveform.double()[..., self.places].unflatten(-1, (PATCH_FRAMES, WINDOW))
        power = (frames @ self.cosines).square() + (frames @ self.sines).square()
        return torch.log(power.sqrt() @ self.mel + OFFSET).float()[:, :, None]


class Graph(nn.Module):
    """A network as a function from tensors to logits.

    Args:
        model: The network.
        frontend: Turns waveforms into log-mel patches inside the graph; without it the graph is given the patches.
        attention: Whether the graph gives the attention map of each frame too (`inference.attention`).
    """

    def __init__(self, model: Net, frontend: Frontend | None = None, *, attention: bool = False) -> None:
        super().__init__()
        self.model, self.frontend = model, frontend
        self.attention = attention and Watch(model).fuse is not None

    @property
    def outputs(self) -> Sequence[str]:
        """Names of what `forward` gives."""
        config = self.model.config
        more = (*("heard", "seen") * bool(config.things), *("onward",) * config.recurrent)
        return ("logits", *("attention",) * self.attention, *more)

    @property
    def inputs(self) -> Sequence[str]:
        """Names of what `forward` takes."""
        config = self.model.config
        sound = ("logmel" if self.frontend is None else "waveform",) * config.listens
        return ("images", *sound, *("maskige",) * config.maskige, *("past",) * config.recurrent)

    def forward(
        self, images: Tensor, sound: Tensor | None = None, more: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Logits (B, T, K, H, W) at the size of the images, and what else `outputs` names.

        Args:
            images: Normalised pictures.
            sound: Log-mel patches, or samples for a front end inside.
            more: The maskige of a model that reads one, the past of a recurrent model.
        """
        heard = sound if self.frontend is None or sound is None else self.frontend(sound)
        if self.model.config.recurrent:
            output = self.model(images, heard, past=more)
            found = (output.logits, output.heard, output.seen, output.past)
            return tuple(value for value in found if value is not None)
        second = {} if more is None else {"maskige": more}
        if not self.attention:
            return self.model(images, heard, **second).logits
        with Watch(self.model) as watch:
            logits = self.model(images, heard, **second).logits
        maps = watch.maps()
        assert maps is not None  # noqa: S101 - for the type checker: there is a level to watch
        return logits, maps.reshape(*images.shape[:2], *maps.shape[-2:])


def stands_alone(model: Net) -> bool:
    """Whether each frame's logits depend only on that frame and its sound, so that a stream needs no past.

    Two steps of a stream are run to see whether they leave a past.
    """
    if not model.streams or model.config.recurrent:
        return False
    height, width = model.config.image_size
    network: Any = model
    past = network.start()
    for _ in range(2):
        sound = torch.zeros(1, 1, PATCH_FRAMES, MEL_BANDS) if model.config.listens else None
        past = network.step(torch.zeros(1, 3, height, width), sound, past)[1]
    return not past.kept


@contextmanager
def plain_padding(model: nn.Module) -> Iterator[None]:
    """Within the block, TensorFlow's "same" padding is what it is for sizes that the stride divides: constant.

    timm computes it from the size in every convolution. Where the size is free that nests a formula in another level by
    level, and tracing EfficientNet-Lite did not end within minutes. Exported sizes are multiples of all strides together.
    """
    found = [module for module in model.modules() if isinstance(module, Conv2dSame)]
    for conv in found:
        vars(conv)["forward"] = partial(_padded, conv)
    try:
        yield
    finally:
        for conv in found:
            del vars(conv)["forward"]


def _padded(conv: nn.Conv2d, x: Tensor) -> Tensor:
    pads: list[int] = []
    for size, step, apart in zip(conv.kernel_size, conv.stride, conv.dilation, strict=True):
        total = max(0, (size - 1) * apart + 1 - step)
        pads = [total // 2, total - total // 2, *pads]  # the last axis comes first
    return F.conv2d(F.pad(x, pads), conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def example(graph: Graph, batch: int, time: int, size: tuple[int, int], seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs of a shape: noise, as loud as sound is."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, time, 3, *size, generator=generator)
    if len(graph.inputs) == 1:
        return (images,)
    shape = (graph.model.config.patches, 96, 64) if graph.frontend is None else (PATCH_SAMPLES,)
    sound = torch.randn(batch, time, *shape, generator=generator)
    heard = sound if graph.frontend is None else sound / 4
    if "past" in graph.inputs:
        network: Any = graph.model
        return images, heard, torch.rand(network.start(batch).shape, generator=generator) / PAST
    if "maskige" in graph.inputs:
        return images, heard, torch.randn(images.shape, generator=generator)
    return images, heard
