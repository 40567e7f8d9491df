"""The newest picture with its sound, in bounded memory."""

from types import SimpleNamespace

import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.live import feed as feed_module
from sonomask.live.feed import Feed, SoundRing
from sonomask.media.live.reader import LivePicture, LiveSound


def picture(time, size=(10, 10)):
    return LivePicture(time, size, SimpleNamespace(width=size[1], height=size[0]))


def ramp(start, count):
    return np.arange(start, start + count, dtype=np.float32)


def times(feed):
    return [one.picture.time for one in feed.waiting]


def test_the_ring_gives_back_the_sound_of_any_stretch_that_it_holds():
    ring = SoundRing(1.0)
    for start in range(0, 40_000, 700):
        ring.put(LiveSound(start / 16_000, ramp(start, 700)))
    np.testing.assert_array_equal(ring.between(2.0, 2.4), ramp(32_000, 6400))


def test_outside_of_what_it_holds_the_ring_is_silent():
    ring = SoundRing(1.0)
    ring.put(LiveSound(5.0, np.ones(1600, np.float32)))
    heard = ring.between(4.9, 5.2)
    assert heard.tolist() == [0] * 1600 + [1] * 1600 + [0] * 1600


def test_a_gap_in_the_sound_is_silence_and_an_overlap_is_heard_once():
    ring = SoundRing(2.0)
    ring.put(LiveSound(0.0, ramp(0, 1600)))
    ring.put(LiveSound(0.3, ramp(4800, 3200)))
    ring.put(LiveSound(0.4, ramp(6400, 3200)))
    expected = np.concatenate([ramp(0, 1600), np.zeros(3200), ramp(4800, 4800)])
    np.testing.assert_array_equal(ring.between(0, 0.6), expected)


def test_a_gap_longer_than_the_ring_costs_no_memory():
    ring = SoundRing(1.0)
    ring.put(LiveSound(0.0, np.ones(1600, np.float32)))
    ring.put(LiveSound(1e6, np.ones(1600, np.float32)))
    assert ring.end == pytest.approx(1e6 + 0.1)
    assert ring.between(1e6 - 0.5, 1e6).max() == 0


def test_the_newest_picture_is_taken_and_those_before_are_left_out(clock):
    feed = Feed(clock.now, listens=False)
    for i in range(5):
        feed.picture(picture(i / 10), captured=i / 10)
    assert feed.take(timeout=0).picture.time == 0.4
    assert feed.take(timeout=0) is None
    assert (feed.came, feed.taken) == (5, 1)


def test_a_picture_waits_for_its_sound(clock):
    feed = Feed(clock.now, listens=True, ahead=0.5)
    feed.picture(picture(0.0), captured=0.0)
    feed.picture(picture(0.4), captured=0.4)
    feed.sound(LiveSound(0.0, np.zeros(9600, np.float32)))  # up to 0.6 s: enough for the first only
    assert feed.take(timeout=0).picture.time == 0.0
    assert feed.take(timeout=0) is None
    feed.sound(LiveSound(0.6, np.zeros(9600, np.float32)))
    assert feed.take(timeout=0).picture.time == 0.4


def test_a_picture_whose_sound_does_not_come_goes_on_without_and_is_counted(clock):
    feed = Feed(clock.now, listens=True, ahead=0.5)
    feed.picture(picture(0.0), captured=0.0)
    assert feed.take(timeout=0) is None
    clock.time = 1.6
    assert feed.take(timeout=0).picture.time == 0.0
    assert feed.unheard == 1


def test_no_picture_is_taken_before_its_time(clock):
    feed = Feed(clock.now, listens=False)
    feed.picture(picture(1.0), captured=1.0)
    assert feed.take(after=1.5, timeout=0) is None
    feed.picture(picture(1.6), captured=1.6)
    assert feed.take(after=1.5, timeout=0).picture.time == 1.6


def test_pictures_that_go_back_in_time_are_left_out(clock):
    feed = Feed(clock.now, listens=False)
    for time in (1.0, 0.5, 1.0, 1.1):
        feed.picture(picture(time), captured=time)
    assert times(feed) == [1.0, 1.1]


def test_what_waits_is_bounded_in_bytes_and_count_and_spans_the_whole_stretch(clock, monkeypatch):
    monkeypatch.setattr(feed_module, "BYTES", 1000 * 1000 * 3 // 2 * 10)
    feed = Feed(clock.now, listens=True)
    for i in range(100):
        feed.picture(picture(float(i), (1000, 1000)), captured=0.0)
        assert len(feed.waiting) <= 10
    assert times(feed)[-1] == 99
    small = Feed(clock.now, listens=True)
    for i in range(1000):
        small.picture(picture(float(i)), captured=0.0)
    assert len(small.waiting) <= feed_module.COUNT


def test_at_the_end_what_is_left_is_taken_and_then_the_reason_raised(clock):
    feed = Feed(clock.now, listens=True, ahead=0.5)
    feed.picture(picture(0.0), captured=0.0)
    feed.end(MediaError("lost"))
    assert feed.take(timeout=0).picture.time == 0.0
    with pytest.raises(MediaError, match="lost"):
        feed.take(timeout=0)
