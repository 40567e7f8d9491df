from dataclasses import replace

import numpy as np
import pytest
import torch

from sonomask.data.drawn.world import KINDS, Rules, SyntheticScenes, scene

SIZE = (48, 64)


def clips(**options):
    return SyntheticScenes(**{"count": 20, "size": SIZE, **options})


def test_a_clip_depends_on_nothing_but_seed_split_and_index():
    clip, again = clips()[3], SyntheticScenes(4, size=SIZE)[3]
    assert torch.equal(clip.images, again.images)
    assert torch.equal(clip.logmel, again.logmel)
    assert torch.equal(clip.masks, again.masks)


def test_a_scene_is_the_same_on_every_machine():
    made = scene(7, size=SIZE)
    assert [KINDS[t.kind] for t in made.things] == ["drop", "disc", "crescent"]
    assert made.sounding.astype(int).tolist() == [[0, 1, 0]] * 5
    np.testing.assert_allclose(made.frame(1.5)[0].mean(), 113.857, atol=0.1)


@pytest.mark.parametrize("other", [{"split": "val"}, {"split": "test"}, {"seed": 1}, {"kind": "semantic"}])
def test_splits_seeds_and_kinds_share_no_scene(other):
    scenes = {clips().scene(i).things for i in range(20)}
    assert scenes.isdisjoint({clips(**other).scene(i).things for i in range(20)})


@pytest.mark.parametrize("seconds", [1, 5, 10])
def test_a_clip_has_the_promised_shapes(seconds):
    clip = clips(seconds=seconds)[0]
    assert clip.images.shape == (seconds, 3, *SIZE)
    assert clip.logmel.shape == (seconds, 1, 96, 64)
    assert clip.masks.shape == (seconds, *SIZE)
    assert clip.labelled.shape == clip.valid.shape == (seconds,)
    assert torch.isfinite(clip.logmel).all()


def test_images_are_normalised_by_what_is_asked_for():
    plain = clips(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))[0].images
    shifted = clips(mean=(0.5, 0.0, 0.0), std=(0.5, 1.0, 1.0))[0].images
    assert 0 <= plain.min() < plain.max() <= 1
    torch.testing.assert_close(shifted[:, 0], plain[:, 0] * 2 - 1)


def test_only_the_first_frame_of_a_single_source_training_clip_is_labelled():
    clip = clips(kind="single")[0]
    assert clip.labelled.tolist() == [True, False, False, False, False]
    assert not clip.masks[1:].any()
    assert clips(kind="single", split="val")[0].labelled.all()


def test_a_single_source_clip_is_named_after_what_sounds():
    data = clips(kind="single", split="test")
    for index in range(5):
        made = data.scene(index)
        (sounding,) = [KINDS[t.kind] for t, s in zip(made.things, made.sounding[0], strict=True) if s]
        assert data[index].category == sounding


def test_the_mask_follows_the_sound_while_the_picture_stays():
    made = replace(scene(2, size=SIZE), sounding=np.eye(3, dtype=bool)[[0, 1]])
    (before, _, first), (after, _, second) = made.frame(0.999), made.frame(1.0)
    assert set(np.unique(first)) == {0, 1 + made.things[0].kind}
    assert set(np.unique(second)) == {0, 1 + made.things[1].kind}
    assert np.abs(before.astype(int) - after).mean() < 1


def test_a_silent_scene_has_empty_masks_and_nearly_no_sound():
    made = scene(0, size=SIZE, rules=Rules(silence=1, offscreen=0, noise=0))
    assert not made.frame(2.5)[1].any()
    assert np.abs(made.waveform()).max() < 0.01


def test_a_kind_that_is_only_heard_labels_nothing():
    made = scene(0, size=SIZE, rules=Rules(silence=1, offscreen=1, noise=0), seconds=10)
    assert not any(made.frame(second + 0.5)[1].any() for second in range(10))
    assert np.abs(made.waveform()).max() > 0.05


def test_a_scene_never_holds_a_kind_twice():
    kinds = [
        [t.kind for t in scene(seed, rules=Rules(visible=(3, 3), offscreen=1, lookalikes=0.5)).things]
        for seed in range(50)
    ]
    assert all(len(set(k)) == 4 for k in kinds)


def test_lookalikes_share_their_colour_but_not_their_kind():
    made = scene(5, rules=Rules(visible=(2, 2), lookalikes=1, offscreen=0))
    first, second = made.things
    assert (first.kind ^ 1, first.hue, first.radius) == (second.kind, second.hue, second.radius)


def test_what_is_in_front_hides_what_is_behind():
    made = scene(1, size=SIZE, rules=Rules(visible=(2, 2), offscreen=0))
    behind, front = (
        replace(t, home=(0.5, 0.5), swing=(0.0, 0.0), kind=k) for t, k in zip(made.things, (0, 2), strict=True)
    )
    apart = replace(made, things=(replace(behind, home=(0.2, 0.5)), front), sounding=np.array([[True, False]]))
    hidden = replace(made, things=(behind, front), sounding=np.array([[True, False]]))
    assert 0 <= hidden.frame(0)[1].sum() < apart.frame(0)[1].sum()


def test_the_binary_mask_is_where_the_classes_are_not_background():
    _, mask, classes = scene(2, size=SIZE).frame(0.5)
    assert np.array_equal(mask, classes > 0)


def test_semantic_masks_hold_the_kinds():
    data = clips(kind="semantic")
    seen = torch.cat([data[i].masks.unique() for i in range(20)]).unique()
    assert 0 in seen
    assert 3 < seen.max() <= len(KINDS)


def test_all_kinds_sound_equally_often():
    counts = np.zeros(len(KINDS))
    for seed in range(1500):
        made = scene(seed, size=(16, 16))
        for thing, seconds in zip(made.things, made.sounding.T, strict=True):
            counts[thing.kind] += seconds.sum()
    assert counts.min() > 0.8 * counts.mean()


def test_the_order_of_things_does_not_tell_which_one_sounds():
    sounding = np.mean(
        [scene(seed, rules=Rules(visible=(2, 2), offscreen=0)).sounding.mean(axis=0) for seed in range(800)], axis=0
    )
    np.testing.assert_allclose(sounding[0], sounding[1], atol=0.05)


def test_things_are_moderately_large():
    made = [scene(seed, size=(64, 64), rules=Rules(visible=(1, 1), silence=0)) for seed in range(40)]
    shares = [m.frame(0.5)[1].mean() for m in made]
    assert min(shares) > 0.004
    assert max(shares) < 0.15


@pytest.mark.parametrize("wrong", [{"visible": (0, 2)}, {"visible": (3, 2)}, {"visible": (2, 10)}, {"noise": 1.5}])
def test_rules_that_no_scene_can_follow_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rules(**wrong)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"kind": "s4"}, {"split": "all"}])
def test_a_data_set_of_an_unknown_sort_is_refused(wrong):
    with pytest.raises(ValueError, match="Synthetic scenes"):
        clips(**wrong)


def test_a_clip_beyond_the_end_is_an_index_error():
    with pytest.raises(IndexError):
        clips()[20]


@pytest.mark.parametrize("wrong", [{"size": (8, 64)}, {"seconds": 0}])
def test_a_scene_without_room_or_time_is_refused(wrong):
    with pytest.raises(ValueError, match="A scene"):
        scene(0, **wrong)
