"""A Ray cluster: decoding on CPUs, the model in actors on GPUs (or CPUs), finishing on CPUs, bounded queues between.

    jobs ─▶ decode (tasks, each with a guarded process) ─▶ score (actors that hold the model) ─▶ finish (tasks) ─▶ collector

Ray Data holds back a stage whose outputs are not taken, and does again what a lost node had. Only run lengths come to the
collector, which alone writes.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from sonomask.batch.guard import Child
from sonomask.batch.job import Job, Options, Piece
from sonomask.batch.local import guarded
from sonomask.batch.stages import Finisher, Scorer, start_decoder
from sonomask.errors import MissingExtraError
from sonomask.structures import ModelConfig

try:
    import ray
    from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
except ImportError as error:
    raise MissingExtraError("A corpus on Ray", "batch") from error

__all__ = ["run_ray"]

JOBS = 8  # videos a decoding task, the most that are decoded again where one is lost; more where there are very many
TASKS = 20_000
BLOCK = 32 << 20  # bytes of pieces that go from stage to stage at once
FINISH_CPUS = 0.25  # of a processor, against decoding's one


def run_ray(
    jobs: Sequence[Job], options: Options, model: nn.Module, *, workers: int = 0, models: int = 0
) -> Iterator[Piece]:
    """Pieces of all jobs, in the order in which they come.

    The cluster is that of `RAY_ADDRESS`, or one that is started here.

    Args:
        jobs: What to do; files must be reachable from every node.
        options: What is asked.
        model: Is sent to the actors.
        workers: Decoding tasks at once; 0 for as many as there are processors.
        models: Actors; 0 for one on each GPU, or on every second processor.

    Raises:
        ValueError: The cluster has too little for one of each stage.
    """
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    cluster: Any = ray
    have = cluster.cluster_resources()
    cuda = options.device.startswith("cuda") or (options.device == "auto" and have.get("GPU", 0) >= 1)
    models = models or int(have.get("GPU", 0) if cuda else have.get("CPU", 0) // 2)
    if models < 1 or have.get("CPU", 0) < 2 or (cuda and have.get("GPU", 0) < models):
        raise ValueError(
            f"The cluster has {have.get('CPU', 0):g} processors and {have.get('GPU', 0):g} GPUs: expected two processors, and "
            "a GPU for each of --models where the device is cuda."
        )
    _context()
    config: Any = model.config
    rows = [{"job": pickle.dumps(job)} for job in jobs]
    data: Any = cluster.data.from_items(rows, override_num_blocks=max(1, min(TASKS, -(-len(rows) // JOBS))))
    place = {"num_gpus": 1, "num_cpus": 0} if cuda else {"num_cpus": 1}
    stages = (
        data.map_batches(
            _decode, fn_kwargs={"options": options, "config": config}, batch_size=1, num_cpus=1,
            compute=TaskPoolStrategy(workers or None),
        )
        .map_batches(
            _Scoring, fn_constructor_args=(options, ray.put(model.cpu()), "cuda" if cuda else "cpu"), batch_size=1,
            compute=ActorPoolStrategy(size=models), **place,
        )
        .map_batches(
            _finish, fn_kwargs={"options": options, "config": config}, batch_size=1, num_cpus=FINISH_CPUS,
        )
    )  # fmt: skip
    for batch in stages.iter_batches(batch_size=None, prefetch_batches=2, batch_format="pyarrow"):
        for packed in batch["piece"]:
            yield _unpack(packed.as_py())


def _context() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK
    context.execution_options.preserve_order = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)


def _pack(piece: Piece) -> dict[str, list[bytes]]:
    return {"piece": [pickle.dumps(piece, protocol=pickle.HIGHEST_PROTOCOL)]}


def _unpack(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 - between our own processes, as all that Ray sends


_children: dict[Any, Child] = {}  # of this worker process; at most one


def _decode(batch: Any, options: Options, config: ModelConfig) -> Iterator[dict[str, list[bytes]]]:
    key = (options, config.name, config.image_size)
    if key not in _children:
        while _children:
            _children.popitem()[1].close()
        _children[key] = Child(start_decoder, options, config)
    for packed in batch["job"]:
        for piece in guarded(_children[key], _unpack(packed), options.timeout):
            yield _pack(piece)


class _Scoring:
    """An actor with the model."""

    def __init__(self, options: Options, model: Any, device: str) -> None:
        self.score = Scorer(options, ray.get(model) if isinstance(model, ray.ObjectRef) else model, device)

    def __call__(self, batch: Any) -> dict[str, list[bytes]]:
        """Scores of a piece."""
        return _pack(self.score(_unpack(batch["piece"][0])))


_finishers: dict[Any, Finisher] = {}


def _finish(batch: Any, options: Options, config: ModelConfig) -> dict[str, list[bytes]]:
    torch.set_num_threads(1)
    key = (options, config.name, config.image_size)
    if key not in _finishers:
        _finishers[key] = Finisher(options, config)
    return _pack(_finishers[key](_unpack(batch["piece"][0])))
