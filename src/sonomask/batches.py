"""Inputs and outputs of networks in training and evaluation; shape letters as in `structures`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from sonomask.structures import ModelConfig

__all__ = ["Batch", "Clip", "Output"]


@dataclass(frozen=True)
class Output:
    """The output of a model.

    Attributes:
        logits: One score per pixel and class, at the size of the images.
        fused: The feature maps of each level after fusion and ReLU, fine to coarse; the matching loss reads them.
        sound: The sound as each level saw it, or None where a level did not listen.
        match: In training each level's score of a pixel with the sound of its own second (TPAVI's N·α), None where a
            level has none.
        past: Past of a recurrent model, to be passed with the next clip.
        heard: Score of each of AudioSet's names (`sonomask.audio.audioset`), 0 to 1; None of a model that knows no names.
        seen: Thing at each pixel, as an index into `config.things`; None for a model that knows no names.
    """

    logits: Float[Tensor, "B T K H W"]
    fused: tuple[Float[Tensor, "B T _C _h _w"], ...] = ()
    sound: tuple[Float[Tensor, "B T _D"] | None, ...] = ()
    match: tuple[Float[Tensor, "B T _h _w"] | None, ...] = ()
    past: Float[Tensor, "B _S"] | None = None
    heard: Float[Tensor, "B T _names"] | None = None
    seen: UInt8[Tensor, "B T _h _w"] | None = None


@dataclass(frozen=True)
class Clip:
    """A clip of a data set, ready for a model.

    Attributes:
        images: RGB, normalised as the model's config says.
        logmel: One patch per frame.
        masks: Truth: 0/1, or class indices; zero where `labelled` is false.
        labelled: Frames that have a mask (S4 trains on the first only).
        valid: Frames that exist (false where a short AVSS clip was padded).
        name: The clip's name in its data set.
        category: Its category, or "" where the set has none.
        maskige: A second picture of each frame, in which every region has a colour of its own, normalised like the first;
            None where none was asked for.
    """

    images: Float[Tensor, "T 3 H W"]
    logmel: Float[Tensor, "T 1 96 64"]
    masks: Int[Tensor, "T H W"]
    labelled: Bool[Tensor, " T"]
    valid: Bool[Tensor, " T"]
    name: str = ""
    category: str = ""
    maskige: Float[Tensor, "T 3 H W"] | None = None


@dataclass(frozen=True)
class Batch:
    """Clips stacked along a new first axis; the attributes are those of `Clip`."""

    images: Float[Tensor, "B T 3 H W"]
    logmel: Float[Tensor, "B T 1 96 64"]
    masks: Int[Tensor, "B T H W"]
    labelled: Bool[Tensor, "B T"]
    valid: Bool[Tensor, "B T"]
    names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    maskige: Float[Tensor, "B T 3 H W"] | None = None

    @classmethod
    def collate(cls, clips: Sequence[Clip]) -> Batch:
        """Stack clips of one shape; a `DataLoader` takes this as its `collate_fn`."""
        keys = ["images", "logmel", "masks", "labelled", "valid"]
        if all(clip.maskige is not None for clip in clips):
            keys.append("maskige")
        stacked: dict[str, Any] = {key: torch.stack([getattr(clip, key) for clip in clips]) for key in keys}
        return cls(**stacked, names=tuple(c.name for c in clips), categories=tuple(c.category for c in clips))

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device; from pinned memory without waiting for the copy."""
        return self._each(lambda x: x.to(device, non_blocking=x.is_pinned()))

    def pin_memory(self) -> Batch:
        """The same batch in memory that a GPU copies from while it computes; a `DataLoader` asks for it."""
        return self._each(lambda x: x.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {k: change(v) if isinstance(v, Tensor) else v for k, v in values.items()}
        return Batch(**changed)

    def inputs(self, config: ModelConfig) -> dict[str, Any]:
        """Keyword arguments for a model with that config: `model(**batch.inputs(model.config))`."""
        values: dict[str, Any] = {"images": self.images, "logmel": self.logmel if config.listens else None}
        values["valid"] = self.valid
        return {**values, "maskige": self.maskige} if config.maskige else values
