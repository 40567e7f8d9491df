"""Arrays and open files as sources."""

import io

import numpy as np
import pytest

import sonomask
from sonomask.media.arrays import from_arrays
from sonomask.media.reader import VideoReader

FPS = 10


def pictures(count=20):
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 12, 3), np.uint8)


def test_frames_are_chosen_as_those_of_a_file():
    with from_arrays(pictures(), FPS) as reader:
        assert (reader.info.width, reader.info.height, reader.info.duration) == (12, 8, 2.0)
        assert [int(frame.image[0, 0, 0]) for frame in reader.frames(2)] == [4, 9, 14, 19]
        assert [round(frame.time, 2) for frame in reader.frames("native", start=1.0)][:2] == [1.0, 1.1]


def test_sound_of_any_rate_becomes_16_khz():
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * 44_100) / 44_100).astype(np.float32)
    with from_arrays(pictures(), FPS, np.stack([tone, tone]), 44_100) as reader:
        heard = np.concatenate(list(reader.waveform()))
    assert len(heard) == pytest.approx(32_000, abs=50)
    peak = np.abs(np.fft.rfft(heard[:16_000])).argmax()
    assert peak == 440


def test_a_generator_of_frames_goes_through_a_model():
    model = sonomask.Segmenter("avs_mini.synthetic", rate=2)
    frames = (np.zeros((96, 96, 3), np.uint8) for _ in range(20))
    masks = list(model(from_arrays(frames, FPS, np.zeros(32_000, np.float32))))
    assert [len(m) for m in masks] == [1, 1, 1, 1]
    assert masks[0].mask.shape == (1, 96, 96)


def test_what_is_no_picture_or_sound_is_refused():
    with pytest.raises(ValueError, match=r"`frames`: expected at least one"):
        from_arrays([], FPS)
    with pytest.raises(ValueError, match=r"`frames`: expected RGB pictures"):
        from_arrays(np.zeros((2, 8, 8), np.uint8), FPS)
    with pytest.raises(ValueError, match=r"`frames`: expected RGB pictures"):
        list(from_arrays([np.zeros((8, 8, 3), np.uint8), np.zeros((4, 8, 3), np.uint8)], FPS).frames())
    with pytest.raises(ValueError, match=r"`waveform`: .*Divide 16-bit samples"):
        from_arrays(pictures(), FPS, np.zeros(100, np.int16))
    with pytest.raises(ValueError, match="`fps`"):
        from_arrays(pictures(), 0)


def test_an_open_file_gives_the_masks_of_its_path(example):
    model = sonomask.Segmenter("avs_mini.synthetic", rate=1)
    with VideoReader(example) as reader:
        wanted = [m.mask for m in model(reader)]
    found = [m.mask for m in model(io.BytesIO(example.read_bytes()))]
    assert all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_bytes_are_refused_in_one_short_line():
    with pytest.raises(TypeError, match="BytesIO") as error:
        sonomask.segment(b"\x00" * 1_000_000)
    assert len(str(error.value)) < 300


def test_one_format_may_be_given_as_a_word(example, tmp_path):
    result = sonomask.segment(example, tmp_path, "avs_mini.synthetic", formats="masks", rate=1)
    assert list(result.files) == ["masks"]


@pytest.fixture
def example(request):
    return request.config.rootpath / "examples" / "three_things.mp4"
