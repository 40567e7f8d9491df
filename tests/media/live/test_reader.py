"""Reading a live source: times, clocks, limits."""

import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.media.live.reader import Epoch, LivePicture, LiveReader, LiveSound, StreamClock
from sonomask.media.live.source import LiveSource, parse_source
from sonomask.media.reader import Limits, VideoReader


def test_time_begins_with_the_source_and_runs_with_its_stamps():
    line = StreamClock(Epoch(), origin=100.0)
    assert [line.place(stamp, 7.0 + i) for i, stamp in enumerate((100.5, 101.5, 102.5))] == [0.5, 1.5, 2.5]
    assert line.epoch.moment == 6.5


def test_the_packet_that_was_delayed_least_tells_when_a_picture_was_captured():
    line = StreamClock(Epoch())
    for stamp, late in ((0, 0.4), (1, 0.1), (2, 0.3), (3, 0.5)):
        line.place(stamp, 50 + stamp + late)
    assert line.captured(3.0) == pytest.approx(53.1)


def test_what_the_offset_was_long_ago_is_forgotten():
    line = StreamClock(Epoch())
    for stamp in range(200):
        line.place(stamp, stamp + (0.0 if stamp < 10 else 0.5))
    assert line.captured(199.0) == pytest.approx(199.5)


def test_a_camera_that_counts_anew_goes_on_in_time():
    line = StreamClock(Epoch())
    line.place(5000.0, 10.0)
    assert line.place(0.0, 10.5) == pytest.approx(0.5)
    assert line.place(1.0, 11.5) == pytest.approx(1.5)
    assert line.captured(1.5) == pytest.approx(11.5)


def test_a_file_with_a_long_pause_keeps_its_own_times():
    line = StreamClock(Epoch(), origin=0.0, jumps=False)
    line.place(0.0, 10.0)
    assert line.place(60.0, 10.1) == 60.0


def test_a_second_source_is_placed_by_when_it_comes():
    epoch = Epoch()
    StreamClock(epoch).place(1000.0, 20.0)
    assert StreamClock(epoch, origin=3.0).place(3.0, 22.0) == pytest.approx(2.0)


def test_a_file_gives_the_pictures_and_the_sound_of_the_video_reader(make_video):
    path = make_video("live.mp4", seconds=3)
    with LiveReader(parse_source(str(path))) as live:
        items = list(live)
    pictures = [item for item in items if isinstance(item, LivePicture)]
    with VideoReader(path) as reader:
        frames, track = list(reader.frames()), np.concatenate(list(reader.waveform()))
    assert [p.time for p in pictures] == [f.time for f in frames]
    np.testing.assert_array_equal(pictures[7].image(), frames[7].image)
    sounds = [item for item in items if isinstance(item, LiveSound)]
    start = sounds[0].time
    heard = np.concatenate([s.samples for s in sounds])
    assert abs(start) < 0.03
    np.testing.assert_array_equal(heard, track[: len(heard)])


def test_a_picture_is_made_at_the_size_that_is_asked_for(make_video):
    with LiveReader(parse_source(str(make_video()))) as live:
        picture = next(item for item in live if isinstance(item, LivePicture))
    assert picture.size == (64, 96)
    assert picture.image((32, 40)).shape == (32, 40, 3)


def test_a_frame_beyond_the_limit_is_refused(make_video):
    with pytest.raises(MediaError, match="limit"):
        LiveReader(parse_source(str(make_video())), limits=Limits(pixels=100))


def test_a_reader_that_is_late_decodes_whole_pictures_only_until_it_has_caught_up(make_video):
    path = make_video("keys.mp4", seconds=4, options={"g": "10", "bf": "0"})
    clock = [0.0]

    def now():
        clock[0] += 0.001  # nothing is waited for
        return clock[0]

    with LiveReader(parse_source(str(path)), now=now) as live:
        live.finite = False
        times = []
        for item in live:
            clock[0] += (
                0.04 if len(times) < 30 else 0.4
            )  # what is done with a picture; in time, then ten times too slow
            if isinstance(item, LivePicture):
                times.append(item.time)
    assert live.left_out > 20
    assert len(times) + live.left_out == 100


def test_a_device_is_read_like_any_source():
    source = LiveSource("test picture", "testsrc=size=64x48:rate=10:duration=0.5", "device", "lavfi")
    with LiveReader(source) as live:
        assert sum(isinstance(item, LivePicture) for item in live) == 5
