"""Which clip comes when, and what may happen to it."""

from itertools import chain

import pytest
import torch

from sonomask.data.datamodule import AVSBenchDataModule, EpochBatches, SyntheticDataModule
from sonomask.data.drawn.world import SyntheticScenes
from sonomask.data.transforms import Augment, Augmented, gain
from sonomask.data.tree import Preset, write_tree
from sonomask.errors import DatasetError
from sonomask.structures import ModelConfig


def epoch(batches, number):
    batches.set_epoch(number)
    return list(batches)


def test_an_epoch_shows_each_clip_once_and_the_next_in_another_order():
    batches = EpochBatches(10, 4, seed=3)
    first, second = epoch(batches, 0), epoch(batches, 1)
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10))
    assert first != second
    assert epoch(EpochBatches(10, 4, seed=3), 1) == second


def test_two_processes_share_the_batches_of_one():
    one = epoch(EpochBatches(12, 4, seed=1), 2)
    a, b = (epoch(EpochBatches(12, 2, seed=1, rank=r, world=2), 2) for r in range(2))
    assert [sorted(x + y) for x, y in zip(a, b, strict=True)] == [sorted(batch) for batch in one]


def test_a_rest_that_some_process_would_lack_is_left_out_for_all():
    a, b = (epoch(EpochBatches(9, 2, rank=r, world=2), 0) for r in range(2))
    assert len(a) == len(b) == len(EpochBatches(9, 2, world=2)) == 2


def clip():
    return SyntheticScenes(1, size=(32, 32))[0]


def test_nothing_happens_unless_told():
    ours, same = clip(), Augment()(clip(), torch.Generator())
    assert torch.equal(ours.images, same.images)
    assert torch.equal(ours.logmel, same.logmel)


def test_a_flip_mirrors_picture_and_mask_alike():
    ours, flipped = clip(), Augment(flip=1)(clip(), torch.Generator())
    assert torch.equal(flipped.images, ours.images.flip(-1))
    assert torch.equal(flipped.masks, ours.masks.flip(-1))


def test_silence_empties_the_masks():
    quiet = Augment(silence=1)(clip(), torch.Generator())
    assert quiet.masks.sum() == 0
    assert quiet.logmel.max() < -4.6


def test_foreign_sound_is_used_only_if_it_is_known_to_be_foreign():
    from dataclasses import replace

    ours = replace(clip(), category="dog")
    other = replace(clip(), category="cat", logmel=torch.zeros(5, 1, 96, 64))
    augment = Augment(offscreen=1)
    assert augment(ours, torch.Generator(), other).masks.sum() == 0
    for unknown in (replace(other, category=""), replace(other, category="dog")):
        assert torch.equal(augment(ours, torch.Generator(), unknown).masks, ours.masks)


def test_gain_in_the_log_mel_domain_is_that_of_the_waveform():
    from sonomask.audio.logmel import examples

    track = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    torch.testing.assert_close(gain(examples(track), 3.0), examples(3 * track), atol=1e-4, rtol=0)


def test_every_change_keeps_shapes_and_labels():
    every = Augment(flip=0.5, crop=0.6, colour=0.3, gain=6, noise=0.05)
    for seed in range(5):
        changed = every(clip(), torch.Generator().manual_seed(seed))
        assert changed.images.shape == (5, 3, 32, 32)
        assert set(changed.masks.unique().tolist()) <= {0, 1}
        assert torch.isfinite(changed.logmel).all()


def test_a_clip_changes_from_epoch_to_epoch_and_is_the_same_in_a_repeated_one():
    clips = Augmented(SyntheticScenes(3, size=(32, 32)), Augment(crop=0.5))
    assert torch.equal(clips[1].images, clips[1].images)
    assert not torch.equal(clips[1].images, clips[1 + 3].images)


@pytest.mark.parametrize("wrong", [{"flip": 2}, {"crop": 0}, {"gain": -1}])
def test_an_impossible_augmentation_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augment(**wrong)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    out = tmp_path_factory.mktemp("world") / "tree"
    write_tree(out, preset=Preset((4, 2, 2), 32, 8), subsets=("ms3",))
    return out


def test_a_tree_is_served_in_batches_with_and_without_cache(tree, tmp_path):
    plain = AVSBenchDataModule(str(tree), "ms3", size=32, batch_size=2, workers=0)
    cached = AVSBenchDataModule(str(tree), "ms3", size=32, batch_size=2, workers=0, cache=str(tmp_path / "c"))
    for one, two in zip(plain.train_dataloader(), cached.train_dataloader(), strict=True):
        assert one.names == two.names
        torch.testing.assert_close(one.images, two.images)
        assert torch.equal(one.masks, two.masks)


def test_a_worker_process_gives_the_same_clips(tree):
    options = {"subset": "ms3", "size": 32, "batch_size": 2, "augment": Augment(flip=0.5, crop=0.7)}
    none, one = (list(AVSBenchDataModule(str(tree), workers=w, **options).train_dataloader()) for w in (0, 1))
    for a, b in zip(none, one, strict=True):
        assert torch.equal(a.images, b.images)


def test_evaluation_shows_every_clip_once_in_order():
    module = SyntheticDataModule(train=1, val=5, test=1, size=32, workers=0, eval_batch_size=2)
    names = [name for batch in module.val_dataloader() for name in batch.names]
    assert names == [f"val_{i:05d}" for i in range(5)]


def test_a_missing_split_says_where_to_look(tree):
    with pytest.raises(DatasetError, match="s4_meta_data"):
        AVSBenchDataModule(str(tree), "s4").train_dataloader()


def test_a_module_takes_what_was_not_given_from_the_model(tree):
    module = AVSBenchDataModule(str(tree), "ms3", batch_size=2, workers=0)
    module.suit(ModelConfig("any", image_size=(48, 64), score_size=(24, 24), mean=(0, 0, 0), std=(1, 1, 1)))
    batch = next(iter(module.test_dataloader()))
    assert (batch.images.shape[-2:], batch.masks.shape[-2:]) == ((48, 64), (24, 24))
    assert batch.images.min() >= 0


def test_a_cache_does_not_serve_another_normalisation(tree, tmp_path):
    module = AVSBenchDataModule(str(tree), "ms3", cache=str(tmp_path))
    with pytest.raises(ValueError, match="cache"):
        module.suit(ModelConfig("any", mean=(0, 0, 0)))
