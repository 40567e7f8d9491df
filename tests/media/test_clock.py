from sonomask.media.clock import FrameClock


def times(stamps, gap=600.0):
    clock = FrameClock("video", gap, warnings := [])
    return [clock.at(stamp, 0.04) for stamp in stamps], warnings


def test_times_that_go_forward_are_kept():
    assert times([0.0, 0.04, 5.0]) == ([0.0, 0.04, 5.0], [])


def test_a_frame_that_is_not_after_the_one_before_is_left_out():
    assert times([0.0, 0.5, 0.5, 0.2, 0.6])[0] == [0.0, 0.5, None, None, 0.6]


def test_a_clock_that_begins_again_is_joined_on():
    got, warnings = times([10.0, 10.04, 0.0, 0.04])
    assert [round(t, 2) for t in got] == [10.0, 10.04, 10.08, 10.12]
    assert len(warnings) == 1
    assert "leaps at 10.1 s" in warnings[0]


def test_a_leap_of_years_is_joined_on():
    assert [round(t, 2) for t in times([0.0, 1e9, 1e9 + 1])[0]] == [0.0, 0.04, 1.04]


def test_a_frame_before_the_beginning_is_cut_away():
    assert times([-1.0, 0.0])[0] == [None, 0.0]


def test_frames_without_a_time_follow_one_another():
    assert [round(t, 2) for t in times([None, None, None])[0]] == [0.0, 0.04, 0.08]


def test_reading_that_begins_in_the_middle_keeps_its_times():
    assert FrameClock("video", 600.0, [], start=5000.0).at(4999.5, 0.04) == 4999.5
