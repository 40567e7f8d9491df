"""Loaders of `Batch` for Lightning: which clip comes when depends on the seed and the epoch alone."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset

from sonomask.batches import Batch, Clip
from sonomask.data.avsbench import AVSBench, Sound
from sonomask.data.cache import CachedClips, write_cache
from sonomask.data.composed.compose import CompositeRules, CompositeScenes
from sonomask.data.composed.library import Library
from sonomask.data.copies import folder_for, write_copy
from sonomask.data.drawn.world import Rules, SyntheticScenes
from sonomask.data.maskige import FOLDER, with_maskige
from sonomask.data.transforms import Augment, Augmented
from sonomask.errors import DatasetError, MissingExtraError
from sonomask.structures import ModelConfig, Pairing

try:
    from lightning import LightningDataModule
except ImportError as error:
    raise MissingExtraError("Training", "torch") from error

Split = Literal["train", "val", "test"]


class EpochBatches:
    """Indices of each batch of an epoch, shuffled by (seed, epoch), for one of several processes.

    The processes share each batch of `batch_size * world` clips, so that two of them with batch 2 take the steps of one
    with batch 4. A last batch with fewer clips than processes is left out.

    Args:
        length: Clips in the data set.
        batch_size: Batch size of each process.
        seed: Seed of the order.
        rank: This process.
        world: Number of processes.
        keys: Give `epoch * length + index`, as `Augmented` wants it, and not the index.

    Attributes:
        resume: Epoch and number of batches of it that a run has had before it was stopped; they are left out.
    """

    def __init__(
        self, length: int, batch_size: int, *, seed: int = 0, rank: int = 0, world: int = 1, keys: bool = False
    ) -> None:
        self.keys = keys
        self.length, self.batch_size, self.seed, self.rank, self.world = length, batch_size, seed, rank, world
        self.epoch = 0
        self.resume = (0, 0)
        self.sampler = self  # Lightning sets the epoch of a batch sampler's sampler

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.length, self.batch_size * self.world)
        return whole + (rest >= self.world)

    def skipped(self) -> int:
        """Batches of the present epoch that are left out."""
        return self.resume[1] if self.resume[0] == self.epoch else 0

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches()[self.skipped() : len(self)]:
            yield (batch + self.epoch * self.length if self.keys else batch).tolist()

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)

    def _batches(self) -> list[torch.Tensor]:
        order = torch.randperm(self.length, generator=self._generator())
        return [together[self.rank :: self.world] for together in order.split(self.batch_size * self.world)]


class Loader(DataLoader):
    """A loader that knows how many batches of which epoch it gave; Lightning keeps that in its checkpoints."""

    given = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.given = self._order.skipped()
        for batch in super().__iter__():
            self.given += 1
            yield batch

    @property
    def _order(self) -> EpochBatches:
        return self.batch_sampler  # type: ignore[return-value]

    def state_dict(self) -> dict[str, int]:
        """Position in the epoch, as part of a checkpoint."""
        return {"epoch": self._order.epoch, "given": self.given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from a position."""
        self._order.resume = (state["epoch"], state["given"])


class ClipDataModule(LightningDataModule):
    """Loaders over data sets of `Clip`; a subclass says which.

    For evaluation the processes take every `world`-th clip, in order, none twice.

    Args:
        batch_size: Clips a batch in training.
        eval_batch_size: Clips a batch in evaluation; no figure depends on it, protocols group clips themselves.
        workers: Loader processes.
        seed: Seed of the order of training clips.
        augment: Augmentation of training clips.
        maskige: Gives clips the second picture that COMBO and VCT read: a maker of `sonomask.inference.maskige` ("superpixels",
            "maskrcnn:FILE", "sam:FOLDER") or, of AVSBench, the folder with the authors' files.
        timeout: Seconds after which a worker that gives nothing counts as stuck.

    Attributes:
        pairing: Pairing of sound and frames in these clips; training writes it into the model's config.
    """

    pairing: Pairing = "avsbench"

    def __init__(
        self,
        *,
        batch_size: int = 4,
        eval_batch_size: int = 4,
        workers: int = 2,
        seed: int = 0,
        augment: Augment | None = None,
        maskige: str | None = None,
        timeout: float = 300,
    ) -> None:
        super().__init__()
        self.augment, self.maskige = augment, maskige
        self.batch_size, self.eval_batch_size, self.workers = batch_size, eval_batch_size, workers
        self.seed, self.timeout = seed, timeout

    def dataset(self, split: Split) -> Dataset[Clip]:
        """The clips of a split."""
        raise NotImplementedError

    def suit(self, config: ModelConfig) -> None:
        """Fill in missing options from a model's config; superpixels as maskige, if the model reads one."""
        if config.maskige and self.maskige is None:
            self.maskige = "superpixels"

    def train_dataloader(self) -> DataLoader:
        """Batches in the order of the epoch."""
        dataset, (rank, world) = self._filled("train"), self._place()
        if self.augment is not None:
            dataset = Augmented(dataset, self.augment, self.seed)
        keys = self.augment is not None
        batches = EpochBatches(len(dataset), self.batch_size, seed=self.seed, rank=rank, world=world, keys=keys)
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
        dataset: Any = self.dataset(split)
        if len(dataset) == 0:
            raise DatasetError(f"The split {split!r} is empty. Check it with `sonomask doctor`.")
        return self._seen(dataset)

    def _seen(self, dataset: Any) -> Any:
        """The clips, with maskiges if requested."""
        return dataset if self.maskige is None else with_maskige(dataset, self.maskige)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: Dataset, **order: Any) -> DataLoader:
        timeout = self.timeout if self.workers else 0
        return (Loader if "batch_sampler" in order else DataLoader)(
            dataset, num_workers=self.workers, collate_fn=Batch.collate, timeout=timeout,
            persistent_workers=self.workers > 0, pin_memory=torch.cuda.is_available(), **order,
        )  # fmt: skip


class SyntheticDataModule(ClipDataModule):
    """Clips of the synthetic world, made on demand.

    Args:
        train: Clips for training.
        val: Clips for validation.
        test: Clips for test.
        kind: "single", "multi" or "semantic".
        size: Height and width.
        seconds: T.
        world: Seed of the world itself (`seed` is that of the order).
        rules: Rules of the world, instead of the kind's own rules.
        loading: Arguments of `ClipDataModule`.
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
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.counts = {"train": train, "val": val, "test": test}
        self.kind, self.size, self.seconds, self.world, self.rules = kind, size, seconds, world, rules

    def dataset(self, split: Split) -> Dataset[Clip]:
        """Scenes of a split; no two splits share one."""
        return SyntheticScenes(
            self.counts[split], seed=self.world, size=(self.size, self.size), seconds=self.seconds,
            kind=self.kind, split=split, rules=self.rules,
        )  # fmt: skip


class CompositeDataModule(ClipDataModule):
    """Scenes composed of pictures with masks and of recordings, made on demand; splits share no group.

    Args:
        images: Table of pictures, see `data.library`.
        sounds: Table of recordings.
        train: Clips for training, drawn afresh in each epoch up to `epochs`.
        val: Clips for validation.
        test: Clips for test.
        epochs: After so many epochs the training clips come again.
        truth: Kind of truth, as in `CompositeScenes`.
        size: Height and width.
        seconds: T in training.
        world: Seed of the scenes (`seed` is that of the order).
        rules: Rules by which scenes are composed.
        loading: Arguments of `ClipDataModule`.
    """

    pairing: Pairing = "centre"

    def __init__(
        self,
        images: str,
        sounds: str,
        *,
        train: int = 2000,
        val: int = 200,
        test: int = 500,
        epochs: int = 100,
        truth: Literal["sounding", "sounding classes", "classes"] = "sounding",
        size: int = 128,
        seconds: int = 5,
        world: int = 0,
        rules: CompositeRules | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.counts = {"train": train, "val": val, "test": test}
        self.library = Library.read(images, sounds)
        self.epochs, self.truth, self.size, self.seconds, self.world = epochs, truth, size, seconds, world
        self.rules = rules

    def train_dataloader(self) -> DataLoader:
        """Draw new scenes for each epoch."""
        rank, world = self._place()
        batches = EpochBatches(self.counts["train"], self.batch_size, seed=self.seed, rank=rank, world=world, keys=True)
        dataset = self._seen(self._scenes("train", self.counts["train"] * self.epochs, self.seconds))
        wrapped: Any = dataset if self.augment is None else Augmented(dataset, self.augment, self.seed)
        return self._loader(wrapped, batch_sampler=batches)

    def dataset(self, split: Split) -> Dataset[Clip]:
        """Scenes of a split, five seconds each for evaluation."""
        return self._scenes(split, self.counts[split], self.seconds if split == "train" else 5)

    def _scenes(self, split: Split, count: int, seconds: int) -> CompositeScenes:
        return CompositeScenes(
            self.library.split(split), count, seed=self.world, size=(self.size, self.size), seconds=seconds,
            truth=self.truth, rules=self.rules,
        )  # fmt: skip


class AVSBenchDataModule(ClipDataModule):
    """Clips of AVSBench, or of any tree in its layout (`sonomask synth`, `sonomask prepare`).

    Args:
        root: A folder somewhere above the subset's csv.
        subset: "s4", "ms3" or "avss".
        size: Height and width; unless given the model's own in evaluation, and 224 in training.
        sound: Source of the sound: "auto", "wav", "pkl" or "video".
        skip_missing: Leave out clips that lack files.
        cache: Folder for memory-mapped copies, one for each split, made when first needed. "auto" makes them for training in
            the user's cache folder, if they take no more than half of its free space, and says so; they are made anew when a
            file of the data set changes. "off" for none.
        loading: Arguments of `ClipDataModule`.
    """

    def __init__(
        self,
        root: str,
        subset: Literal["s4", "ms3", "avss"],
        *,
        size: int | None = None,
        sound: Sound = "auto",
        skip_missing: bool = False,
        cache: str = "auto",
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.root, self.subset, self.sound = root, subset, sound
        self.skip_missing, self.cache = skip_missing, cache
        self.given = size is not None
        self.config = ModelConfig("", image_size=(size or 224, size or 224))

    def suit(self, config: ModelConfig) -> None:
        """Pictures of the model's size, unless one was given, normalised for it, and truth of the size it is scored at.

        Raises:
            ValueError: The cache is normalised otherwise, or the model reads maskiges and no source of them was named.
        """
        if config.maskige and self.maskige is None:
            raise ValueError(
                f"`maskige`: {config.name} reads a maskige for each frame. Name the authors' folder for the "
                f"published figure (--data.init_args.maskige …/{FOLDER}), or a maker such as superpixels."
            )
        if self.cache not in ("auto", "off") and (config.mean, config.std) != (self.config.mean, self.config.std):
            raise ValueError("`cache`: its clips are normalised as ImageNet's, the model's are not. Leave it out.")
        size = self.config.image_size if self.given else config.image_size
        truth = None if self.given else config.score_size
        self.config = replace(config, image_size=size, score_size=truth)

    def prepare_data(self) -> None:
        """Make the cached splits that are missing; Lightning calls this in one process only."""
        splits: dict[str, tuple[Split, ...]] = {"off": (), "auto": ("train", "val")}
        for split in splits.get(self.cache, ("train", "val", "test")):
            try:
                clips = self._clips(split)
            except DatasetError:
                continue  # told when the split is used
            folder = self._folder(split, clips)
            if folder is not None and not folder.exists():
                (write_copy if self.cache == "auto" else write_cache)(clips, folder, self.workers)

    def dataset(self, split: Split) -> Dataset[Clip]:
        """Clips of a split."""
        clips = self._clips(split)
        folder = self._folder(split, clips)
        if folder is not None and self.cache != "auto" and not folder.exists():
            write_cache(clips, folder, self.workers)
        return CachedClips(folder) if folder is not None and folder.exists() else clips

    def _folder(self, split: Split, clips: Any) -> Path | None:
        """Path of a split's copy, existing or not; None for no copy."""
        if self.cache == "off" or (self.cache == "auto" and (self.trainer is None or self.maskige is not None)):
            return None
        if self.cache != "auto":
            return self._cached(split)
        return folder_for(self._cached(split).name, self.root, clips)

    def _seen(self, dataset: Any) -> Any:
        """`dataset` has seen to it, so that the cache holds the maskiges."""
        return dataset

    def _clips(self, split: Split) -> Any:
        config = self.config
        clips = AVSBench(
            self.root, self.subset, split, size=config.image_size, truth_size=config.score_size, sound=self.sound,
            skip_missing=self.skip_missing, mean=config.mean, std=config.std,
        )  # fmt: skip
        return clips if self.maskige is None else with_maskige(clips, self.maskige, config.mean, config.std)

    def _cached(self, split: Split) -> Path:
        height, width = self.config.image_size
        sizes = [str(height) if height == width else f"{height}x{width}"]
        sizes += [f"{h}x{w}" for h, w in [self.config.score_size or (0, 0)] if h]
        seen = [] if self.maskige is None else [hashlib.sha256(self.maskige.encode()).hexdigest()[:8]]
        return Path(self.cache, "_".join([self.subset, split, *sizes, self.sound, *seen]))
