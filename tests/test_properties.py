"""Laws that hold for any input, tried on inputs that a machine draws."""

import csv
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonomask.audio.logmel import HOP, PATCH_FRAMES, SAMPLE_RATE, examples_at, log_mel
from sonomask.data.prepare import _rows
from sonomask.errors import DatasetError
from sonomask.media.clock import FrameClock
from sonomask.media.reader import Frame
from sonomask.media.windows import windows
from sonomask.safe_reading.tables import read_table

settings.register_profile("few", max_examples=30, deadline=None, derandomize=True, database=None)
settings.load_profile("few")

stamps = st.lists(st.none() | st.floats(-1e12, 1e12, allow_nan=False), max_size=40)


@given(stamps, st.floats(1.0, 1e4), st.floats(1e-3, 100))
def test_a_clock_only_goes_forward_and_never_leaps(times, gap, spare):
    clock = FrameClock("video", gap, [])
    shown = [t for t in (clock.at(time, min(spare, gap)) for time in times) if t is not None]
    assert all(t >= 0 for t in shown)
    assert all(0 < b - a <= gap + 1e-3 for a, b in pairwise(shown))


class Reader:
    """Of a video whose frames are given by their times."""

    def __init__(self, times, sound):
        self.times, self.sound, self.info = times, sound, SimpleNamespace(has_audio=sound is not None)

    def frames(self, rate, size=None):  # noqa: ARG002
        image = np.zeros((1, 1, 3), np.uint8)
        return (Frame(t, math.floor(t), image) for t in self.times)

    def waveform(self, block):
        size = round(block * SAMPLE_RATE)
        return (self.sound[i : i + size] for i in range(0, len(self.sound), size))


moments = st.lists(st.integers(0, 12_000), min_size=1, max_size=30, unique=True).map(
    lambda v: sorted(t / 1000 for t in v)
)


@given(moments, st.integers(1, 6), st.integers(0, 200_000))
def test_windows_have_every_frame_once_and_the_sound_in_its_place(times, seconds, samples):
    sound = np.arange(samples, dtype=np.float32)
    cut = list(windows(Reader(times, sound), rate="native", seconds=seconds))
    fresh = [s for w in cut for s in (w.frames[: w.fresh] if w.repeated else w.frames[-w.fresh :])]
    kept = [f.time for second in fresh for f in second]
    assert len(fresh) == math.floor(times[-1]) + 1
    assert [t for t in kept if t in set(times)] == times
    assert all(len(w.frames) == seconds for w in cut)
    track = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), sound, np.zeros(30 * SAMPLE_RATE, np.float32)])
    for window in cut:
        place = round(window.waveform_start * SAMPLE_RATE) + SAMPLE_RATE
        np.testing.assert_array_equal(window.waveform, track[place : place + (seconds + 2) * SAMPLE_RATE])


@given(st.integers(0, 40_000), st.integers(0, 2**31 - 1), st.floats(0, 2))
def test_a_log_mel_is_finite_and_has_its_length(samples, seed, level):
    rows = log_mel(level * (2 * torch.rand(samples, generator=torch.Generator().manual_seed(seed)) - 1))
    assert len(rows) == max(0, 1 + (samples - 400) // HOP)
    assert torch.isfinite(rows).all()
    assert len(rows) == 0 or float(rows.min()) >= math.log(0.01) - 1e-4


@given(st.integers(1, 30_000), st.integers(0, 300), st.lists(st.floats(-2, 4), min_size=1, max_size=5))
def test_a_piece_of_a_track_gives_the_patches_of_the_whole(samples, start, times):
    wave = torch.rand(samples + start * HOP, generator=torch.Generator().manual_seed(samples)) - 0.5
    late = [time + start * HOP / SAMPLE_RATE + PATCH_FRAMES / 100 for time in times]
    late = [time for time in late if time - PATCH_FRAMES / 100 - 0.02 >= start * HOP / SAMPLE_RATE]
    whole = examples_at(wave, late)
    piece = examples_at(wave[start * HOP :], late, start=start * HOP / SAMPLE_RATE)
    torch.testing.assert_close(piece, whole, atol=1e-5, rtol=0)


@given(
    st.sampled_from([8000, 11_025, 22_050, 44_100, 48_000]),
    st.integers(200, 3000),
    st.lists(st.integers(1, 4000), min_size=1, max_size=8),
)
@settings(max_examples=15)
def test_resampling_keeps_length_and_pitch_however_the_sound_is_cut(rate, hertz, cuts):
    import av

    from sonomask.media.sound import resampled

    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
    places = np.unique(np.cumsum(cuts).clip(max=rate - 1))

    def frames():
        for part in np.split(wave, places):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part[None]), "fltp", "mono")
            frame.sample_rate = rate
            yield frame

    got = np.concatenate([piece for _, piece in resampled("wave", frames(), [])], axis=1)[0]
    assert abs(len(got) - SAMPLE_RATE) <= 64
    assert abs(np.abs(np.fft.rfft(got, SAMPLE_RATE)).argmax() - hertz) <= 1


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=12)


@given(st.lists(st.lists(cell, min_size=3, max_size=3), max_size=6))
def test_a_table_reads_back_as_it_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["a", "b", "c"], *rows])
    expected = [dict(zip("abc", row, strict=True)) for row in rows if any(row)]
    assert read_table(path) == expected


@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=4))
def test_any_manifest_of_videos_gives_safe_names_or_one_error(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("manifests") / "videos.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["video", "name", "category"], *rows])
    try:
        found = list(_rows(path))
    except DatasetError:
        return
    for _, name, split, category in found:
        assert not {"/", "\\", "\0"} & set(name + split + category)
        assert name not in ("", ".", "..")
