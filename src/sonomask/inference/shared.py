"""Share one model among several streams: pictures that wait while it works form the next batch."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from sonomask.inference.scorer import Scored, StreamScorer, precision_of
from sonomask.threads import WorkerThread

__all__ = ["SharedScorer"]

# Pictures scored together; on a CPU one, since a batch of four costs it an eighth more than four single pictures.
MOST = 8
Waiting = tuple[tuple[Any, Any, Any, float], Future[Any]]  # what `step` was asked, and its answer to be


class SharedScorer:
    """A `StreamScorer` that several threads may use at once; use it in a `with` block.

    Pictures are taken in the order in which they come, so a stream waits for one picture of each other at most. A recurrent
    model, and one that sees each frame alone, score pictures of one size that wait together; another steps one after the other.

    Args:
        scorer: The model.
        most: Pictures scored together at most; `MOST` of them unless given, one on a CPU.

    Raises:
        ValueError: The model wants the samples of the sound, which are not handed through.
    """

    def __init__(self, scorer: StreamScorer, most: int | None = None) -> None:
        if getattr(scorer, "wants_waveform", False):
            raise ValueError(
                "`model`: PE-A-Frame and PE-AV hear one stream at a time. Give one source, or leave them out."
            )
        self.scorer = scorer
        self.most = most or (1 if scorer.device == "cpu" or hasattr(scorer, "faded") else MOST)
        self.config, self.device = scorer.config, scorer.device
        self.prompts, self.precision = getattr(scorer, "prompts", ()), precision_of(scorer)
        self.batches: dict[int, int] = {}  # how many of each size were made
        self.worker: WorkerThread[Waiting] = WorkerThread(self._work, name="shared model", together=self._batch)

    def __enter__(self) -> SharedScorer:
        self.worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.worker.close()

    def __call__(self, *args: Any, **kwargs: Any) -> Scored:
        """Scores of clips, by the model itself."""
        return self.scorer(*args, **kwargs)

    def to(self, device: str) -> SharedScorer:
        """Itself: where the model is was said before.

        Raises:
            ValueError: It is elsewhere.
        """
        if device not in ("auto", self.device):
            raise ValueError(f"`device`: the shared model is on {self.device}, got {device!r}.")
        return self

    def start(self) -> Any:
        """The empty past of a stream."""
        past = self.scorer.start()
        return np.asarray(past, np.float32) if self.config.recurrent else past

    def faded(self, past: Any, share: float) -> Any:
        """A stream's past in which what was heard counts less."""
        return self.scorer.faded(past, share) if hasattr(self.scorer, "faded") else past * share

    def step(
        self,
        picture: UInt8[np.ndarray, "H W 3"],
        logmel: Float32[np.ndarray, "P 96 64"] | None,
        past: Any,
        time: float,
    ) -> tuple[Scored, Any]:
        """Like `StreamScorer.step`; waits until the model has processed the step.

        Raises:
            RuntimeError: The block is over.
        """
        mine: Future[tuple[Scored, Any]] = Future()
        self.worker.put(((picture, logmel, past, time), mine))
        return mine.result()

    def _work(self, batch: list[Waiting]) -> None:
        self.batches[len(batch)] = self.batches.get(len(batch), 0) + 1
        try:
            results = self._scored([asked for asked, _ in batch])
        except BaseException as error:  # each who waits must hear of it
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

    def _batch(self, waiting: deque[Waiting]) -> list[Waiting]:
        """The one that waits longest, and those that can go with it."""
        (picture, _, past, _), _ = waiting[0]
        most = self.most if self._any_order(past) else 1
        together: list[Waiting] = []
        for _ in range(len(waiting)):  # once around, so that the others stay in order
            entry = waiting.popleft()
            fits = entry[0][0].shape == picture.shape and len(together) < most
            (together if fits else waiting).append(entry)
        return together

    def _scored(self, asked: list[tuple[Any, Any, Any, float]]) -> list[tuple[Scored, Any]]:
        if not self._any_order(asked[0][2]):
            return [self.scorer.step(*one) for one in asked]
        pictures, logmel, pasts, _ = zip(*asked, strict=True)
        scored = self.scorer(
            np.stack(pictures)[:, None],
            None if logmel[0] is None else np.stack(logmel)[:, None],
            past=None if pasts[0] is None else np.concatenate(pasts),
        )
        parts: list[Any] = [
            scored._replace(**{k: v[i : i + 1] for k, v in scored._asdict().items() if v is not None})
            for i in range(len(asked))
        ]
        return [(part, part.past) for part in parts]

    def _any_order(self, past: Any) -> bool:
        """Whether a step is a clip of one frame, so that several can form a batch."""
        return self.config.recurrent or past is None
