import numpy as np
import pytest

from sonomask.media.reader import VideoReader
from sonomask.media.windows import windows


def test_fresh_seconds_together_are_the_whole_video(make_video, numbers):
    with VideoReader(make_video("windows.mp4", seconds=7)) as reader:
        cut = list(windows(reader, rate="native", seconds=3))
        fresh = [f for w in cut for second in w.frames[-w.fresh :] for f in second]
        assert numbers(fresh) == numbers(reader.frames())
    assert [(w.first, w.fresh) for w in cut] == [(0, 3), (3, 3), (4, 1)]


def test_the_sound_reaches_a_second_beyond_both_ends(make_video):
    with VideoReader(make_video("around.mkv", seconds=6, audio_codec="pcm_s16le")) as reader:
        track = np.concatenate([np.zeros(16_000), *reader.waveform(), np.zeros(32_000)])
        for window in windows(reader, rate=1.0, seconds=2):
            at = (window.first - 1) * 16_000 + 16_000
            np.testing.assert_array_equal(window.waveform, track[at : at + 4 * 16_000].astype(np.float32))
            assert window.waveform_start == window.first - 1


def test_a_short_video_is_filled_with_its_last_second(make_video, numbers):
    with VideoReader(make_video("short.mp4", seconds=2)) as reader:
        (window,) = windows(reader, rate=1.0, seconds=5)
    assert (window.fresh, window.repeated) == (2, 3)
    assert numbers(frames[0] for frames in window.frames) == [23, 48, 48, 48, 48]


def test_a_last_second_counts_if_a_frame_falls_into_it(make_video, numbers):
    with VideoReader(make_video("bit.mp4", seconds=2.2, tone=None)) as reader:
        (window,) = windows(reader, rate=1.0, seconds=3)
    assert numbers(frames[0] for frames in window.frames) == [23, 48, 54]
    assert window.waveform is None


def test_a_second_without_a_new_frame_shows_the_one_on_screen(make_video, numbers):
    with VideoReader(make_video("slides.mkv", times=[0, 0.5, 3.5], seconds=4, tone=None)) as reader:
        (window,) = windows(reader, rate="native", seconds=4)
    assert [numbers(frames) for frames in window.frames] == [[0, 1], [1], [1], [2]]


def test_seconds_are_counted_over_a_long_video_as_avsbench_counts(make_video):
    with VideoReader(make_video("count.mp4", seconds=5)) as reader:
        assert [w.first for w in windows(reader, rate="avsbench", seconds=5)] == [0]


def test_an_unknown_rate_is_refused(make_video):
    with VideoReader(make_video("count.mp4", seconds=5)) as reader, pytest.raises(ValueError, match="rate"):
        list(windows(reader, rate=-1))


@pytest.mark.parametrize(("seconds", "final"), [(3, [True]), (5, [True]), (7, [False, True]), (10, [False, True])])
def test_the_last_window_says_so(make_video, seconds, final):
    with VideoReader(make_video(f"final{seconds}.mp4", seconds=seconds, size=(16, 32))) as reader:
        assert [window.final for window in windows(reader)] == final
