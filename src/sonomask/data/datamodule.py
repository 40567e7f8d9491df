"""Loaders of `Batch` for Lightning: which clip comes when depends on the seed and the epoch alone."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset

from sonomask.data.synthetic import Rules, SyntheticScenes
from sonomask.errors import DatasetError, MissingExtraError
from sonomask.structures import Batch, Clip

try:
    from lightning import LightningDataModule
except ImportError as error:
    raise MissingExtraError("Training", "train") from error

Split = Literal["train", "val", "test"]


class EpochBatches:
    """Indices of each batch of an epoch, shuffled by (seed, epoch), for one of several processes.

    The processes share each batch of `batch_size * world` clips, so that two of them with batch 2 take the steps of one
    with batch 4. A last batch with fewer clips than processes is left out.

    Args:
        length: Clips in the data set.
        batch_size: Of each process.
        seed: Of the order.
        rank: This process.
        world: Number of processes.
    """

    def __init__(self, length: int, batch_size: int, *, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        self.length, self.batch_size, self.seed, self.rank, self.world = length, batch_size, seed, rank, world
        self.epoch = 0
        self.sampler = self  # Lightning sets the epoch of a batch sampler's sampler

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.length, self.batch_size * self.world)
        return whole + (rest >= self.world)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.length, generator=generator)
        for together in order.split(self.batch_size * self.world)[: len(self)]:
            yield together[self.rank :: self.world].tolist()


class ClipDataModule(LightningDataModule):
    """Loaders over data sets of `Clip`; a subclass says which.

    For evaluation the processes take every `world`-th clip, in order, none twice.

    Args:
        batch_size: Clips a batch in training.
        eval_batch_size: Clips a batch in evaluation; no figure depends on it, protocols group clips themselves.
        workers: Loader processes.
        seed: Of the order of training clips.
        timeout: Seconds after which a worker that gives nothing counts as stuck.
    """

    def __init__(
        self, *, batch_size: int = 4, eval_batch_size: int = 4, workers: int = 2, seed: int = 0, timeout: float = 300
    ) -> None:
        super().__init__()
        self.batch_size, self.eval_batch_size, self.workers = batch_size, eval_batch_size, workers
        self.seed, self.timeout = seed, timeout

    def dataset(self, split: Split) -> Dataset[Clip]:
        """The clips of a split."""
        raise NotImplementedError

    def train_dataloader(self) -> DataLoader:
        """Batches in the order of the epoch."""
        dataset, (rank, world) = self._filled("train"), self._place()
        batches = EpochBatches(len(dataset), self.batch_size, seed=self.seed, rank=rank, world=world)
        return self._loader(dataset, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader:
        """Batches of the validation split."""
        return self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader:
        """Batches of the test split."""
        return self.eval_dataloader("test")

    def eval_dataloader(self, split: Split) -> DataLoader:
        """Batches of a split in the order of the data set."""
        dataset, (rank, world) = self._filled(split), self._place()
        mine = range(rank, len(dataset), world)
        return self._loader(dataset, batch_size=self.eval_batch_size, sampler=mine)

    def _filled(self, split: Split) -> Any:
        dataset = self.dataset(split)
        if len(dataset) == 0:  # type: ignore[arg-type]
            raise DatasetError(f"The split {split!r} is empty. Check it with `sonomask doctor`.")
        return dataset

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: Dataset, **order: Any) -> DataLoader:
        timeout = self.timeout if self.workers else 0
        return DataLoader(
            dataset, num_workers=self.workers, collate_fn=Batch.collate, timeout=timeout,
            persistent_workers=False, **order,
        )  # fmt: skip


class SyntheticDataModule(ClipDataModule):
    """Clips of the synthetic world, made as they are needed.

    Args:
        train: Clips for training.
        val: Clips for validation.
        test: Clips for test.
        kind: "single", "multi" or "semantic".
        size: Height and width.
        seconds: T.
        world: Seed of the world itself (`seed` is that of the order).
        rules: What happens in it, if not the kind's own rules.
        batch_size: See `ClipDataModule`, as for the others.
    """

    def __init__(
        self,
        *,
        train: int = 2000,
        val: int = 100,
        test: int = 200,
        kind: Literal["single", "multi", "semantic"] = "multi",
        size: int = 112,
        seconds: int = 5,
        world: int = 0,
        rules: Rules | None = None,
        batch_size: int = 4,
        eval_batch_size: int = 4,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, workers=workers, seed=seed)
        self.counts = {"train": train, "val": val, "test": test}
        self.kind, self.size, self.seconds, self.world, self.rules = kind, size, seconds, world, rules

    def dataset(self, split: Split) -> Dataset[Clip]:
        """Scenes of a split; no two splits share one."""
        return SyntheticScenes(
            self.counts[split], seed=self.world, size=(self.size, self.size), seconds=self.seconds,
            kind=self.kind, split=split, rules=self.rules,
        )  # fmt: skip
