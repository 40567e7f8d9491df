"""Files that are whole at any moment."""

import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.media.live.writer import LiveWriter, format_of
from sonomask.media.reader import VideoReader

GREY = np.full((47, 64, 3), 128, np.uint8)
HISS = np.full(16_000, 0.25, np.float32)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_pictures_and_sound_arrive_at_their_times(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    with LiveWriter(str(path), size=(47, 64), sound=True) as out:
        for i in range(8):
            out.write(GREY, 100 + i / 4, HISS[:4000] if i else None)
    with VideoReader(path) as reader:
        times = [frame.time for frame in reader.frames()]
        np.testing.assert_allclose(np.diff(times), 0.25, atol=0.002)
        assert sum(map(len, reader.waveform())) == pytest.approx(1.75 * 16_000, abs=3000)


def test_a_file_whose_writer_was_killed_can_be_played(tmp_path):
    path = tmp_path / "out.mp4"
    out = LiveWriter(str(path), size=(47, 64), sound=False)
    for i in range(60):
        out.write(GREY, i / 10)
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes())  # as it lies on the disk now
    with VideoReader(tmp_path / "cut.mp4") as reader:
        assert len(list(reader.frames())) >= 20
    out.__exit__(None, None, None)


def test_sound_that_was_missing_is_silence_and_none_is_written_twice(tmp_path):
    path = tmp_path / "out.mkv"
    with LiveWriter(str(path), size=(47, 64), sound=True) as out:
        for time, sound in ((0.0, None), (1.0, HISS), (3.0, HISS), (3.5, HISS)):
            out.write(GREY, time, sound)
        assert out.samples == round(3.5 * 16_000)


def test_an_existing_file_stays_unless_told(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"mine")
    with pytest.raises(MediaError, match="exists"):
        LiveWriter(str(path), size=(8, 8), sound=False)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("target", ["out.avi", "http://a/b", "out", "ftp://a/b.mp4"])
def test_a_target_of_another_kind_is_refused(target):
    with pytest.raises(ValueError, match="out"):
        format_of(target)
