"""The model written out as its equations stand, for comparison: what our forms must equal, and must beat.

Each function takes one of our modules and its inputs and computes the same result the plain way.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sonomask.models.aspp import DilatedSum
from sonomask.models.avs import AVS
from sonomask.models.tpavi import TPAVI
from sonomask.structures import Output


def attend(block: TPAVI, x: Tensor, keys: Tensor) -> Tensor:
    """W(α g(x)) after batch norm, plus x, after layer norm, with the whole matrix α (B, N, N) in memory."""
    b, t, c, h, w = x.shape
    frames, others = x.flatten(0, 1), keys.flatten(0, 1)

    def tokens(y: Tensor) -> Tensor:
        return y.unflatten(0, (b, t)).permute(0, 1, 3, 4, 2).flatten(1, 3)  # B N C'

    theta, phi, g = tokens(block.theta(frames)), tokens(block.phi(others)), tokens(block.g(frames))
    alpha = theta @ phi.mT / theta.shape[1]
    y = (alpha @ g).unflatten(1, (t, h, w)).permute(0, 1, 4, 2, 3).flatten(0, 1)
    update = block.out(y)
    update = block.bn(update.movedim(1, -1).reshape(-1, c)).reshape(b, t, h, w, c)
    return block.norm(x.movedim(2, -1) + update).movedim(-1, 2)


def tpavi(block: TPAVI, x: Tensor, sound: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The fusion of one level."""
    aligned = None if block.keys == "visual" else block.align(sound)
    updates = [attend(block, x, x)] if block.keys != "tpavi" else []
    if aligned is not None:
        updates.append(attend(block, x, aligned[..., None, None].expand_as(x)))
    return sum(updates) / len(updates), aligned


def dilated_sum(block: DilatedSum, x: Tensor) -> Tensor:
    """Four whole convolutions."""
    return sum(conv(x) for conv in block.convs)


def decode(model: AVS, images: Tensor, sound: Tensor | None) -> Output:
    """The whole model, all frames valid."""
    shape = images.shape[:2]
    maps = [dilated_sum(f, x).unflatten(0, shape) for f, x in zip(model.aspp, model.backbone(images.flatten(0, 1)))]
    pairs = [tpavi(f, x, sound) if isinstance(f, TPAVI) else f(x, sound) for f, x in zip(model.fusion, maps)]
    fused = tuple(F.relu(z) for z, _ in pairs)
    logits = model.decoder([z.flatten(0, 1) for z in fused], size=tuple(images.shape[-2:]))
    return Output(logits.unflatten(0, shape), fused, tuple(a for _, a in pairs))


def log_mel(waveform: Tensor) -> Tensor:
    """Log-mel frames one at a time, from VGGish's formula: 25 ms Hann, |FFT|, 64 triangles, log(x + 0.01)."""
    window = 0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(400) / 400)

    def mel(hertz: Tensor) -> Tensor:
        return 1127 * torch.log1p(hertz / 700)

    edges = torch.linspace(*mel(torch.tensor([125.0, 7500.0])).tolist(), 66)
    bins = mel(torch.arange(257) * 8000 / 256)
    rows = []
    for start in range(0, len(waveform) - 399, 160):
        magnitude = torch.fft.rfft(waveform[start : start + 400] * window, 512).abs()
        bands = []
        for low, centre, high in zip(edges, edges[1:], edges[2:]):
            triangle = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0)
            triangle[0] = 0
            bands.append((triangle * magnitude).sum())
        rows.append(torch.log(torch.stack(bands) + 0.01))
    return torch.stack(rows)
