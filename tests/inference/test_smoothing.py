"""Masks that are steadied: less flicker, no onset later, nothing kept over a cut."""

import cv2
import numpy as np
import pytest

from sonomask.inference.finish import Maps
from sonomask.inference.smoothing import Smoother, appearing
from sonomask.media.motion import carried, grey, motion
from sonomask.metrics.flicker import flicker, steady

SIZE = (96, 128)
RATE = 5.0


def texture(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (SIZE[0] // 4, SIZE[1] // 4, 3), np.uint8)
    return cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def moved(image, right):
    return np.roll(image, right, axis=1)


def blob(left, top=30, high=2.0, side=30):
    scores = np.full(SIZE, -3.0, np.float32)
    scores[top : top + side, left : left + side] = high
    return scores


def run(scores, images, seconds=0.4, rate=RATE):
    smoother = Smoother(seconds)
    return np.stack(
        [smoother(i / rate, im, Maps(s[None])).scores[0] for i, (s, im) in enumerate(zip(scores, images, strict=True))]
    )


def test_what_is_known_of_a_place_moves_with_the_picture():
    before, now = texture(1), moved(texture(1), 5)
    way = motion(grey(now), grey(before))
    assert np.abs(np.median(way[20:-20, 20:-20, 0]) + 5) < 0.5
    mask = carried(blob(40), way) > 0
    there = blob(45) > 0
    assert (mask & there).sum() / (mask | there).sum() > 0.9


def test_flow_does_not_depend_on_the_number_of_threads():
    pictures, threads = [grey(moved(texture(2), n)) for n in (0, 7)], cv2.getNumThreads()
    try:
        found = []
        for number in (1, 2, 7):
            cv2.setNumThreads(number)
            found.append(motion(*pictures))
    finally:
        cv2.setNumThreads(threads)
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_smoothing_lowers_flicker_of_a_moving_thing():
    rng = np.random.default_rng(0)
    images = [moved(texture(3), 2 * i) for i in range(12)]
    scores = [
        blob(20 + 2 * i) + cv2.GaussianBlur(rng.normal(0, 12, SIZE).astype(np.float32), (0, 0), 2) for i in range(12)
    ]
    pictures, still = np.stack([grey(im) for im in images]), np.ones(11, bool)
    raw, calm = (flicker(run(scores, images, s) > 0, pictures, still) for s in (0.0, 0.4))
    assert calm < 0.6 * raw


def test_no_onset_is_delayed_and_a_second_thing_appears_at_once():
    images = [texture(4)] * 8
    scores = [np.full(SIZE, -4.0, np.float32)] * 3 + [blob(10, side=20)] * 2
    scores += [np.maximum(blob(10, side=20), blob(90, side=20))] * 3
    found = run(scores, images, 2.0, rate=25) > 0
    assert [bool(mask.any()) for mask in found] == [False] * 3 + [True] * 5
    assert [bool(mask[:, 85:].any()) for mask in found] == [False] * 5 + [True] * 3
    assert np.array_equal(found[3], scores[3] > 0)
    assert np.array_equal(found[5], scores[5] > 0)


def test_a_speck_beside_a_mask_does_not_count_as_something_new():
    before, now = blob(20) > 0, blob(20) > 0
    now[80:83, 110:113] = True
    assert not appearing(now, before).any()
    now[60:90, 90:120] = True
    assert appearing(now, before)[75, 105]


def test_nothing_is_kept_over_a_cut():
    scores, images = [blob(20), blob(80)], [texture(5), texture(6)]
    assert np.array_equal(run(scores, images)[1], scores[1].clip(-4, 4))


@pytest.mark.parametrize(("seconds", "rate"), [(0.0, 5.0), (0.4, 1.0)])
def test_masks_far_apart_are_the_models_own(seconds, rate):
    scores, images = [blob(20), blob(23), blob(26)], [texture(5)] * 3
    assert np.array_equal(run(scores, images, seconds, rate), np.stack(scores))


def test_maps_of_a_semantic_model_stay_as_they_are():
    smoother, maps = Smoother(0.4), Maps(np.zeros((2, *SIZE), np.float32), np.array([0, 3], np.uint8))
    assert all(smoother(time, texture(1), maps) is maps for time in (0.0, 0.2))


def test_flicker_counts_steady_pairs_only():
    mask = blob(40) > 0
    masks, pictures = np.stack([mask, mask, ~mask, ~mask]), np.stack([grey(texture(7))] * 4)
    assert flicker(masks, pictures, np.array([True, False, True])) == pytest.approx(0, abs=1e-3)
    assert flicker(masks, pictures, np.array([False, True, False])) > 0.9
    assert np.isnan(flicker(np.zeros_like(masks), pictures, np.ones(3, bool)))


def test_sound_is_steady_but_where_it_begins():
    rng = np.random.default_rng(1)
    wave = np.concatenate([np.zeros(32_000), rng.normal(0, 0.3, 48_000)]).astype(np.float32)
    found = steady(wave, [0.6, 0.8, 1.9, 2.1, 3.2, 3.4])
    assert found.tolist()[::2] == [True, False, True]
