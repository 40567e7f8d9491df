"""Pictures that are decoded once, for the model and for the drawing."""

import numpy as np
import pytest

from sonomask.media.picture import planes_of_rgb
from sonomask.media.reader import VideoReader
from sonomask.media.sandbox.reader import SandboxedReader
from sonomask.media.waiting import PictureQueue, fits, noting, pictures_of
from sonomask.media.writer import VideoWriter

SIZE = (48, 64)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("waiting") / "clip.mp4"
    with VideoWriter(path, size=SIZE, rate=8) as out:
        for i in range(24):
            out.write(np.full((*SIZE, 3), 10 * i, np.uint8), i / 8)
    return path


def test_what_is_decoded_for_the_model_waits_for_the_drawing(clip):
    waiting = PictureQueue()
    with VideoReader(clip) as reader:
        chosen = list(noting(reader, waiting.add).frames(2.0))
        truth = [(frame.time, frame.image) for frame in reader.frames()]
    assert len(chosen) == 6
    found = []
    while (picture := waiting.before(float("inf"))) is not None:
        found.append((picture.time, picture.image()))
    assert [time for time, _ in found] == [time for time, _ in truth]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found, truth, strict=True))


def test_a_picture_that_is_not_due_stays_in_line(clip):
    with VideoReader(clip) as reader:
        waiting = PictureQueue.of(reader)
        assert [waiting.before(0.2).time for _ in range(2)] == [0.0, 0.125]
        assert waiting.before(0.2) is None
        assert waiting.before(1.0).time == 0.25
        waiting.close()


def test_a_guarded_reader_is_decoded_again(clip):
    with SandboxedReader(clip) as reader:
        assert not fits(reader, 1.0)
        waiting = PictureQueue.of(reader)
        picture = waiting.before(1.0)
        assert picture.yuv() is None
        assert picture.image().shape == (*SIZE, 3)


def test_too_many_large_pictures_do_not_wait(clip):
    with VideoReader(clip) as reader:
        assert fits(reader, 5.0)
        assert not fits(reader, 1e6)


def test_a_pictures_planes_are_its_own_and_those_of_rgb_match_them(clip):
    with VideoReader(clip) as reader:
        picture = list(pictures_of(reader))[12]
    yuv = picture.yuv()
    assert [plane.shape for plane in yuv.planes] == [SIZE, (24, 32), (24, 32)]
    for own, made in zip(yuv.planes, planes_of_rgb(picture.image(), yuv.colours), strict=True):
        assert np.abs(own.astype(int) - made.astype(int)).max() <= 2


def test_planes_that_are_written_are_read_back(tmp_path):
    def draw(planes):
        planes[0][:] = np.arange(64) * 2 + 40
        planes[1][:], planes[2][:] = 100, 150

    with VideoWriter(tmp_path / "v.mp4", size=SIZE, rate=8, quality=0) as out:
        for i in range(3):
            out.write_planes(draw, i / 8)
    with VideoReader(tmp_path / "v.mp4") as reader:
        y, u, v = next(pictures_of(reader)).yuv().planes
    assert np.abs(y.astype(int) - (np.arange(64) * 2 + 40)).max() <= 2
    assert np.abs(u.astype(int) - 100).max() <= 2
    assert np.abs(v.astype(int) - 150).max() <= 2
