"""Clocks of ordinary but odd files: pictures that stand, joined recordings, times that lie, parts of a long video."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from sonomask.media.clock import FrameClock, Joins, Stamps
from sonomask.media.reader import VideoReader
from sonomask.media.sandbox.reader import SandboxedReader
from sonomask.media.windows import windows


def counted(index, _=None, height=96, width=128):
    """A picture that tells its number by sixteen grey bars, dark or bright."""
    bits = [255 * (index >> i & 1) for i in range(16)]
    return np.broadcast_to(np.repeat(bits, width // 16)[None, :, None], (height, width, 3)).astype(np.uint8).copy()


def number(image):
    return sum(1 << i for i, bar in enumerate(np.array_split(image.mean((0, 2)), 16)) if bar[1:-1].mean() > 128)


def numbers(frames):
    return [number(frame.image) for frame in frames]


def runs(values):
    return [(value, sum(1 for _ in group)) for value, group in itertools.groupby(values)]


@pytest.mark.parametrize("name", ["held.mkv", "held.mp4"])
def test_a_picture_stands_until_the_next_and_the_last_until_the_sound_ends(build, name):
    path = build(name, times=[0, 0.1, 4.1, 4.2], seconds=8.9, paint=counted)
    for kind in (VideoReader, SandboxedReader):
        with kind(path) as reader:
            assert numbers(reader.frames()) == [0, 1, 2, 3]
            frames = list(reader.frames(again=True))
            seen = runs(numbers(frames))
            assert seen == [(0, 1), (1, 20), (2, 1), (3, seen[-1][1])]
            assert seen[-1][1] in (23, 24)
            assert max(np.diff([frame.time for frame in frames])) <= 0.2001
            assert numbers(reader.frames(1.0)) == [1, 1, 1, 1, 3, 3, 3, 3, 3]
            assert not reader.warnings


def test_one_picture_and_a_minute_of_music(build):
    path = build("still.mp4", times=[0.0], seconds=60.0, durations=[0.04], paint=counted)
    with VideoReader(path) as reader:
        assert len(list(reader.frames(1.0))) == 60
        assert len(list(reader.frames(again=True))) == pytest.approx(300, abs=2)
        assert [
            frame.second for window in windows(reader, rate="native") for second in window.frames for frame in second
        ][:60] == [*range(60)]


def test_a_sound_that_is_a_little_longer_adds_nothing(build):
    with VideoReader(build("pad.mp4", seconds=2.0, sounds=[(build.tone(2.1), {})])) as reader:
        assert len(list(reader.frames(again=True))) == 50
        assert len(list(reader.frames(1.0))) == 2


@pytest.mark.parametrize("fps", [3, 4, 12])
def test_the_usual_distance_of_frames_is_no_standing(build, fps):
    with VideoReader(build("few.mp4", fps=Fraction(fps), seconds=3.0)) as reader:
        assert len(list(reader.frames(again=True))) == 3 * fps


def test_a_slide_of_more_than_ten_minutes_is_no_leap_of_the_clock(build):
    words = {"codec": "pcm_s16le", "rate": 8000}
    path = build("slide.mkv", times=[0, 0.5, 1.0, 701.0, 701.5], paint=counted, sounds=[(build.tone(702, 8000), words)])
    with VideoReader(path) as reader:
        frames = list(reader.frames(0.1))
        assert not reader.warnings
    assert runs(numbers(frames)) == [(2, 70), (4, 1)]


def test_a_leap_that_the_sound_does_not_know_of_is_joined_on(build):
    path = build("leap.mkv", times=[0, 0.5, 1.0, 701.0, 701.5], paint=counted, sounds=[(build.tone(1.5), {})])
    with VideoReader(path) as reader:
        frames = list(reader.frames(1.0))
        assert any("leaps" in line for line in reader.warnings)
    assert len(frames) < 10


def joined(build, name, pieces=3, seconds=2.0, **more):
    first = build(f"piece-{name}", seconds=seconds, paint=counted, **more)
    path = first.with_name(name)
    path.write_bytes(first.read_bytes() * pieces)
    return path


JOINED = {
    "aac.ts": {"sounds": ((None, {"rate": 48_000}),)},
    "mp2.ts": {"sounds": ((None, {"codec": "mp2", "rate": 48_000}),)},
    "mp2.mpg": {"codec": "mpeg2video", "options": {"b": "4M"}, "sounds": ((None, {"codec": "mp2", "rate": 48_000}),)},
    "vorbis.ogg": {"codec": "libvpx", "options": {"b": "2M", "deadline": "realtime", "cpu-used": "8"},
                   "sounds": ((None, {"codec": "libopus", "rate": 48_000}),), "container": "ogg"},
}  # fmt: skip


@pytest.mark.parametrize("name", JOINED)
def test_sound_and_length_of_joined_recordings_follow_the_pictures(build, name):
    path = joined(build, name, **JOINED[name])
    with VideoReader(path) as reader:
        assert reader.info.joined
        assert reader.info.duration == pytest.approx(6.0, abs=0.25)
        frames = list(reader.frames())
        heard = np.concatenate(list(reader.waveform()))
    assert len(frames) >= 147
    assert frames[-1].time == pytest.approx(reader.info.duration, abs=0.15)
    assert len(heard) / 16_000 == pytest.approx(reader.info.duration, abs=0.15)
    loud = np.abs(heard).reshape(-1)[: len(heard) // 1600 * 1600].reshape(-1, 1600).max(1) > 0.1
    assert loud.mean() > 0.9  # it sounds in all three


def test_sound_and_picture_stay_together_over_many_joins():
    joins, sound, picture = Joins(600.0), [], []
    for piece in range(100):
        picture += [joins.place(0, 1.4 + i / 25, 1 / 25) - 2 * piece for i in range(50)]
        sound += [joins.place(1, 1.39 + i * 0.0213, 0.0213) - 2 * piece for i in range(95)]
    apart = np.array(picture[::50]) - np.array(sound[::95])
    assert np.abs(apart - 0.01).max() < 1e-9


def test_pictures_of_an_avi_come_in_order_with_b_frames(build):
    path = build("b.avi", seconds=4.0, bframes=3, paint=counted, options={"crf": "5", "bf": "3", "b-adapt": "0"},
                 sounds=[(None, {"codec": "libmp3lame", "rate": 44_100})])  # fmt: skip
    with VideoReader(path) as reader:
        frames = list(reader.frames())
        assert numbers(frames) == list(range(100))
        assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(100)])
        assert not reader.warnings
        assert numbers(reader.frames(start=2.0, stop=2.2)) == list(range(50, 55))


def test_decoding_times_are_taken_where_presentation_times_go_back():
    stamps = Stamps(decoding=True)
    for dts in range(4):
        stamps.packet(type("P", (), {"pts": None, "dts": dts, "duration": 1}))
    assert [stamps.choose(p, d) for p, d in [(1, 2), (4, 3), (3, 4), (2, 5)]] == [0, 1, 2, 3]
    assert stamps.end == 4


@pytest.mark.parametrize("fps", [30, Fraction(30000, 1001), 60, 24])
def test_the_first_frame_of_a_stream_whose_start_was_rounded_is_kept(build, fps):
    path = build("first.ts", fps=Fraction(fps), seconds=1.0, paint=counted,
                 sounds=[(build.tone(0.5), {"codec": "mp2", "rate": 48_000, "offset": 0.5})])  # fmt: skip
    with VideoReader(path) as reader:
        assert numbers(reader.frames(stop=0.2))[:5] == [0, 1, 2, 3, 4]
        assert not reader.warnings


def test_a_time_just_before_zero_is_zero():
    clock = FrameClock("x", 600.0, [])
    assert clock.at(-3e-7, 0.04) == 0.0
    assert clock.at(0.0333, 0.04) == pytest.approx(0.0333)
    assert FrameClock("x", 600.0, []).at(-0.5, 0.04) is None  # cut away by an edit list


def test_packets_with_nothing_in_them_are_no_damage(build):
    """Theora repeats a picture by an empty packet; the wheel of PyAV has no encoder for it."""
    from sonomask.media import opening

    path = build("t.mkv", seconds=1.0, sounds=())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = list(container.demux(stream))
        empty = av.Packet(b"")
        empty.pts = empty.dts = packets[5].pts
        empty.time_base, empty.stream = stream.time_base, stream
        warnings = []
        fake = type("C", (), {"name": "x", "demux": lambda _, __: iter([*packets[:6], empty, *packets[6:]])})()
        assert len(list(opening.decoded(fake, stream, warnings))) == 25
        assert warnings == []


@pytest.mark.parametrize("name", ["part.mp4", "part.mkv", "part.ts", "part.avi", "part.webm"])
@pytest.mark.parametrize("kind", [VideoReader, SandboxedReader])
def test_a_part_is_what_a_cut_file_would_be(build, name, kind):
    more = (
        {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "g": "25"}}
        if "webm" in name
        else {}
    )
    words = {"codec": "libopus" if "webm" in name else "libmp3lame" if "avi" in name else "aac", "rate": 48_000}
    tones = np.concatenate([build.tone(1.0, 48_000, hertz=200 * (i + 1)) for i in range(8)])
    path = build(name, seconds=8.0, paint=counted, sounds=[(tones, words)], **more)
    with kind(path, start=3.0, end=5.0) as reader:
        assert reader.info.duration == pytest.approx(2.0)
        assert reader.info.start == 3.0
        frames = list(reader.frames())
        first = number(frames[0].image)
        assert first in (74, 75)  # some of these containers start the pictures up to a frame late
        assert numbers(frames) == list(range(first, first + len(frames)))
        assert len(frames) in (50, 51)
        assert frames[0].time == 0.0
        assert [n - first for n in numbers(reader.frames(1.0))] in ([23, 48], [24, 49])
        heard = np.concatenate(list(reader.waveform()))
        assert len(heard) == 32_000
        for second, hertz in ((0, 800), (1, 1000)):
            spectrum = np.abs(np.fft.rfft(heard[second * 16_000 + 2000 : second * 16_000 + 14_000]))
            assert spectrum.argmax() * 16_000 / 12_000 == pytest.approx(hertz, abs=4)
        assert sum(piece.shape[1] for piece in reader.track()) == 96_000


def test_a_part_within_a_picture_that_stands_shows_that_picture(build):
    path = build("slides.mp4", times=[0, 5, 10], durations=[5, 5, 5], seconds=15.0, paint=counted)
    with VideoReader(path, start=6.0, end=8.0) as reader:
        assert numbers(reader.frames(1.0)) == [1, 1]
        frames = list(reader.frames(again=True))
        assert frames[0].time == 0.0
        assert set(numbers(frames)) == {1}
        assert len(frames) == 10
    with VideoReader(path, start=9.5, end=11.0) as reader:
        assert runs(numbers(reader.frames(again=True))) == [(1, 3), (2, 5)]


def test_a_part_costs_no_decoding_of_what_lies_before(build, monkeypatch):
    from sonomask.media import decoder

    path = build("long.mp4", seconds=20.0, options={"g": "25", "crf": "20"})
    count = 0

    def counting(*arguments):
        nonlocal count
        for frame in original(*arguments):
            count += 1
            yield frame

    original = decoder.decoded
    monkeypatch.setattr(decoder, "decoded", counting)
    with VideoReader(path, start=18.0, end=19.0) as reader:
        count = 0
        assert len(list(reader.frames())) == 25
    assert count < 80


@pytest.mark.parametrize("part", [{"start": 5.0, "end": 5.0}, {"start": -1.0}, {"end": 0.0}])
def test_a_part_that_is_none_is_refused(build, part):
    with pytest.raises(ValueError, match=r"`(start|end)`"):
        VideoReader(build("x.mp4", seconds=0.4), **part)


def test_a_part_after_the_end_is_refused_with_the_length(build):
    with pytest.raises(ValueError, match=r"`start`: the video has 0\.4 s, so there is nothing at 9 s"):
        VideoReader(build("x.mp4", seconds=0.4), start=9.0)


@pytest.mark.parametrize("name", ["live.webm", "live.flv"])
def test_a_length_that_the_header_does_not_tell_is_found(build, name):
    quick = {"deadline": "realtime", "cpu-used": "8"}
    more = {
        "live.webm": {"codec": "libvpx", "options": quick, "container_options": {"live": "1"},
                      "sounds": [(None, {"codec": "libopus", "rate": 48_000})]},
        "live.flv": {"container_options": {"flvflags": "no_duration_filesize"}, "sounds": [(None, {"rate": 44_100})]},
    }[name]  # fmt: skip
    path = build(name, seconds=3.0, **more)
    with av.open(str(path)) as container:
        assert not container.duration or name.endswith("flv")
    with VideoReader(path) as reader:
        assert reader.info.duration == pytest.approx(3.0, abs=0.1)
