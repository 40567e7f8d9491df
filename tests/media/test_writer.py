import av
import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.media.reader import VideoReader
from sonomask.media.writer import VideoWriter
from sonomask.workspace import atomic_path


def write(path, times=(0.0, 0.04, 0.5), size=(64, 96), **options):
    with VideoWriter(path, size=size, **options) as video:
        for index, time in enumerate(times):
            video.write(np.full((*size, 3), (60 * index) % 256, np.uint8), time)
    return path


def test_frames_keep_their_times(tmp_path):
    with VideoReader(write(tmp_path / "a.mp4")) as reader:
        assert [f.time for f in reader.frames()] == pytest.approx([0, 0.04, 0.5], abs=1e-3)


def test_an_odd_size_is_padded_by_a_line(tmp_path):
    with VideoReader(write(tmp_path / "a.mp4", size=(63, 95))) as reader:
        assert (reader.info.height, reader.info.width) == (64, 96)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "pcm_s16le"), ("b.mkv", "libopus")])
def test_the_sound_of_another_file_comes_along(make_video, tmp_path, name, codec):
    source = make_video("from" + codec + name, audio_codec=codec, rate=48_000)
    path = write(tmp_path / "out.mp4", times=[i / 25 for i in range(50)], audio_from=source)
    with VideoReader(path) as reader:
        wave = np.concatenate(list(reader.waveform()))
    assert len(wave) == pytest.approx(32_000, abs=3200)
    assert np.abs(np.fft.rfft(wave[8000:24000])).argmax() == 440


def test_a_source_without_sound_gives_a_video_without(make_video, tmp_path):
    path = write(tmp_path / "a.mp4", audio_from=make_video("mute.mp4", tone=None))
    with VideoReader(path) as reader:
        assert not reader.info.has_audio


def test_own_sound_is_written(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", size=(32, 32), sample_rate=16_000) as video:
        video.write(np.zeros((32, 32, 3), np.uint8), 0)
        video.write_audio(np.sin(np.arange(16_000)).astype(np.float32))
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert sum(frame.samples for frame in file.decode(audio=0)) >= 16_000


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fail():
        with VideoWriter(tmp_path / "a.mp4", size=(32, 32)) as video:
            video.write(np.zeros((32, 32, 3), np.uint8), 0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_unless_told(tmp_path):
    (tmp_path / "a.mp4").write_text("mine")
    with pytest.raises(MediaError, match="--overwrite"), atomic_path(tmp_path / "a.mp4"):
        pass
    assert (tmp_path / "a.mp4").read_text() == "mine"
    assert write(tmp_path / "a.mp4", overwrite=True).stat().st_size > 100


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for text in ("old", "new"):
        with atomic_path(tmp_path / "out", overwrite=True) as fresh:
            fresh.mkdir()
            (fresh / text).touch()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_picture_of_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected"), VideoWriter(tmp_path / "a.mp4", size=(32, 32)) as video:
        video.write(np.zeros((30, 32, 3), np.uint8), 0)
