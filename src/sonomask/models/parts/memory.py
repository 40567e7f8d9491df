"""Memory of corrections: corrected places and sounds, and by how much the scores of similar ones change.

    score(place, sound) += Σ_k weight_k · like(place, place_k) · near(place, place_k) · alike(sound, sound_k)

The mean over the lessons is subtracted from the features of places, so that what all places share does not count. Only
scores of places change that are similar to a corrected one in position, appearance and sound, so nothing else can be
forgotten. The weights have a closed form (`sonomask.teaching`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Memory", "kernel", "looks_of", "spots_of"]

LIKE, ALIKE = 0.1, 0.3  # of 1 less the cosine: of places, and of sounds
NEAR = 0.06  # of the picture's longer side
MOST = 1.0e4  # bound of what a file may hold


class Memory(nn.Module):
    """Changes scores where places and sounds are like those that are remembered.

    Args:
        size: Number of remembered examples.
        channels: Features of a place.
        sounds: Features of a sound.
    """

    places: Tensor
    spots: Tensor
    sounds: Tensor
    mean: Tensor
    weights: Tensor

    def __init__(self, size: int, channels: int, sounds: int) -> None:
        super().__init__()
        self.register_buffer("places", torch.zeros(size, channels))
        self.register_buffer("spots", torch.zeros(size, 2))
        self.register_buffer("sounds", torch.zeros(size, sounds))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("weights", torch.zeros(size))

    def forward(self, places: Float[Tensor, "N C h w"], sounds: Float[Tensor, "N S"]) -> Float[Tensor, "N 1 h w"]:
        """Change of the score of each place.

        Args:
            places: Features of each place, of length 1.
            sounds: Features of each frame's sound, of length 1.
        """
        height, width = places.shape[-2:]
        heard = torch.exp((sounds @ self.sounds.T - 1) / ALIKE) * self.weights.clamp(-MOST, MOST)
        like = torch.exp((looks_of(places.flatten(2).mT, self.mean) @ self.places.T - 1) / LIKE)
        near = _near(spots_of(height, width).to(places), self.spots)
        return (like * near * heard[:, None]).sum(2).unflatten(1, (height, width))[:, None]


def kernel(one: tuple[Tensor, ...], two: tuple[Tensor, ...]) -> Float[Tensor, "A B"]:
    """How alike examples are, 0 to 1.

    Args:
        one: Looks (A, C), spots (A, 2) and sounds (A, S) of the examples.
        two: The same of B others.
    """
    like = torch.exp((one[0] @ two[0].T - 1) / LIKE) * torch.exp((one[2] @ two[2].T - 1) / ALIKE)
    return like * _near(one[1], two[1])


def looks_of(places: Float[Tensor, "*A C"], mean: Float[Tensor, " C"]) -> Float[Tensor, "*A C"]:
    """Features less the mean, of length 1."""
    return F.normalize(places - mean, dim=-1)


def spots_of(height: int, width: int) -> Float[Tensor, "P 2"]:
    """Where each place is, row by row: from the left and top, in shares of the longer side."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    longer = torch.maximum(rows[-1], columns[:, -1]) + 1  # no Python number, so that a graph takes any size
    return torch.stack(torch.broadcast_tensors(columns, rows), 2).flatten(0, 1) / longer


def _near(one: Float[Tensor, "A 2"], two: Float[Tensor, "B 2"]) -> Float[Tensor, "A B"]:
    away = (one[:, None] - two[None]).square().sum(2)
    return torch.exp(-away / (2 * NEAR**2))
