"""A Ray cluster: decoding on CPUs, the model in actors on GPUs (or CPUs), finishing on CPUs, bounded queues between.

    jobs ─▶ decode (tasks, each with a guarded process) ─▶ score (actors that hold the model) ─▶ finish (tasks) ─▶ collector

Ray Data holds back a stage whose outputs are not taken, and does again what a lost node had. Only run lengths come to the
collector, which alone writes. Each stage requests a different share of a processor, since Ray Data would run two stages with
equal requests in one process, the decoder in the model's. There is always room for one of each stage, so that no stage waits
for ever for the next.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sonomask.batch.guard import Child
from sonomask.batch.job import Options, Piece, VideoJob
from sonomask.batch.local import guarded
from sonomask.batch.stages import FinishStage, ScoreStage, start_decoder
from sonomask.errors import MissingExtraError
from sonomask.inference.scorer import Scorer
from sonomask.structures import ModelConfig

try:
    import ray
    from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
except ImportError as error:
    raise MissingExtraError("A corpus on Ray", "batch") from error

__all__ = ["run_ray"]

JOBS = 8  # videos a decoding task, the most that are decoded again where one is lost; more where there are very many
TASKS, EACH = 20_000, 4  # tasks at most, and tasks for each decoder at least if there are so many videos
BLOCK = 32 << 20  # bytes of pieces that go from stage to stage at once
DECODE, SCORE, FINISH = 1.0, 0.5, 0.25  # processors that a decoder, a model that has no GPU, and a finisher ask for


def run_ray(
    jobs: Sequence[VideoJob], options: Options, scorer: Scorer, *, workers: int = 0, models: int = 0
) -> Iterator[Piece]:
    """Pieces of all jobs, in the order in which they come.

    The cluster is that of `RAY_ADDRESS`, or one that is started here, on loopback.

    Args:
        jobs: Videos to process; files must be reachable from every node.
        options: Request for the masks.
        scorer: The model, which is sent to the actors.
        workers: Decoding tasks at once; 0 for as many as there are processors.
        models: Actors; 0 for one on each GPU, or on every second processor.

    Raises:
        ValueError: The cluster has too little for one of each stage.
    """
    _connect()
    cluster: Any = ray
    cuda, models, workers = _shares(cluster.cluster_resources(), options.request.device, models, workers)
    _context()
    config = scorer.config
    rows = [{"job": pickle.dumps(job)} for job in jobs]
    tasks = min(TASKS, len(rows), max(-(-len(rows) // JOBS), EACH * workers))
    data: Any = cluster.data.from_items(rows, override_num_blocks=tasks)
    place = {"num_gpus": 1, "num_cpus": 0} if cuda else {"num_cpus": SCORE}
    shared = {"options": options, "config": config}
    held = (options, ray.put(scorer), "cuda" if cuda else "cpu")
    actors = {"fn_constructor_args": held, "batch_size": 1, "compute": ActorPoolStrategy(size=models)}
    if config.recurrent or options.request.steadied:  # all of a video goes to one actor, in order
        scored = data.map_batches(_Watching, **actors, **place)
    else:
        decoded = data.map_batches(
            _decode, fn_kwargs=shared, batch_size=1, num_cpus=DECODE, compute=TaskPoolStrategy(workers)
        )
        scored = decoded.map_batches(_Scoring, **actors, **place)
    stages = scored.map_batches(_finish, fn_kwargs=shared, batch_size=1, num_cpus=FINISH)
    for batch in stages.iter_batches(batch_size=None, prefetch_batches=2, batch_format="pyarrow"):
        for packed in batch["piece"]:
            yield _unpack(packed.as_py())


def _connect() -> None:
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    here: dict[str, Any] = {} if address else {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **here)


def _shares(have: Mapping[str, float], device: str, models: int, workers: int) -> tuple[bool, int, int]:
    """Whether the models run on GPUs, the number of models, and the number of decoders."""
    cpus, gpus = have.get("CPU", 0), int(have.get("GPU", 0))
    cuda = device.startswith("cuda") or (device == "auto" and gpus >= 1)
    models = models or (gpus if cuda else int(cpus // 2))
    left = cpus - (0 if cuda else models * SCORE) - max(1, models) * FINISH
    if models < 1 or left < DECODE or (cuda and gpus < models):
        raise ValueError(
            f"The cluster has {cpus:g} processors and {gpus} GPUs: expected two processors, more with several --models, and "
            "a GPU for each of --models where the device is cuda."
        )
    return cuda, models, min(workers or int(left), int(left))


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
    for piece in _decoded(batch, options, config):
        yield _pack(piece)


def _decoded(batch: Any, options: Options, config: ModelConfig) -> Iterator[Piece]:
    key = (options, config.name, config.image_size)
    if key not in _children:
        while _children:
            _children.popitem()[1].close()
        _children[key] = Child(start_decoder, options, config)
    for packed in batch["job"]:
        yield from guarded(_children[key], _unpack(packed), options.timeout)


class _Scoring:
    """An actor with the model."""

    def __init__(self, options: Options, model: Any, device: str) -> None:
        self.score = ScoreStage(options, ray.get(model) if isinstance(model, ray.ObjectRef) else model, device)

    def __call__(self, batch: Any) -> dict[str, list[bytes]]:
        """Scores of a piece."""
        return _pack(self.score(_unpack(batch["piece"][0])))


class _Watching(_Scoring):
    """An actor that decodes and scores whole videos, for masks that depend on those before."""

    def __init__(self, options: Options, model: Any, device: str) -> None:
        super().__init__(options, model, device)
        self.options, self.config = options, self.score.segmenter.config

    def __call__(self, batch: Any) -> Iterator[dict[str, list[bytes]]]:  # type: ignore[override]
        """Scores of all pieces of some videos."""
        for piece in _decoded(batch, self.options, self.config):
            yield _pack(self.score(piece))


_finishers: dict[Any, FinishStage] = {}


def _finish(batch: Any, options: Options, config: ModelConfig) -> dict[str, list[bytes]]:
    key = (options, config.name, config.image_size)
    if key not in _finishers:
        _finishers[key] = FinishStage(options, config)
    return _pack(_finishers[key](_unpack(batch["piece"][0])))
