"""The interface to engines: frames and log-mel patches in, logits out, as NumPy arrays.

Two scorers stand behind this protocol: `onnx_scorer` on ONNX Runtime, which needs nothing else, and `torch_scorer` for every
model of the catalogue, in the extra `torch`. Any other object with these members can be passed to a `Segmenter` as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from sonomask.audio.spectrum import SAMPLE_RATE
from sonomask.request import Precision, Request
from sonomask.structures import ModelConfig, ModelOrigin

__all__ = [
    "Scored",
    "Scorer",
    "StreamScorer",
    "Waveform",
    "as_asked",
    "as_scorer",
    "origin_of",
    "precision_of",
    "prompted",
]


class Waveform(NamedTuple):
    """The sound around some frames, for a scorer that `wants_waveform`.

    Attributes:
        samples: 16 kHz mono.
        start: Seconds at which they begin.
        times: Seconds of the frames.
    """

    samples: Float32[np.ndarray, " S"]
    start: float
    times: tuple[float, ...]

    def around(self, before: float, after: float) -> tuple[Float32[np.ndarray, " S"], float]:
        """The samples from so many seconds before the first frame to so many after the last, and when they begin."""
        first = max(0, round((self.times[0] - before - self.start) * SAMPLE_RATE))
        last = round((self.times[-1] + after - self.start) * SAMPLE_RATE)
        return self.samples[first:last], self.start + first / SAMPLE_RATE


class Scored(NamedTuple):
    """A model's output for some clips.

    Attributes:
        logits: One score per pixel and class, at the size of the pictures.
        attention: The attention map of each frame, 0 to 1; None if it was not asked for, or the model has none.
        past: Past of a recurrent model (`config.recurrent`), what the clip that follows is to be given.
        heard: Score of each of AudioSet's names, 0 to 1; None of a model that knows no names.
        seen: Thing at each pixel, as an index into `config.things`; None for a model that knows no names.
        ids: Number of the thing nearest to each pixel, from 1, the same in all frames, and 0 where nothing is followed;
            None of a model that follows nothing.
    """

    logits: Float32[np.ndarray, "B T K H W"]
    attention: Float32[np.ndarray, "B T _h _w"] | None = None
    past: Float32[np.ndarray, "B _S"] | None = None
    heard: Float32[np.ndarray, "B T names"] | None = None
    seen: UInt8[np.ndarray, "B T _h _w"] | None = None
    ids: Int32[np.ndarray, "B T _h _w"] | None = None


@runtime_checkable
class Scorer(Protocol):
    """A model that is ready to run.

    Attributes:
        config: The model's configuration.
        device: Name of where it runs.
    """

    config: ModelConfig
    device: str

    def __call__(
        self,
        pictures: UInt8[np.ndarray, "B T H W 3"],
        logmel: Float32[np.ndarray, "B T P 96 64"] | None,
        maskige: UInt8[np.ndarray, "B T H W 3"] | None = None,
        *,
        attention: bool = False,
        past: Float32[np.ndarray, "B _S"] | None = None,
    ) -> Scored:
        """Scores of clips.

        Args:
            pictures: RGB, of a size that the model takes.
            logmel: The patches of each frame; None for a model that does not listen.
            maskige: The second picture of each frame, for a model that reads one.
            attention: Whether attention maps are wanted.
            past: Past of a recurrent model, from the clip before; None at the beginning of a video.

        Raises:
            MemoryError: The device has too little memory for so many clips.
        """
        ...

    def to(self, device: str) -> Scorer:
        """The model on another device.

        Raises:
            ValueError: There is no such device here.
        """
        ...


@runtime_checkable
class StreamScorer(Scorer, Protocol):
    """A model with a streaming form."""

    def start(self) -> Any:
        """The empty past of a stream."""
        ...

    def step(
        self,
        picture: UInt8[np.ndarray, "H W 3"],
        logmel: Float32[np.ndarray, "P 96 64"] | None,
        past: Any,
        time: float,
    ) -> tuple[Scored, Any]:
        """Scores of a stream's next frame, a clip of one, and the past for the step after it.

        Args:
            picture: RGB, of the model's size.
            logmel: Its patches.
            past: Past from `start`, or from the step before.
            time: Seconds, later than the step before.
        """
        ...


def origin_of(scorer: Scorer) -> ModelOrigin:
    """The origin of a scorer's model, as noted by `load_fast`, or the network's name if it was passed in."""
    noted: ModelOrigin | None = getattr(scorer, "origin", None)
    return noted or ModelOrigin(scorer.config.name)


def as_scorer(model: Any, device: str = "auto") -> Scorer:
    """A scorer on that device: the one given, or one around a network of torch.

    Raises:
        ValueError: There is no such device here.
    """
    if isinstance(model, Scorer):
        return model.to(device)
    from sonomask.inference.torch_scorer import TorchScorer

    return TorchScorer(model, device)


def as_asked(model: Any, request: Request) -> Scorer:
    """A scorer on the device, in the precision and with the prompts of a request.

    Raises:
        ValueError: There is no such device here, the engine has no such precision, or the model takes no prompts.
    """
    scorer: Any = prompted(as_scorer(model, request.device), request.prompt)
    if hasattr(scorer, "asked"):
        found: Scorer = scorer.asked(request.precision, cuda_graphs=request.cuda_graphs)
        return found
    if request.cuda_graphs or (request.precision in ("bf16", "int8") and precision_of(scorer) != request.precision):
        name = "cuda_graphs" if request.cuda_graphs else "precision"
        raise ValueError(f"`{name}`: the engine of the model {scorer.config.name} does not have it. Leave it out.")
    return cast("Scorer", scorer)


def prompted(scorer: Scorer, prompts: Sequence[str]) -> Scorer:
    """A scorer that marks what prompts mean; itself where there are none, or it has these.

    Raises:
        ValueError: It takes none.
    """
    if not prompts or getattr(scorer, "prompts", ()) == tuple(prompts):
        return scorer
    if not hasattr(scorer, "prompted"):
        raise ValueError(
            f"`prompt`: the model {scorer.config.name} takes no free words. Take the model open, or --only with a name that "
            "the model knows."
        )
    return cast("Scorer", scorer.prompted(prompts))


def precision_of(scorer: Scorer) -> Precision:
    """The number format in which a scorer computes."""
    found: Precision = getattr(scorer, "precision", "float32")
    return found
