"""A model that takes free words on a data set of sentences about videos."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import torch

from sonomask.inference.segmenter import Segmenter
from sonomask.media.arrays import from_arrays
from sonomask.metrics.referring import ReferringScore

__all__ = ["Sentence", "refer"]


@runtime_checkable
class Sentence(Protocol):
    """A sentence about a video of one picture a second."""

    @property
    def text(self) -> str:
        """The sentence."""
        ...

    def pictures(self) -> list[np.ndarray]:
        """The video's pictures."""
        ...

    def waveform(self) -> np.ndarray:
        """Its sound, 16 kHz mono."""
        ...

    def truth(self) -> np.ndarray:
        """The masks of the thing that a sentence refers to."""
        ...


def refer(scorer: Any, sentences: Iterable[Sentence], batch: int = 4, device: str = "auto") -> dict[str, float]:
    """The figures of a model.

    Args:
        scorer: Scorer from `load_fast`; one that takes prompts is asked for each sentence, another marks what sounds.
        sentences: Sentences with their videos.
        batch: Clips that are averaged together.
        device: Device that it runs on.
    """
    score = ReferringScore(batch)
    for sentence in sentences:
        prompt = (sentence.text,) if hasattr(scorer, "prompted") else ()
        segmenter = Segmenter(scorer, rate=1.0, prompt=prompt, device=device, min_area=0.0)
        truth, pictures = sentence.truth(), sentence.pictures()
        found = np.zeros(truth.shape, np.float32)
        with from_arrays(pictures, 1.0, sentence.waveform()) as reader:
            for masks in segmenter(reader):
                second = min(int(masks.times[0]), len(found) - 1)
                found[second] = cv2.resize(masks.probability[0], truth.shape[:0:-1], interpolation=cv2.INTER_LINEAR)
        score.update(torch.from_numpy(found), torch.from_numpy(truth))
    return score.compute()
