"""The model written out as its equations stand, for comparison: what our forms must equal, and must beat.

Each function takes one of our modules and its inputs and computes the same result the plain way.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sonomask.batches import Output
from sonomask.models.nets.avs import AVS
from sonomask.models.parts.aspp import DilatedSum
from sonomask.models.parts.deformable import DeformableAttention, DeformableEncoder, Size, sine_position
from sonomask.models.parts.tpavi import TPAVI


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


def sample(value: Tensor, places: Tensor, weights: Tensor, sizes: list[Size]) -> Tensor:
    """Multi-scale sampling as the references' code without a compiled operator does it.

    A grid sample of each level with channels before pixels, all samples stacked, weighted and added up.

    Args:
        value: N S M D, all levels one after another.
        places: N Q M L P 2, x and y from 0 to 1.
        weights: N Q M L P.
        sizes: Height and width of each level.
    """
    n, _, heads, channels = value.shape
    samples = []
    for level, part in enumerate(value.split([h * w for h, w in sizes], 1)):
        picture = part.flatten(2).transpose(1, 2).reshape(n * heads, channels, *sizes[level])
        grid = (2 * places - 1)[:, :, :, level].transpose(1, 2).flatten(0, 1)  # N·M Q P 2
        samples.append(F.grid_sample(picture, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    share = weights.flatten(3).transpose(1, 2).flatten(0, 1)[:, None]  # N·M 1 Q L·P
    summed = (torch.stack(samples, -2).flatten(-2) * share).sum(-1)
    return summed.view(n, heads * channels, -1).transpose(1, 2).contiguous()


def deformable(attention: DeformableAttention, query: Tensor, source: Tensor, sizes: list[Size]) -> Tensor:
    """The whole attention of cells to cells, with places between 0 and 1."""
    axes = (attention.heads, attention.levels, attention.points)
    value = attention.value_proj(source).unflatten(-1, (attention.heads, -1))
    offsets = attention.sampling_offsets(query).unflatten(-1, (*axes, 2))
    weights = (
        attention.attention_weights(query).unflatten(-1, (attention.heads, -1)).softmax(-1).unflatten(-1, axes[1:])
    )
    scale = torch.tensor([(w, h) for h, w in sizes])[:, None]  # L 1 2
    own = torch.cat(
        [
            torch.stack(torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij"), -1)
            .flip(-1)
            .flatten(0, 1)
            for h, w in sizes
        ]
    )
    places = own[None, :, None, None, None] + offsets / scale
    return attention.output_proj(sample(value, places, weights, sizes))


def encode(encoder: DeformableEncoder, maps: list[Tensor]) -> list[Tensor]:
    """All layers of the encoder."""
    sizes = [(x.shape[-2], x.shape[-1]) for x in maps]
    tokens = torch.cat([x.flatten(2).mT for x in maps], 1)
    codes = [sine_position(*s, tokens.shape[-1], normalise=encoder.normalise, like=tokens) for s in sizes]
    positions = torch.cat([x.flatten(1).mT + e for x, e in zip(codes, encoder.level_embed)])
    for layer in encoder.layers:
        tokens = layer.norm1(tokens + deformable(layer.self_attn, tokens + positions, tokens, sizes))
        tokens = layer.norm2(tokens + layer.linear2(layer.activation(layer.linear1(tokens))))
    return [x.mT.unflatten(2, s) for x, s in zip(tokens.split([h * w for h, w in sizes], 1), sizes)]


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
