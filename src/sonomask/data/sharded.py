"""Loaders over shards: each process reads its own, and the order depends on the seed and the epoch alone."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch.utils.data import DataLoader

from sonomask.data.datamodule import ClipDataModule, EpochBatches, Split
from sonomask.data.shards import ShardedClips
from sonomask.data.transforms import Augmented
from sonomask.errors import DatasetError

__all__ = ["ShardBatches", "ShardsDataModule"]


class ShardBatches(EpochBatches):
    """The same for shards: each process reads shards that no other reads in this epoch, and mixes a few at a time.

    Shards are shuffled by (seed, epoch) and dealt to the processes; the clips of `together` of them are shuffled as one.
    Every process has as many clips in every epoch, so what is over, another in each epoch, is left out: nothing with one
    process, less than a shard for each of several if all shards are alike.

    Args:
        sizes: Clips of each shard.
        batch_size: Batch size of each process.
        together: Shards that are mixed.
        place: Place, as for `EpochBatches`: seed, rank, world, keys.

    Raises:
        DatasetError: There are fewer shards than processes.
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, *, together: int = 8, **place: Any) -> None:
        super().__init__(sum(sizes), batch_size, **place)
        if len(sizes) < self.world:
            raise DatasetError(
                f"{len(sizes)} shards for {self.world} processes: expected one for each. Make smaller shards."
            )
        self.sizes, self.together = list(sizes), together
        self.mine = sum(sorted(sizes)[: len(sizes) // self.world])  # clips that every process has in every epoch

    def __len__(self) -> int:
        return (self.mine + self.batch_size - 1) // self.batch_size

    def _batches(self) -> list[torch.Tensor]:
        generator = self._generator()
        starts = [0, *accumulate(self.sizes)]
        dealt = torch.randperm(len(self.sizes), generator=generator).tolist()[self.rank :: self.world]
        own = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) * 4_099 + self.rank)
        order = []
        for first in range(0, len(dealt), self.together):
            clips = torch.cat([torch.arange(starts[s], starts[s + 1]) for s in dealt[first : first + self.together]])
            order.append(clips[torch.randperm(len(clips), generator=own)])
        return list(torch.cat(order)[: self.mine].split(self.batch_size))


class ShardsDataModule(ClipDataModule):
    """Clips of WebDataset shards (`sonomask prepare --shards`), read by every process without overlap.

    Args:
        root: Folder or address with a folder for each split.
        cache: Folder for copies, needed where `root` is an address.
        together: Shards whose clips are mixed.
        loading: Arguments of `ClipDataModule`.
    """

    def __init__(self, root: str, *, cache: str | None = None, together: int = 8, **loading: Any) -> None:
        super().__init__(**loading)
        self.root, self.cache, self.together = root.rstrip("/"), cache, together

    def train_dataloader(self) -> DataLoader:
        """Batches in the order of the epoch."""
        dataset, (rank, world) = self._filled("train"), self._place()
        batches = ShardBatches(
            self.dataset("train").sizes, self.batch_size, together=self.together, seed=self.seed, rank=rank, world=world,
            keys=self.augment is not None,
        )  # fmt: skip
        clips: Any = dataset if self.augment is None else Augmented(dataset, self.augment, self.seed)
        return self._loader(clips, batch_sampler=batches)

    def dataset(self, split: Split) -> ShardedClips:
        """Clips of a split."""
        return ShardedClips(f"{self.root}/{split}", None if self.cache is None else f"{self.cache}/{split}")
