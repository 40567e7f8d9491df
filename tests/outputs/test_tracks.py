import numpy as np
import pytest

from sonomask.outputs.tracks import Tracker

SIZE = (40, 80)


def frame(*boxes, label=1):
    """Squares of 10 pixels whose left upper corners are given."""
    labels = np.zeros(SIZE, np.uint8)
    for top, left in boxes:
        labels[top : top + 10, left : left + 10] = label
    return labels


def run(frames, **options):
    """{(top, left): id} of each frame."""
    tracker = Tracker(**options)
    return [{r.box[:2]: r.id for r in tracker.update(t / 5, labels)} for t, labels in enumerate(frames)]


def test_a_moving_thing_keeps_its_id():
    assert run([frame((5, x)) for x in range(0, 30, 3)]) == [{(5, x): 1} for x in range(0, 30, 3)]


def test_two_things_have_two_ids_that_follow_them():
    ids = run([frame((2, 3 * t), (25, 60 - 3 * t)) for t in range(5)])
    assert ids == [{(2, 3 * t): 1, (25, 60 - 3 * t): 2} for t in range(5)]


def test_a_standing_thing_gets_its_id_back_when_another_has_passed_before_it():
    ids = run([frame((10, 40), (14, x)) for x in range(10, 70, 4)])
    assert ids[0] == {(14, 10): 2, (10, 40): 1} or ids[0] == {(14, 10): 1, (10, 40): 2}
    assert any(len(now) == 1 for now in ids)
    assert ids[-1][(10, 40)] == ids[0][(10, 40)]
    assert ids[-1][(14, 66)] == ids[0][(14, 10)]


def test_two_things_that_meet_and_part_keep_the_two_ids():
    ids = run([frame((10, 4 * t), (14, 60 - 4 * t)) for t in range(16)])
    assert any(len(now) == 1 for now in ids)
    assert set(ids[-1].values()) == set(ids[0].values()) == {1, 2}


def test_a_thing_that_vanishes_for_a_moment_comes_back_as_itself():
    assert run([frame((5, 5)), frame(), frame(), frame((5, 7))])[-1] == {(5, 7): 1}


def test_a_thing_that_vanishes_for_longer_than_the_memory_is_a_new_one():
    assert run([frame((5, 5)), frame(), frame(), frame((5, 7))], memory=0.4)[-1] == {(5, 7): 2}


def test_an_id_is_never_used_again():
    ids = run([frame((5, 5)), frame((25, 60)), frame((5, 30))], memory=0)
    assert [list(now.values()) for now in ids] == [[1], [2], [3]]


def test_the_larger_part_of_what_splits_keeps_the_id():
    whole = np.zeros(SIZE, np.uint8)
    whole[10:20, 10:50] = 1
    parts = whole.copy()
    parts[:, 22:24] = 0
    assert run([whole, parts]) == [{(10, 10): 1}, {(10, 24): 1, (10, 10): 2}]


def test_another_class_in_the_same_place_is_another_thing():
    assert run([frame((5, 5), label=3), frame((5, 5), label=4)], memory=0) == [{(5, 5): 1}, {(5, 5): 2}]


def test_corners_connect_and_specks_are_left_out():
    labels = np.zeros(SIZE, np.uint8)
    labels[0:10, 0:10] = labels[10:20, 10:20] = labels[30, 70] = 1
    (region,) = Tracker().update(0, labels)
    assert region.box == (0, 0, 20, 20)
    np.testing.assert_array_equal(region.whole(SIZE), labels.astype(bool) & (np.arange(80) < 70))


def test_the_score_is_the_mean_probability_of_the_pixels():
    probability = np.where(frame((5, 5)) > 0, 0.8, 0.1).astype(np.float32)
    (region,) = Tracker().update(0, frame((5, 5)), probability)
    assert region.score == pytest.approx(0.8)


def test_a_full_frame_is_one_region_and_an_empty_one_none():
    tracker = Tracker()
    assert [r.area for r in tracker.update(0, np.ones(SIZE, bool))] == [3200]
    assert tracker.update(1, np.zeros(SIZE, bool)) == ()


def test_another_size_is_refused():
    tracker = Tracker()
    tracker.update(0, frame())
    with pytest.raises(ValueError, match="labels"):
        tracker.update(1, np.zeros((3, 3), np.uint8))


def test_regions_are_those_of_scipy_in_its_order():
    ndimage = pytest.importorskip("scipy.ndimage")
    draw = np.random.default_rng(0)
    for density in (0.1, 0.4, 0.6):
        labels = (draw.random((40, 60)) < density).astype(np.uint8)
        numbered, _ = ndimage.label(labels, np.ones((3, 3)))
        truth = [(s[0].start, s[1].start, s[0].stop, s[1].stop) for s in ndimage.find_objects(numbered)]
        found = Tracker(min_area=0).update(0.0, labels)
        assert [region.box for region in found] == truth
        assert [region.area for region in found] == np.bincount(numbered.ravel())[1:].tolist()


RED, BLUE, GREEN = (200, 30, 30), (30, 30, 200), (30, 180, 30)


def picture(*things, ground=(90, 90, 90)):
    """A small colour picture at half the size, and the mask: squares of 10 pixels as (top, left, colour)."""
    colours = np.full((SIZE[0] // 2, SIZE[1] // 2, 3), ground, np.uint8)
    for top, left, colour in things:
        colours[top // 2 : top // 2 + 5, left // 2 : left // 2 + 5] = colour
    return frame(*((top, left) for top, left, _ in things)), colours


def watched(frames, tracker=None, step=0.2):
    tracker = tracker or Tracker()
    return [
        {r.box[:2]: r.id for r in tracker.update(step * t, mask, None, colours)}
        for t, (mask, colours) in enumerate(frames)
    ]


def test_what_falls_silent_is_itself_when_it_sounds_again_elsewhere():
    silent = [picture()] * 20
    ids = watched([picture((5, 5, RED)), *silent, picture((20, 30, RED)), *silent, picture((5, 60, BLUE))])
    assert ids[21] == {(20, 30): 1}
    assert ids[-1] == {(5, 60): 2}


def test_another_thing_at_the_place_of_one_that_fell_silent_is_another():
    ids = watched([picture((5, 5, RED)), *[picture()] * 10, picture((5, 5, BLUE)), picture((5, 5, BLUE))])
    assert ids[-1] == {(5, 5): 2}


def test_things_that_cross_are_told_by_their_looks():
    """They meet, turn back and part, which motion alone takes for a crossing."""
    way = [4 * min(t, 14 - t) for t in range(15)]
    ids = watched([picture((10, x, RED), (14, 60 - x, BLUE)) for x in way])
    assert any(len(now) == 1 for now in ids)
    assert ids[-1] == ids[0]


def test_a_cut_ends_all_tracks():
    shots = [picture((5, 5, RED)), picture((5, 5, RED)), picture((5, 5, RED), ground=(250, 240, 20))]
    assert [list(now.values()) for now in watched(shots)] == [[1], [1], [2]]


def test_a_moving_camera_is_no_cut():
    draw = np.random.default_rng(0)
    wide = np.repeat(np.repeat(draw.integers(0, 255, (5, 20, 3), np.uint8), 4, 0), 4, 1)
    frames = [(frame((5, 5)), wide[:, x : x + 40]) for x in range(0, 24, 4)]
    assert {number for now in watched(frames) for number in now.values()} == {1}


def test_ten_minutes_of_flicker_leave_no_more_tracks_than_are_waited_for():
    draw, tracker = np.random.default_rng(0), Tracker()
    most = 0
    for t in range(600):
        labels = (draw.random((6, 10)) < 0.3).astype(np.uint8).repeat(5, 0).repeat(5, 1)
        tracker.update(float(t), labels)
        most = max(most, len(tracker.lost) + len(tracker.seen))
    assert most < 300


def test_the_ids_of_synthetic_things_hold():
    """By the figure that `benchmarks/tracks.py` gives."""
    tracks = pytest.importorskip("tracks")
    pytest.importorskip("trackeval")
    from sonomask.data.drawn.world import scene

    rows = [tracks.follow(scene((seed, 5), size=(96, 96), seconds=6), 5.0) for seed in range(4)]
    assert np.mean([tracks.hota(one)["HOTA"].mean() for one in rows]) > 0.8
    kept = [tracks.kept(tracks.follow(tracks.crossing(seed, (96, 96)), 5.0)) for seed in range(6)]
    assert kept.count(False) == 0
    assert kept.count(True) >= 4


def follow(*frames):
    """The ids of rows of pixels that belong to the things of these numbers, frame by frame."""
    tracker, found = Tracker(), []
    for t, numbers in enumerate(frames):
        things = np.zeros(SIZE, np.int32)
        for place, number in enumerate(numbers):
            things[5 + 10 * place : 15 + 10 * place, 10:40] = number
        regions = tracker.update(t / 5, things > 0, things=things)
        found.append([next((r.id for r in regions if r.box[0] == 5 + 10 * place), 0) for place in range(len(numbers))])
    return found


def test_what_the_model_follows_keeps_its_id_though_things_touch_and_change_places():
    assert follow([9, 4], [9, 4], [4, 9], [4], [4, 9]) == [[2, 1], [2, 1], [1, 2], [1], [1, 2]]


def test_what_the_model_newly_finds_where_a_thing_was_lost_is_taken_for_that_thing_and_no_id_is_given_twice():
    assert follow([9], [], [5]) == [[1], [], [1]]
    assert follow([9], [5], [5, 9]) == [[1], [1], [1, 2]]


def test_a_followed_thing_in_parts_is_one_region():
    things = np.zeros(SIZE, np.int32)
    things[5:15, 5:15] = things[5:15, 30:40] = 3
    (region,) = Tracker().update(0.0, things > 0, things=things)
    assert (region.box, region.area) == ((5, 5, 15, 40), 200)
