"""From a model's maps to masks at the size of the video."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from sonomask.inference.naming import allowed, names_of
from sonomask.inference.presence import likelihood, named_evidence, presence
from sonomask.inference.scorer import Scored
from sonomask.media.motion import grey
from sonomask.request import Request
from sonomask.structures import Masks, ModelConfig

__all__ = ["Maps", "finish", "reduce"]

SMALL = 96  # pixels of the longer side of `Masks.colours`


class Maps(NamedTuple):
    """Values that are kept of a frame until its mask is made.

    Attributes:
        scores: Logits of a mask; of a semantic model log-probabilities of the classes below.
        classes: The background and each class that is the best somewhere; None for a mask.
        attention: The frame's attention map, if it was asked for and there is one.
        heard: Score of each of AudioSet's names; None of a model that knows no names.
        seen: Thing at each pixel, as an index into `config.things`; None for a model that knows no names.
        ids: Number of the thing nearest to each pixel (`Scored.ids`); None of a model that follows nothing.
    """

    scores: Float32[np.ndarray, "k H W"]
    classes: UInt8[np.ndarray, " k"] | None = None
    attention: Float32[np.ndarray, "_h _w"] | None = None
    heard: Float32[np.ndarray, " names"] | None = None
    seen: UInt8[np.ndarray, "_h _w"] | None = None
    ids: Int32[np.ndarray, "_h _w"] | None = None


def reduce(scored: Scored, clip: int = 0, frame: int = 0) -> Maps:
    """The values that a frame's mask depends on, small enough to keep hundreds of frames with 71 classes in memory."""
    logits = scored.logits[clip, frame]
    attention, heard, seen, ids = (
        None if x is None else x[clip, frame] for x in (scored.attention, scored.heard, scored.seen, scored.ids)
    )
    if len(logits) == 1:
        return Maps(logits, None, attention, heard, seen, ids)
    found = np.unique(logits.argmax(0))
    classes = np.concatenate([[0], found[found > 0]])
    top = logits.max(0)
    scores = logits[classes] - (top + np.log(np.exp(logits - top).sum(0)))
    return Maps(scores, classes.astype(np.uint8), attention)


def finish(
    time: float,
    maps: Maps,
    size: tuple[int, int],
    config: ModelConfig,
    request: Request,
    image: UInt8[np.ndarray, "height width 3"] | None = None,
) -> Masks:
    """The masks of one frame.

    Logits are interpolated, not probabilities: those are nearly 0 or 1, so that an edge between them would sit on the
    model's coarse pixels, while logits show where between two pixels it is.

    Args:
        time: Time of the frame, in seconds.
        maps: Maps of the frame.
        size: Height and width of the masks.
        config: Config of the model.
        request: Request for the masks.
        image: The frame at the model's size, RGB, from which `pictures` and `colours` come.
    """
    pictures, colours = (None, None) if image is None else (grey(image)[None], small(image)[None])
    attention = None if maps.attention is None else maps.attention[None]
    given = request.threshold
    grown = [cv2.resize(each, size[::-1], interpolation=cv2.INTER_LINEAR) for each in maps.scores]
    full = grown[0][None] if len(grown) == 1 else np.stack(grown)
    if maps.classes is None:
        probability, names, score = _sigmoid(full), None, None
        threshold = config.threshold if given is None else given
        if maps.heard is not None and maps.seen is not None:
            seen = cv2.resize(maps.seen, size[::-1], interpolation=cv2.INTER_NEAREST)
            names = names_of(maps.heard, seen, config.things)
            if request.only or request.without:
                probability *= allowed(names, request.only, request.without)
        if config.presence is not None and names is not None:
            score = float(likelihood(named_evidence(names, full[0] > 0), config.presence))
        elif config.presence is not None:
            score = float(presence(maps.scores, config.presence)[0])
        if score is not None and score < request.min_presence:
            probability = np.zeros_like(probability)
        scores = None if score is None else (score,)
        told = None if names is None else (names,)
        ids = None if maps.ids is None else cv2.resize(maps.ids, size[::-1], interpolation=cv2.INTER_NEAREST)[None]
        return Masks((time,), probability, threshold, None, scores, attention, told, pictures, colours, ids)
    probability = 1 - np.exp(full[:1])
    labels = maps.classes[full.argmax(0)][None]
    if given is not None:
        labels = labels * (probability > given)
    return Masks(
        (time,), probability, 0.5 if given is None else given, labels, None, attention, None, pictures, colours
    )


def small(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """A picture with a longer side of `SMALL` pixels at most."""
    scale = min(1.0, SMALL / max(image.shape[:2]))
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    reduced: UInt8[np.ndarray, "h w 3"] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return reduced


def _sigmoid(logits: Float32[np.ndarray, "1 H W"]) -> Float32[np.ndarray, "1 H W"]:
    with np.errstate(over="ignore"):  # e^-x of a logit far below 0 is infinite, and its probability 0
        inverse = np.exp(-logits)
        inverse += 1
        return np.reciprocal(inverse, out=inverse)
