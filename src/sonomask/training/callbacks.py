"""Callbacks: atomic checkpoints, averaged weights, pictures."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim.swa_utils import get_ema_avg_fn

from sonomask.batches import Batch
from sonomask.checkpoints.folder import save

FIRST_EPOCH = "first_epoch.txt"  # is there as long as no checkpoint is


class Checkpoint(Callback):
    """Keeps `last.ckpt` (to go on) and the folder `best` (to use) after each epoch.

    `last.ckpt` is written beside its name, forced to disk and then renamed, so that whenever the process dies there is a
    whole one; a run that goes on from it repeats the steps of the broken epoch exactly. A full disk costs a warning, not
    the run.

    Args:
        folder: Folder to write; the logger's folder unless given.
        monitor: The figure that chooses the best epoch, larger is better.
        every: Steps of the optimiser between checkpoints within an epoch; 0 for none.
    """

    def __init__(self, folder: str | None = None, monitor: str = "val/miou", every: int = 0) -> None:
        self.folder, self.monitor, self.every = folder, monitor, every
        self.best, self.saved = -1.0, 0

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self.best = state_dict["best"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the weights if they are the best so far."""
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or value is None or float(value) <= self.best:
            return
        self.best = float(value)
        if trainer.is_global_zero:
            model: Any = pl_module.model
            self._try(lambda: save(model, self._root(trainer) / "best"))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Save the state of the run within an epoch, where no gradients are half gathered."""
        step = trainer.global_step
        if self.every and step != self.saved and step % self.every == 0 and not trainer.is_last_batch:
            self.saved = step
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the state of the run."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        last = self._root(trainer) / "last.ckpt"
        fresh = last.with_suffix(".part")

        def write() -> None:
            try:
                trainer.save_checkpoint(fresh)
                if trainer.is_global_zero:
                    with fresh.open("rb+") as file:
                        os.fsync(file.fileno())
                    fresh.replace(last)
                    (last.parent / FIRST_EPOCH).unlink(missing_ok=True)
            finally:
                if trainer.is_global_zero:
                    fresh.unlink(missing_ok=True)

        self._try(write)

    def _root(self, trainer: Trainer) -> Path:
        root = Path(self.folder or trainer.log_dir or trainer.default_root_dir)
        root.mkdir(parents=True, exist_ok=True)
        return root

    def _try(self, write: Any) -> None:
        try:
            write()
        except (OSError, RuntimeError) as error:  # torch tells of a full disk by the second
            rank_zero_warn(f"The checkpoint could not be written ({error}); the one before stays. Free some space.")


class EMA(WeightAveraging):
    """Validates and keeps the exponential moving average of the weights.

    Args:
        decay: Share of the old average that is kept at each step.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(avg_fn=get_ema_avg_fn(decay))


class Panels(Callback):
    """Shows a few validation clips in TensorBoard: picture, truth and probability, seconds from left to right.

    Args:
        clips: Number of clips.
    """

    def __init__(self, clips: int = 4) -> None:
        self.clips = clips

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first batch."""
        if batch_idx or trainer.sanity_checking or not trainer.is_global_zero:
            return
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if boards:
            picture = panel(batch, pl_module(batch).logits, self.clips)
            for board in boards:
                board.experiment.add_image("val/clips", picture, trainer.global_step)


def panel(batch: Batch, logits: Tensor, clips: int) -> Tensor:
    """An RGB picture (3, rows, columns) in 0..1."""
    images = batch.images[:clips].float()
    low, high = images.amin((1, 2, 3, 4), keepdim=True), images.amax((1, 2, 3, 4), keepdim=True)
    truth = (batch.masks[:clips, :, None] > 0).float().expand_as(images)
    scores = logits[:clips].float()
    found = scores.sigmoid() if scores.shape[2] == 1 else 1 - scores.softmax(2)[:, :, :1]
    rows = torch.stack([(images - low) / (high - low).clamp(min=1e-6), truth, found.expand_as(images)], 1)
    b, r, t, c, h, w = rows.shape
    return rows.permute(3, 0, 1, 4, 2, 5).reshape(c, b * r * h, t * w).cpu()
