"""Refine unsure parts of a mask by the colours and edges of the picture: a soft form of GrabCut.

A coarse map of scores shows roughly where a thing is; the picture shows which colours it has and where they end. Certain
places are kept. The others take part in two rounds: colour histograms of the inside and the outside, then some steps in
which each place is compared with its neighbours of similar colour. Nothing is learnt, and all operations exist in ONNX.

Source: Rother, Kolmogorov & Blake, "GrabCut", SIGGRAPH 2004; mean field as in Krähenbühl & Koltun, "Efficient inference in
fully connected CRFs with Gaussian edge potentials", NeurIPS 2011, on a few neighbours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

STRIDE = 4
SURE = 1.0  # logit beyond which a place is sure
OWN, COLOUR, NEIGHBOURS = 0.7, 0.3, 2.5  # what a place's own score, its colour and its neighbours count
BINS, SPREAD, FLATTEST = 8, 2.0, 0.05  # of each colour: bins, over how many standard deviations, the least of these
RARE, MOST = 0.02, 3.0  # share of the whole picture's colours in both sides' ones; bound of the colour's log-ratio
EDGE, ANYWAY = (
    3.0,
    0.02,
)  # mean squared differences of colour at which a neighbour counts 0.6; what each counts at least
DISTANCES = (1, 2, 4)
ROUNDS, STEPS = 2, 8


def settle(logits: Float[Tensor, "N 1 h w"], images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 1 h w"]:
    """The logits, with places that are unsure settled by colour.

    Args:
        logits: Scores at a quarter of the size of the images.
        images: RGB pictures, normalised; height and width are multiples of 4.
    """
    small = F.avg_pool2d(images, STRIDE)
    near = _nearness(small)
    first, second = _colour_bins(small)
    marked, unmarked = logits > SURE, logits < -SURE
    now, one = logits, torch.ones_like(logits)
    lowest, highest = logits.amin((2, 3), keepdim=True), logits.amax((2, 3), keepdim=True)
    for _ in range(ROUNDS):
        inside = (4 * now).sigmoid().flatten(1)
        sides = torch.stack([inside, 1 - inside, torch.ones_like(inside)], 1)  # N 3 P
        sides = sides / (sides.sum(2, keepdim=True) + 1)
        likely = _frequencies(sides, first, second)
        likely = (likely[:, :2] + RARE * likely[:, 2:] + 1e-6).log()
        ratio = (likely[:, 0] - likely[:, 1]).clamp(-MOST, MOST).view_as(logits)
        unary = OWN * logits + COLOUR * ratio
        for _ in range(STEPS):
            opinion = torch.where(marked, one, torch.where(unmarked, -one, (now / 2).tanh()))
            now = unary + NEIGHBOURS * channel_sum(near * _neighbours(opinion))
        now = torch.where(marked | unmarked, logits, now)
    return torch.maximum(torch.minimum(now, highest), lowest)  # none is surer than the surest was


def channel_sum(maps: Float[Tensor, "N C h w"]) -> Float[Tensor, "N 1 h w"]:
    """Sum over the channels, as a product with ones: ONNX Runtime's sum over an axis in the middle is several times slower."""
    ones = maps.new_ones(1, maps.shape[1])
    return (ones @ maps.flatten(2)).view_as(maps[:, :1])


def _nearness(small: Float[Tensor, "N 3 h w"]) -> Float[Tensor, "N 24 h w"]:
    """Weights of the neighbours, larger for near ones of similar colour; they sum to 1."""
    count, colours, height, width = small.shape
    theirs = _neighbours(small.reshape(count * colours, 1, height, width)).unflatten(0, (count, colours))
    there = _neighbours(torch.ones_like(small[:, :1]))
    apart = (theirs - small[:, :, None]).square().sum(1) * there
    usual = apart.mean((1, 2, 3), keepdim=True)
    alike = torch.exp(-apart / (2 * EDGE * usual + 1e-6)) + ANYWAY
    far = [d * (2**0.5 if diagonal else 1) for d in DISTANCES for diagonal in (1, 0, 1, 0, 0, 1, 0, 1)]
    weight = alike * there / small.new_tensor(far)[:, None, None]
    nearness: Tensor = weight / weight.sum(1, keepdim=True)
    return nearness


def _neighbours(maps: Float[Tensor, "N 1 h w"]) -> Float[Tensor, "N 24 h w"]:
    """The eight neighbours of each place at each distance, 0 beyond the border."""
    kernel = torch.eye(9, dtype=maps.dtype, device=maps.device)[[0, 1, 2, 3, 5, 6, 7, 8]].view(8, 1, 3, 3)
    return torch.cat([F.conv2d(maps, kernel, padding=d, dilation=d) for d in DISTANCES], 1)


def _frequencies(
    sides: Float[Tensor, "N S P"], first: Float[Tensor, "N B P"], second: Float[Tensor, "N B2 P"]
) -> Float[Tensor, "N S P"]:
    """How frequent each place's colour is among the places of each side.

    A place's share of a colour is the product of its shares of two groups of bins, so that neither the histogram nor what is
    read from it needs a matrix of all places by all colours.

    Args:
        sides: Weight of each place in each side's histogram.
        first: Share that each place has of each bin of the first group.
        second: Share that each place has of each bin of the second group.
    """
    weighted = sides[:, :, None] * second[:, None]  # N S B2 P
    histogram = weighted.flatten(1, 2) @ first.transpose(1, 2)  # N S·B2 B
    found = (histogram @ first).unflatten(1, (sides.shape[1], second.shape[1]))
    return (found * second[:, None]).sum(2)


def _colour_bins(small: Float[Tensor, "N 3 h w"]) -> tuple[Float[Tensor, "N pairs P"], Float[Tensor, "N bins P"]]:
    """Soft histogram bins of each pixel over the picture's own range: of brightness with red to green, of yellow to blue."""
    red, green, blue = small.flatten(2).unbind(1)
    opponent = torch.stack([(red + green + blue) / 3, (red - green) / 2, (red + green - 2 * blue) / 4], 1)
    centred = opponent - opponent.mean(2, keepdim=True)
    spread = centred.square().mean(2, keepdim=True).sqrt().clamp(min=FLATTEST)
    half = (BINS - 1) / 2
    place = (centred / (SPREAD * spread)).clamp(-1, 1) * half + half
    bins = torch.arange(BINS, dtype=small.dtype, device=small.device)[:, None]
    near = (1 - (place[:, :, None] - bins).abs()).clamp(min=0)  # N 3 bins P
    first, second, third = near.unbind(1)
    return (first[:, :, None] * second[:, None]).flatten(1, 2), third
