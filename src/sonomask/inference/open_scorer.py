"""The model `open`: what is heard chooses the words, networks for free words find the things, and the match of both is marked.

    sound → built-in tagger → names now and so far → which things could make them → words ─┐
    picture ──────────────────────────────────────────────────── Concepts(words) → masks ─┴→ match → logits

The listening part and the match are those of the built-in model (`sonomask.models.nets.world`); the seeing part is anything
behind `Concepts`. A prompt takes the place of the chosen words: what it means is marked while it is heard, by the sounds of the
thing or by the name of a sound in it; where neither is known, while anything is audible.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from sonomask.audio.audioset import names
from sonomask.audio.categories import CATEGORIES
from sonomask.checkpoints.folder import load
from sonomask.inference.concepts import Concepts, Found, phrase
from sonomask.inference.scorer import Scored
from sonomask.inference.torch_scorer import choose_device
from sonomask.models.nets.world import CERTAIN, OUT, match, name_places
from sonomask.structures import ModelOrigin

__all__ = ["DEFAULT_OPEN", "OpenScorer", "load_open"]

DEFAULT_OPEN = ("IDEA-Research/grounding-dino-tiny", "facebook/sam2.1-hiera-tiny")
"""Free licences (Apache-2.0) and no gate."""
LISTENER = "world.real"
SIDE = 640  # pixels of a picture's longer side
STRIDE = 4  # of the maps that are matched
ASKED = 0.1  # relevance from which on a thing's word is asked for
MOST_WORDS = 6


def load_open(source: str = "open", device: str = "auto") -> OpenScorer:
    """The model `open`, or `open:NAME` and `open:BOXES,MASKS` with networks of one's own choice.

    Raises:
        WeightsError: A network can't be read.
        ValueError: There is no such device.
        MissingExtraError: transformers is not installed.
    """
    from sonomask.inference.hub_concepts import load_concepts

    given = [name.strip() for name in source.partition(":")[2].split(",") if name.strip()]
    return OpenScorer(load_concepts(given or DEFAULT_OPEN, device), device=device)


class OpenScorer:
    """A scorer (`sonomask.inference.scorer`) around a finder of things by words.

    Args:
        concepts: Finds things.
        prompts: Words that are asked for in place of those that what is heard suggests.
        device: Device of the listening part.
        listener: The built-in model that listens; loaded if None.
    """

    def __init__(
        self, concepts: Concepts, prompts: Sequence[str] = (), device: str = "auto", listener: Any = None
    ) -> None:
        self.concepts, self.prompts = concepts, tuple(prompts)
        self.place = choose_device(device)
        self.device = str(self.place)
        self.listener: Any = (load(LISTENER) if listener is None else listener).to(self.place).eval()
        self.config = replace(
            self.listener.config, name="open", options={}, image_size=(SIDE, SIDE), things=(*self.prompts, *CATEGORIES),
            presence=None, about=f"words by what is heard, things by {concepts.name}",
        )  # fmt: skip
        self.origin = ModelOrigin(f"open ({concepts.name})")

    def to(self, device: str) -> OpenScorer:
        """The model on another device.

        Raises:
            ValueError: There is no such device here.
        """
        return OpenScorer(self.concepts.to(device), self.prompts, device, self.listener)

    def prompted(self, prompts: Sequence[str]) -> OpenScorer:
        """The model with prompts in place of the words that it would choose."""
        return OpenScorer(self.concepts, prompts, self.device, self.listener)

    def __call__(
        self,
        pictures: UInt8[np.ndarray, "B T H W 3"],
        logmel: Float32[np.ndarray, "B T P 96 64"] | None,
        maskige: UInt8[np.ndarray, "B T H W 3"] | None = None,  # noqa: ARG002 - one interface for all scorers
        *,
        attention: bool = False,  # noqa: ARG002 - the same
        past: Float32[np.ndarray, "B _S"] | None = None,
    ) -> Scored:
        """Scores of consecutive frames of one video."""
        if logmel is None:
            raise ValueError("`logmel`: this model listens, got None. Give log-mel patches for each frame.")
        with torch.inference_mode():
            before = self.listener.start(1) if past is None else torch.from_numpy(past)
            heard = self.listener.hear(torch.from_numpy(logmel).to(self.place), before.to(self.place))
            relevance = self._relevance(heard.names)[0]
            asked = self._asked(relevance)
            audible = heard.audible[0]
            maps = [self._maps(p, asked if on else []) for p, on in zip(pictures[0], audible.tolist(), strict=True)]
            shares = torch.from_numpy(np.stack(maps)).to(self.place)
            salience = 1 - shares[:, :1]
            score, fits = match(shares, salience, relevance)
            score = torch.where(fits[:, None, None, None], score, torch.full_like(score, OUT))  # what nobody asked for
            score = torch.where(audible[:, None, None, None], score, torch.full_like(score, OUT))
            size = pictures.shape[2:4]
            logits = torch.nn.functional.interpolate(score, size=size, mode="bilinear", align_corners=False)
            seen = name_places(shares, relevance, fits)
        return Scored(
            logits[None].cpu().numpy(),
            None,
            heard.past.cpu().numpy(),
            heard.names.cpu().numpy(),
            seen[None].cpu().numpy(),
        )

    def _relevance(self, heard: Float[Tensor, "B T 521"]) -> Float[Tensor, "B T C"]:
        """Score each thing by how well it fits the sound, prompts first; if there are prompts, other things don't count."""
        own = self.listener.relevance(heard)
        if not self.prompts:
            return own
        asked = torch.stack([self._prompt(prompt, own, heard) for prompt in self.prompts], -1)
        return torch.cat([asked, torch.zeros_like(own)], -1)

    @staticmethod
    def _prompt(prompt: str, own: Tensor, heard: Tensor) -> Tensor:
        def said(word: str) -> bool:
            return re.search(rf"\b{re.escape(word.lower())}s?\b", prompt.lower()) is not None

        things = [i for i, thing in enumerate(CATEGORIES) if said(phrase(thing)) or said(thing.replace("_", " "))]
        if things:
            return own[..., things].amax(-1)
        sounds = [i for i, name in enumerate(names()) if any(said(part.strip()) for part in name.split(","))]
        if sounds:
            return (heard[..., sounds].amax(-1) / CERTAIN).clamp(max=1)
        return torch.ones_like(own[..., 0])

    def _asked(self, relevance: Float[Tensor, "T C"]) -> list[int]:
        """Indices into `config.things` of the things that are requested."""
        if self.prompts:
            return list(range(len(self.prompts)))
        best = relevance.amax(0)
        order = best.argsort(descending=True).tolist()
        return [i for i in order[:MOST_WORDS] if best[i] >= ASKED]

    def _maps(self, picture: UInt8[np.ndarray, "H W 3"], asked: list[int]) -> Float32[np.ndarray, "C h w"]:
        """The share of each thing, background first, at each place."""
        size = tuple(side // STRIDE for side in picture.shape[:2])
        shares = np.zeros((1 + len(self.config.things), *size), np.float32)
        words = [self.config.things[i] if i < len(self.prompts) else phrase(self.config.things[i]) for i in asked]
        found: list[Found] = self.concepts(picture, words) if asked else []
        for one in found:
            mask = cv2.resize(one.mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
            row = shares[1 + asked[one.word]]
            np.maximum(row, mask * (0.5 + one.score / 2), out=row)
        total = shares[1:].sum(0)
        shares[1:] /= np.maximum(total, 1.0)
        shares[0] = 1 - shares[1:].sum(0)
        return shares
