"""Stored frames of the built-in model's training, and the sounds that are drawn to them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from real_world_sounds import Patches
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sonomask.data.composed.compose import CompositeRules, CompositeScenes
from sonomask.data.composed.library import Library

RULES = CompositeRules(
    objects=(0.04, 0.42, 0.4, 0.14), whole=0.4, same=0.03, silence=0.45, together=0.2, offscreen=0.35
)
"""More pairs and more foreign sounds than the rules' own defaults: they are what is hard. `silence`: nothing that fits sounds."""

Frame = tuple[Tensor, Tensor, tuple[str, ...]]


class Composed(Dataset[Frame]):
    """Composed frames, as tensors: normalised picture (3, H, W), owner of each pixel at half the size, categories."""

    MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]

    def __init__(self, library: Library, count: int, size: int, seed: int) -> None:
        self.scenes = CompositeScenes(library, count, seed=seed, size=(size, size), seconds=1, rules=RULES)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Frame:
        """Frame number `index`, the same each time."""
        made, rng = self.scenes.scene(index), np.random.default_rng((self.seed, index))
        drawn, owner = made.layers(0.5)
        picture = torch.from_numpy(drawn).permute(2, 0, 1).float() / 255
        picture = picture * torch.from_numpy(rng.uniform(0.8, 1.2, 3) * rng.uniform(0.8, 1.2)).float()[:, None, None]
        if rng.random() < 0.1:  # cameras differ: some show no colours
            picture = picture.mean(0, keepdim=True).expand(3, -1, -1)
        if rng.random() < 0.2:  # and some are blurred
            small = F.interpolate(picture[None], scale_factor=float(rng.uniform(0.4, 0.9)), mode="area")
            picture = F.interpolate(small, picture.shape[-2:], mode="bilinear")[0]
        picture = (picture.clamp(0, 1) - self.MEAN) / self.STD
        return picture, torch.from_numpy(owner[::2, ::2].astype(np.int8)), made.objects


def collate(frames: Sequence[Frame]) -> tuple[Tensor, Tensor, list[tuple[str, ...]]]:
    """Frames as one batch."""
    pictures, owners, objects = zip(*frames, strict=True)
    return torch.stack(pictures).contiguous(memory_format=torch.channels_last), torch.stack(owners), list(objects)


@dataclass(frozen=True)
class Frames:
    """Composed frames as the backbone sees them.

    Attributes:
        maps: Four levels, (N, C, h, w) in half precision.
        owner: Index of the object that owns a pixel, -1 for none, at half the size of the frames: (N, H/2, W/2).
        objects: Categories of each frame's objects.
    """

    maps: list[Tensor]
    owner: Tensor
    objects: list[tuple[str, ...]]

    @classmethod
    @torch.inference_mode()
    def make(cls, composed: Composed, backbone: nn.Module) -> "Frames":
        """Compose the frames and look at them."""
        count, maps, owners, objects = len(composed), None, [], []
        for pictures, owner, seen in DataLoader(composed, 16, collate_fn=collate):
            first = len(objects)
            levels = backbone(pictures)
            maps = maps or [torch.empty(count, *x.shape[1:], dtype=torch.half) for x in levels]
            for level, x in zip(maps, levels, strict=True):
                level[first : first + len(x)] = x
            owners.append(owner)
            objects += seen
        assert maps is not None
        return cls(maps, torch.cat(owners), objects)

    def batch(self, places: Sequence[int]) -> list[Tensor]:
        """The maps of some frames."""
        index = torch.as_tensor(places)
        return [level[index].float().contiguous(memory_format=torch.channels_last) for level in self.maps]

    def masks(self, place: int, chosen: Sequence[bool]) -> Tensor:
        """Pixels of the chosen objects of a frame, 0 and 1."""
        lookup = torch.tensor([*map(float, chosen), 0.0])  # -1 is the last
        return lookup[self.owner[place].long()]


class Stored(nn.Module):
    """Stands for the backbone while its maps come from storage."""

    maps: Sequence[Tensor] = ()

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        """The maps of the images, which are not looked at."""
        return self.maps


def sounding(
    library: Library, patches: Patches, objects: Sequence[str], rng: random.Random
) -> tuple[list[str], list[bool]]:
    """What plays beside a frame, by `RULES`, and which of its objects that makes sound."""
    able = {i: [k for k in library.matches[c] if k in patches.bank] for i, c in enumerate(objects)}
    able = {i: kinds for i, kinds in able.items() if kinds}
    count = 0 if rng.random() < RULES.silence else 2 if rng.random() < RULES.together else 1
    chosen = rng.sample(sorted(able), min(count, len(able)))
    kinds = [rng.choice(able[i]) for i in chosen]
    alone = 0.8  # with nothing that fits: a foreign sound, else silence
    if rng.random() < (RULES.offscreen if kinds else alone):
        seen = {k for c in objects for k in library.matches[c]}
        kinds.append(rng.choice(sorted(set(patches.bank) - seen)))
    heard = set(kinds)
    return kinds, [bool(heard & set(library.matches[c])) for c in objects]  # two of one category sound alike
