"""CUDA graphs: what a network launches is recorded once for each shape of its inputs, and replayed as one launch.

A clip of five frames is some two thousand launches of a few microseconds each; a fast card waits for them (`docs/results.md`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Recording", "Replay", "record_on_cuda"]

MOST = 8  # shapes that are held; each holds the memory of a call
WARM_UP = 3  # calls before the recording, in which libraries choose their kernels

logger = logging.getLogger(__name__)


class Recording(NamedTuple):
    """A call that can be run again.

    Attributes:
        inputs: Tensors that it reads, which are written before each run.
        output: Output tensors, overwritten by each run.
        run: Runs it.
    """

    inputs: Mapping[str, Tensor]
    output: Any
    run: Callable[[], object]


def record_on_cuda(model: Callable[..., Any], inputs: Mapping[str, Tensor]) -> Recording:
    """Record a call as a CUDA graph.

    Raises:
        RuntimeError: The network does what no graph can hold, such as reading a value back.
    """
    static = {name: value.clone() for name, value in inputs.items()}
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)  # what is cached before the recording is freed after it
    torch.clear_autocast_cache()
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                model(**static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = model(**static)
    finally:
        torch.set_autocast_cache_enabled(cached)
    return Recording(static, output, graph.replay)


class Replay:
    """A network in eval mode that is recorded at the first call with inputs of new shapes, and replayed from then on.

    The output is overwritten by the next call. A network that can't be recorded is called directly, with a warning.

    Args:
        model: Function of keywords that is replayed.
        record: Makes the recording.
    """

    def __init__(self, model: Callable[..., Any], record: Callable[..., Recording] = record_on_cuda) -> None:
        self.model, self.record = model, record
        self.held: dict[Any, Recording] = {}
        self.able = True

    def __call__(self, **inputs: Tensor | None) -> Any:
        """The network's output."""
        given = {name: value for name, value in inputs.items() if value is not None}
        key = tuple((name, value.shape, value.dtype) for name, value in given.items())
        if not self.able or (key not in self.held and len(self.held) == MOST):
            return self.model(**inputs)
        if key not in self.held:
            absent = {name: None for name, value in inputs.items() if value is None}
            try:
                self.held[key] = self.record(lambda **values: self.model(**values, **absent), given)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self.able = False
                reason = str(error).splitlines()[0][:200]
                logger.warning("`cuda_graphs`: the model can't be recorded (%s); it goes on without.", reason)
                return self.model(**inputs)
        recording = self.held[key]
        for name, value in given.items():
            recording.inputs[name].copy_(value)
        recording.run()
        return recording.output
