"""How batches reach a device: pinned and without waiting where there is one, told without having one."""

import pytest
import torch

from sonomask.batches import Batch
from sonomask.data.datamodule import SyntheticDataModule


@pytest.fixture
def batch():
    module = SyntheticDataModule(train=3, val=2, test=2, size=32, batch_size=2, workers=0)
    return next(iter(module.train_dataloader()))


def test_every_tensor_of_a_batch_is_pinned_and_copied_without_waiting(batch, monkeypatch):
    pinned, waited = set(), []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda x: pinned.add(x.data_ptr()) or x)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda x: x.data_ptr() in pinned)
    real = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda x, *a, **k: waited.append(not k["non_blocking"]) or real(x, *a, **k))
    batch.to("cpu")
    assert waited == [True] * 5
    waited.clear()
    moved = batch.pin_memory().to("cpu")
    assert waited == [False] * 5
    assert len(pinned) == 5
    assert isinstance(moved, Batch)
    assert moved.names == batch.names


@pytest.mark.parametrize("cuda", [False, True])
def test_a_loader_pins_where_there_is_a_gpu(cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    module = SyntheticDataModule(train=4, size=32, batch_size=2, workers=0)
    assert module.train_dataloader().pin_memory is cuda
    assert module.eval_dataloader("val").pin_memory is cuda


def test_workers_stay_between_epochs_and_give_the_same_clips():
    """Their start costs seconds; the order of an epoch is drawn where the batches are asked for, not in them."""
    sizes = {"train": 6, "val": 2, "test": 2, "size": 32, "batch_size": 2, "seed": 4}
    kept, alone = (SyntheticDataModule(**sizes, workers=n).train_dataloader() for n in (1, 0))
    assert kept.persistent_workers
    for epoch in range(3):
        for loader in (kept, alone):
            loader.batch_sampler.set_epoch(epoch)
        if epoch == 1:
            next(iter(kept))  # an epoch that is left early
        for one, other in zip(kept, alone, strict=True):
            torch.testing.assert_close(one.images, other.images)
            assert one.names == other.names
