"""The model `open`: what is heard chooses the words, networks for free words find the things, and the match of both is marked.

    sound → built-in tagger → names now and so far → which things could make them → words ─┐
    picture ──────────────────────────────────────────────────── Concepts(words) → masks ─┴→ match → logits

`open-tracked` follows things through windows (`Tracks`) in place of looking for them in each picture by itself; of those with
one word the ones that don't fit the sound are left out (`choosing`).

The listening part and the match are those of the built-in model (`sonomask.models.nets.world`); the seeing part is anything
behind `Concepts`. A prompt takes the place of the chosen words: what it means is marked while it is heard, by the sounds of the
thing or by the name of a sound in it; where neither is known, while anything is audible.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, UInt8
from torch import Tensor

from sonomask.audio.audioset import names
from sonomask.audio.categories import CATEGORIES
from sonomask.checkpoints.folder import load
from sonomask.inference.choosing import Choice, onsets
from sonomask.inference.concepts import WINDOW, Carried, Concepts, Ears, Fitting, Tracked, Tracks, phrase
from sonomask.inference.scorer import Scored, Waveform
from sonomask.inference.torch_scorer import choose_device
from sonomask.models.nets.world import CERTAIN, OUT, match, name_places
from sonomask.structures import ModelOrigin

__all__ = ["DEFAULT_OPEN", "DEFAULT_TRACKED", "TRACKED", "OpenScorer", "load_open"]

TRACKED = "open-tracked"
DEFAULT_TRACKED = ("IDEA-Research/grounding-dino-tiny", "facebook/sam2.1-hiera-tiny")
"""The same two: SAM 2's file serves pictures and videos."""

DEFAULT_OPEN = ("IDEA-Research/grounding-dino-tiny", "facebook/sam2.1-hiera-tiny")
"""Free licences (Apache-2.0) and no gate."""
LISTENER = "world.real"
SIDE = 640  # pixels of a picture's longer side
STRIDE = 4  # of the maps that are matched
ASKED = 0.1  # relevance from which on a thing's word is asked for
MOST_WORDS = 6
NEAR = 0.48  # seconds before and after a picture in which a word is heard: those of a patch
STEP = 0.04  # seconds between what `Ears` tell
SECONDS = (
    3  # of a window in which things are followed: enough for SAM 3 to take back at 5 pictures a second what it misfound
)


def load_open(source: str = "open", device: str = "auto") -> OpenScorer:
    """The model `open`, or `open:NAME` and `open:BOXES,MASKS` with networks of one's own choice; `open-tracked` likewise.

    A PE-A-Frame among the names hears the words in place of the built-in tagger; a PE-AV chooses between things that are alike.

    Raises:
        WeightsError: A network can't be read.
        ValueError: There is no such device, or nothing is followed that PE-AV could choose between.
        MissingExtraError: transformers is not installed.
    """
    from sonomask.inference.hub_concepts import load_concepts, load_tracks
    from sonomask.inference.hub_listeners import load_listeners

    kind, _, names_given = source.partition(":")
    given = [name.strip() for name in names_given.split(",") if name.strip()]
    given, ears, fitting = load_listeners(given, device)
    if kind == TRACKED:
        return OpenScorer(load_tracks(given or DEFAULT_TRACKED, device), device=device, ears=ears, fitting=fitting)
    if fitting is not None:
        raise ValueError("`model`: PE-AV chooses between things that are followed. Take open-tracked in place of open.")
    return OpenScorer(load_concepts(given or DEFAULT_OPEN, device), device=device, ears=ears)


class OpenScorer:
    """A scorer (`sonomask.inference.scorer`) around a finder of things by words.

    Args:
        concepts: Finds things in single pictures, or follows them.
        prompts: Words that are asked for in place of those that what is heard suggests.
        device: Device of the listening part.
        listener: The built-in model that listens; loaded if None.
        ears: Network that hears the words in place of the built-in model, which then tells the names of sounds only.
        fitting: Network that tells what of several things of one word fits the sound, where things are followed; their motion
            tells it without.
    """

    def __init__(
        self,
        concepts: Concepts | Tracks,
        prompts: Sequence[str] = (),
        device: str = "auto",
        listener: Any = None,
        *,
        ears: Ears | None = None,
        fitting: Fitting | None = None,
    ) -> None:
        self.concepts: Any = concepts
        self.prompts, self.follows = tuple(prompts), hasattr(concepts, "follow")
        self.ears, self.fitting = ears, fitting
        self.wants_waveform = ears is not None or fitting is not None
        networks = [concepts.name, *(one.name for one in (ears, fitting) if one is not None)]
        self.place = choose_device(device)
        self.device = str(self.place)
        self.listener: Any = (load(LISTENER) if listener is None else listener).to(self.place).eval()
        self.config = replace(
            self.listener.config, name=TRACKED if self.follows else "open", options={}, image_size=(SIDE, SIDE),
            things=(*self.prompts, *CATEGORIES), clip_length=SECONDS if self.follows else 1,
            presence=None, about=f"words by what is heard, things by {' and '.join(networks)}",
        )  # fmt: skip
        self.origin = ModelOrigin(f"{self.config.name} ({' and '.join(networks)})")
        self.width = cast("Any", self.listener).start(1).shape[1]  # of its past; then comes what `Tracks` handed on
        if self.follows:
            self.together = WINDOW

    def to(self, device: str) -> OpenScorer:
        """The model on another device.

        Raises:
            ValueError: There is no such device here.
        """
        ears, fitting = (None if one is None else one.to(device) for one in (self.ears, self.fitting))
        return OpenScorer(
            self.concepts.to(device), self.prompts, device, self.listener, ears=cast("Ears | None", ears),
            fitting=cast("Fitting | None", fitting),
        )  # fmt: skip

    def prompted(self, prompts: Sequence[str]) -> OpenScorer:
        """The model with prompts in place of the words that it would choose."""
        return OpenScorer(self.concepts, prompts, self.device, self.listener, ears=self.ears, fitting=self.fitting)

    def __call__(
        self,
        pictures: UInt8[np.ndarray, "B T H W 3"],
        logmel: Float32[np.ndarray, "B T P 96 64"] | None,
        maskige: UInt8[np.ndarray, "B T H W 3"] | None = None,  # noqa: ARG002 - one interface for all scorers
        *,
        attention: bool = False,  # noqa: ARG002 - the same
        past: Float32[np.ndarray, "B _S"] | None = None,
        waveform: Waveform | None = None,
    ) -> Scored:
        """Scores of consecutive frames of one video."""
        if logmel is None:
            raise ValueError("`logmel`: this model listens, got None. Give log-mel patches for each frame.")
        if self.wants_waveform and waveform is None:
            raise ValueError(
                "`waveform`: this model listens to the samples, got None. Give the sound around the frames."
            )
        with torch.inference_mode():
            before = self.listener.start(1) if past is None else torch.from_numpy(past[:, : self.width].copy())
            heard = self.listener.hear(torch.from_numpy(logmel).to(self.place), before.to(self.place))
            relevance = self._relevance(heard.names)[0] if self.ears is None else self._heard(waveform)
            asked = self._asked(relevance)
            audible = heard.audible[0]
            ids, handed = None, np.zeros(0, np.float32)
            if self.follows:
                known = np.zeros(0, np.float32) if past is None else past[0, self.width :]
                choice, known = Choice.unpacked(known)
                before = _unpacked(known, self._words(range(len(self.config.things))))
                frames, handed = self._followed(pictures[0], asked, before, known)
                around = None if waveform is None else waveform.around(NEAR, NEAR)[0]
                choice.gather(pictures[0], frames, onsets(logmel[0, :, 0]), before, self.fitting, around)
                maps, ids = self._drawn(
                    pictures.shape[2:4], frames, asked, relevance.cpu().numpy(), choice.silent(frames)
                )
                handed = np.concatenate([choice.packed(), handed])
            else:
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
            np.concatenate([heard.past.cpu().numpy(), handed[None]], 1),
            heard.names.cpu().numpy(),
            seen[None].cpu().numpy(),
            None if ids is None else ids[None],
        )

    def start(self) -> Float32[np.ndarray, "1 _S"]:
        """The empty past of a stream."""
        started: Float32[np.ndarray, "1 _S"] = self.listener.start(1).numpy()
        return started

    def step(
        self,
        picture: UInt8[np.ndarray, "H W 3"],
        logmel: Float32[np.ndarray, "P 96 64"] | None,
        past: Float32[np.ndarray, "1 _S"],
        time: float,
        waveform: Waveform | None = None,
    ) -> tuple[Scored, Float32[np.ndarray, "1 _S"]]:
        """Scores of a stream's next frame, and the past for the step after it."""
        del time
        patches = None if logmel is None else logmel[None, None]
        scored = self(picture[None, None], patches, past=past, waveform=waveform)
        assert scored.past is not None  # noqa: S101 - it always has one
        return scored, scored.past

    def faded(self, past: Float32[np.ndarray, "1 _S"], share: float) -> Float32[np.ndarray, "1 _S"]:
        """The past in which what was heard counts less; what is followed stays."""
        return np.concatenate([past[:, : self.width] * np.float32(share), past[:, self.width :]], 1)

    def _relevance(self, heard: Float[Tensor, "B T 521"]) -> Float[Tensor, "B T C"]:
        """Score each thing by how well it fits the sound, prompts first; if there are prompts, other things don't count."""
        own = self.listener.relevance(heard)
        if not self.prompts:
            return own
        asked = torch.stack([self._prompt(prompt, own, heard) for prompt in self.prompts], -1)
        return torch.cat([asked, torch.zeros_like(own)], -1)

    def _heard(self, waveform: Waveform | None) -> Float[Tensor, "T C"]:
        """The same by a network that hears the words themselves, from `NEAR` seconds before to after each frame."""
        assert self.ears is not None  # noqa: S101
        assert waveform is not None  # noqa: S101 - it was asked for
        words = self.prompts or tuple(map(phrase, CATEGORIES))
        sound, start = waveform.around(1.0, 1.0)
        surely = self.ears(sound, words)
        rows = []
        for time in waveform.times:
            first, last = (round((time - start + side) / STEP) for side in (-NEAR, NEAR))
            now = surely[:, max(0, min(first, surely.shape[1] - 1)) : max(last, first + 1)]
            rows.append(now.max(1))
        found = torch.from_numpy(np.stack(rows)).to(self.place)
        others = found.new_zeros(len(found), len(self.config.things) - len(words))
        return torch.cat([found, others], 1)

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
        found = self.concepts(picture, self._words(asked)) if asked else []
        return self._shares(picture.shape[:2], ((asked[one.word], one.score, one.mask) for one in found))

    def _followed(
        self,
        pictures: UInt8[np.ndarray, "T H W 3"],
        asked: list[int],
        before: Carried | None,
        handed: Float32[np.ndarray, " _S"],
    ) -> tuple[list[list[Tracked]], Float32[np.ndarray, " _P"]]:
        """What is followed in each picture, and what the next call needs to go on."""
        if not asked:  # in silence nothing is looked for; what was followed is taken up where it was left
            return [[] for _ in pictures], handed
        frames, carried = self.concepts.follow(pictures, self._words(asked), before)
        return frames, _packed(carried, self._words(range(len(self.config.things))))

    def _drawn(
        self,
        size: Sequence[int],
        frames: Sequence[Sequence[Tracked]],
        asked: list[int],
        relevance: Float32[np.ndarray, "T C"],
        silent: Collection[int],
    ) -> tuple[list[Float32[np.ndarray, "C h w"]], Int32[np.ndarray, "T h w"]]:
        """The shares and ids of each picture by what is followed and may sound."""
        words = self._words(asked)
        maps, ids = [], []
        for things, fit in zip(frames, relevance, strict=True):
            rows = [(one.id + 1, asked[words.index(one.word)], one) for one in things if one.id not in silent]
            maps.append(self._shares(size, ((thing, one.score, one.mask) for _, thing, one in rows)))
            ids.append(_nearest([(number, one.mask, fit[thing] * one.score) for number, thing, one in rows], size))
        return maps, np.stack(ids)

    def _words(self, asked: Iterable[int]) -> list[str]:
        """The words for things that a network with free words is given."""
        things = self.config.things
        return [things[i] if i < len(self.prompts) else phrase(things[i]) for i in asked]

    def _shares(
        self, picture: Sequence[int], found: Iterable[tuple[int, float, np.ndarray]]
    ) -> Float32[np.ndarray, "C h w"]:
        """The share of each thing, background first, of (thing, score, mask) at a picture's height and width."""
        size = tuple(side // STRIDE for side in picture)
        shares = np.zeros((1 + len(self.config.things), *size), np.float32)
        for thing, score, whole in found:
            mask = cv2.resize(whole.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
            row = shares[1 + thing]
            np.maximum(row, mask * (0.5 + score / 2), out=row)
        total = shares[1:].sum(0)
        shares[1:] /= np.maximum(total, 1.0)
        shares[0] = 1 - shares[1:].sum(0)
        return shares


def _nearest(things: Sequence[tuple[int, np.ndarray, float]], size: Sequence[int]) -> Int32[np.ndarray, "h w"]:
    """For each place the id of the thing there, or nearest to it, of (id, mask, weight); the greatest weight is in front."""
    ids = np.zeros([side // STRIDE for side in size], np.int32)
    for number, mask, _ in sorted(things, key=lambda thing: thing[2]):
        ids[cv2.resize(mask.view(np.uint8), ids.shape[::-1], interpolation=cv2.INTER_AREA) > 0] = number
    if not ids.any():
        return ids
    _, labels = cv2.distanceTransformWithLabels(
        (ids == 0).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of = np.zeros(labels.max() + 1, np.int32)
    of[labels[ids > 0]] = ids[ids > 0]
    return of[labels]


def _packed(carried: Carried, words: Sequence[str]) -> Float32[np.ndarray, " _P"]:
    """What is handed on as plain numbers, since a model's past travels so and may lie on a disk in between."""
    picture = carried.picture
    assert picture is not None  # noqa: S101 - there was a last picture
    rows = [value for one in carried.things for value in (one.id, words.index(one.word), one.score)]
    masks = np.stack([np.zeros(picture.shape[:2], bool), *(one.mask for one in carried.things)])
    head = [*picture.shape[:2], len(carried.things), carried.next_id, *rows]
    return np.concatenate([np.array(head, np.float32), picture.ravel(), np.packbits(masks)]).astype(np.float32)


def _unpacked(handed: Float32[np.ndarray, " _P"], words: Sequence[str]) -> Carried | None:
    if not len(handed):
        return None
    height, width, count, next_id = (int(value) for value in handed[:4])
    rows, rest = handed[4 : 4 + 3 * count].reshape(count, 3), handed[4 + 3 * count :].astype(np.uint8)
    picture = rest[: height * width * 3].reshape(height, width, 3)
    masks = np.unpackbits(rest[height * width * 3 :], count=(count + 1) * height * width).astype(bool)
    things = zip(rows, masks.reshape(count + 1, height, width)[1:], strict=True)
    found = (Tracked(int(one), words[int(word)], float(score), mask) for (one, word, score), mask in things)
    return Carried(picture, tuple(found), next_id)
