import csv
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import sonomask
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.errors import MediaError
from sonomask.media.reader import Limits, VideoReader

FPS = {"23.976": Fraction(24000, 1001), "29.97": Fraction(30000, 1001), "12.5": Fraction(25, 2)}


def test_native_rate_gives_every_frame_in_order(make_video, numbers):
    with VideoReader(make_video("native.mp4", options={"crf": "10", "bf": "3"})) as reader:
        frames = list(reader.frames())
    assert numbers(frames) == list(range(50))
    assert [f.time for f in frames] == pytest.approx([i / 25 for i in range(50)])


@pytest.mark.parametrize("fps", ["24", "25", "29.97", "30", "15", "60", "23.976", "12.5"])
def test_avsbench_s_frames_are_those_of_its_extractor(golden, make_video, numbers, fps):
    rows = [
        row for row in csv.DictReader((golden / "frame_sampling.csv").read_text().splitlines()) if row["fps"] == fps
    ]
    row = max(rows, key=lambda row: int(row["seconds"]))
    rate = FPS.get(fps) or Fraction(fps)
    path = make_video(f"rule{fps}.mp4", fps=rate, seconds=float(int(row["n_frames"]) / rate), size=(32, 64), tone=None)
    with VideoReader(path) as reader:
        got = numbers(reader.frames("avsbench"))[: int(row["seconds"])]
    assert got == [int(row[f"i{k}"]) % 256 for k in range(1, int(row["seconds"]) + 1)]


def test_a_rate_shows_what_is_on_screen_late_in_each_step(make_video, numbers):
    with VideoReader(make_video("rate.mp4", fps=Fraction(10))) as reader:
        assert numbers(reader.frames(2.0)) == [4, 9, 14, 19]  # at 0.469, 0.969, 1.469 and 1.969 s


def test_a_variable_frame_rate_is_read_by_time(make_video, numbers):
    path = make_video("vfr.mkv", times=[0, 0.1, 0.2, 1.5, 1.6, 2.9], seconds=3, tone=None)
    with VideoReader(path) as reader:
        assert numbers(reader.frames(1.0)) == [2, 4, 5]


def test_a_video_that_starts_late_starts_at_zero(make_video):
    path = make_video("late.mkv", times=[3 + i / 25 for i in range(50)], tone=None)
    with VideoReader(path) as reader:
        assert next(reader.frames()).time == pytest.approx(0, abs=0.05)


def test_reading_from_the_middle_gives_the_frames_of_the_whole(make_video, numbers):
    with VideoReader(make_video("middle.mp4", seconds=4)) as reader:
        assert numbers(reader.frames(start=2.5, stop=3.0)) == list(range(63, 75))
        assert numbers(reader.frames(1.0, start=2.0)) == numbers(reader.frames(1.0))[2:]


def test_wide_pixels_are_made_square(make_video):
    with VideoReader(make_video("wide.mp4", aspect=Fraction(2))) as reader:
        assert (reader.info.width, reader.info.height) == (192, 64)
        assert next(reader.frames()).image.shape == (64, 192, 3)


def test_a_turned_video_is_shown_upright(make_video):
    path = make_video("turned.mp4", tone=None)
    upright, turned = (v.to_bytes(4, "big", signed=True) for v in (0x10000, -0x10000))
    zero = bytes(4)
    matrix = upright + zero * 3 + upright + zero * 3 + (0x40000000).to_bytes(4, "big")
    data = path.read_bytes()
    place = data.index(matrix, data.index(b"tkhd"))
    quarter = zero + upright + zero + turned + zero * 4 + (0x40000000).to_bytes(4, "big")  # 90 degrees clockwise
    path.write_bytes(data[:place] + quarter + data[place + 36 :])
    with VideoReader(path) as reader:
        assert (reader.info.width, reader.info.height) == (64, 96)
        image = list(reader.frames())[1].image
    assert image.shape == (96, 64, 3)
    assert image[:10].mean() > 200 > 50 > image[20:].mean()  # the left bar is on top


@pytest.mark.parametrize(("pixel", "codec"), [("yuv420p10le", "libx264"), ("yuv444p", "libx264"), ("gray", "ffv1")])
def test_other_pixel_formats_become_rgb(make_video, numbers, pixel, codec):
    path = make_video(f"{pixel}.mkv", pixel=pixel, codec=codec, tone=None, options={})
    with VideoReader(path) as reader:
        assert numbers(reader.frames(1.0)) == [23, 48]


def test_odd_sizes_and_scaling(make_video):
    with VideoReader(make_video("odd.mkv", size=(63, 95), codec="ffv1", pixel="bgr0", tone=None, options={})) as reader:
        assert next(reader.frames()).image.shape == (63, 95, 3)
        assert next(reader.frames(size=(17, 31))).image.shape == (17, 31, 3)


@pytest.mark.parametrize(
    ("rate", "layout", "codec"), [(8000, "mono", "pcm_s16le"), (44100, "stereo", "aac"), (48000, "5.1", "aac")]
)
def test_any_sound_becomes_16_khz_mono(make_video, rate, layout, codec):
    path = make_video(f"sound{rate}.mkv", rate=rate, layout=layout, audio_codec=codec)
    with VideoReader(path) as reader:
        wave = np.concatenate(list(reader.waveform()))
    assert wave.dtype == np.float32
    assert len(wave) == pytest.approx(32_000, abs=1600)
    assert np.abs(np.fft.rfft(wave[8000:24000])).argmax() == 440


def test_sound_that_starts_late_and_ends_early_keeps_its_place(make_video):
    path = make_video("gap.mkv", sound=(0.8, 1.4), audio_codec="pcm_s16le", tone=1000.0)
    with VideoReader(path) as reader:
        wave = np.concatenate(list(reader.waveform(0.3)))
    loud = np.flatnonzero(np.abs(wave) > 0.1) / 16_000
    assert (loud[0], loud[-1]) == pytest.approx((0.8, 1.4), abs=0.03)


def test_the_waveform_of_a_part_is_that_part(make_video):
    with VideoReader(make_video("part.mkv", seconds=4, audio_codec="pcm_s16le")) as reader:
        whole = np.concatenate(list(reader.waveform()))
        part = np.concatenate(list(reader.waveform(start=2.0, stop=3.0)))
    assert len(part) == 16_000
    assert np.abs(part - whole[32_000:48_000]).max() < 0.2  # Matroska's clock ticks in milliseconds: 8 samples


def test_a_silent_video_says_so_when_asked_for_sound(make_video):
    with VideoReader(make_video("silent.mp4", tone=None)) as reader:
        assert not reader.info.has_audio
        with pytest.raises(MediaError, match="no sound stream"):
            next(reader.waveform())


def test_what_is_no_video_is_refused_with_its_name(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello " * 1000)
    for source, reason in [
        ("none.mp4", "no such file"),
        ("empty.mp4", "empty"),
        ("text.mp4", "can't be opened"),
        (".", "folder"),
    ]:
        with pytest.raises(MediaError, match=reason):
            VideoReader(tmp_path / source)


def test_a_file_of_sound_only_is_refused(tmp_path):
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    with pytest.raises(MediaError, match="no video stream"):
        VideoReader(tmp_path / "a.wav")


def test_a_truncated_file_gives_what_it_has_and_says_so(make_video, numbers, tmp_path):
    whole = make_video("whole.mkv", seconds=6)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with VideoReader(cut) as reader:
        got = numbers(reader.frames())
        assert got[:50] == list(range(50))
        assert len(got) < 140
        assert any("ends after" in line or "broken off" in line for line in reader.warnings)


def test_frames_beyond_the_limit_are_refused(make_video):
    with pytest.raises(MediaError, match="limit"):
        VideoReader(make_video("big.mp4", tone=None), Limits(pixels=1000))


def test_a_playlist_from_disk_can_t_reach_the_network(tmp_path):
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError):
        VideoReader(tmp_path / "list.m3u8")


def test_memory_does_not_grow_with_the_length(make_video):
    with VideoReader(make_video("long.mp4", seconds=10)) as reader:
        tracemalloc.start()
        peaks = []
        for seconds in (2, 10):
            tracemalloc.reset_peak()
            for _ in zip(reader.frames(stop=seconds), reader.waveform(0.04, stop=seconds), strict=False):
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000


def test_ffmpeg_s_log_is_off_whatever_others_have_set(tmp_path, build):
    """A decoder's thread that logs, and one that closes it, would wait for each other: torchvision before 0.26 sets a level."""
    path = build("a.mkv", seconds=0.4)
    try:
        av.logging.set_level(av.logging.ERROR)
        with VideoReader(path):
            assert av.logging.get_level() is None
        av.logging.set_level(av.logging.ERROR)
        write_video(tmp_path / "b.mp4", scene(0, size=(32, 32), seconds=1), 8)
        assert av.logging.get_level() is None
    finally:
        av.logging.set_level(None)


def test_containers_are_opened_in_one_place():
    """So that none is opened with the log on."""
    found = {
        path.name for path in (Path(sonomask.__file__).parent).rglob("*.py") if "av.open(" in path.read_text("utf-8")
    }
    assert found == {"opening.py"}
