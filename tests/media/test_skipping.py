"""What nobody looks at is not decoded, and what is looked at is the same picture as before."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from sonomask.media.decoder import LocalDecoder
from sonomask.media.reader import VideoReader
from sonomask.media.sandbox.reader import open_reader
from sonomask.media.skipping import on_screen_at

FPS, SECONDS = 12, 16


def write(path, codec, options, times):
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (96, 128, 3), np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.options = 128, 96, "yuv420p", options
        stream.codec_context.time_base = Fraction(1, 1200)
        for i, time in enumerate(times):
            image = np.roll(ground, 3 * i, 1)
            image[:24, :24] = i
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time * 1200), Fraction(1, 1200)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    options = {"g": "24", "bf": "3", "x264-params": "b-pyramid=normal:scenecut=0:keyint=24:b-adapt=0:bframes=3"}
    times = [i / FPS for i in range(FPS * SECONDS)]
    return write(tmp_path_factory.mktemp("skip") / "steady.mp4", "libx264", options, times)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.choice([0.03, 0.08, 0.4, 1.3], 40, p=[0.4, 0.3, 0.2, 0.1])).round(2)
    return write(tmp_path_factory.mktemp("skip") / "uneven.mkv", "libx264", {"bf": "3"}, [0.0, *times.tolist()])


@pytest.fixture(scope="module")
def mpeg4(tmp_path_factory):
    times = [i / FPS for i in range(FPS * SECONDS)]
    return write(tmp_path_factory.mktemp("skip") / "old.mp4", "mpeg4", {"bf": "2"}, times)


def everything(reader):
    """A reader that leaves nothing out."""
    whole = reader.decoder.pictures
    reader.decoder.pictures = lambda start, pace=None: whole(start)  # noqa: ARG005
    return reader


@pytest.mark.parametrize("clip", ["steady", "uneven", "mpeg4"])
@pytest.mark.parametrize("rate", [0.4, 1.0, 1.7, 5.0])
@pytest.mark.parametrize("part", [{}, {"start": 2.3, "end": 7.1}])
def test_the_pictures_are_those_of_a_reader_that_decodes_all(clip, rate, part, request):
    path = request.getfixturevalue(clip)
    with VideoReader(path, **part) as sparing, everything(VideoReader(path, **part)) as whole:
        found, expected = list(sparing.frames(rate)), list(whole.frames(rate))
    assert [frame.time for frame in found] == [frame.time for frame in expected]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("clip", ["steady", "mpeg4"])
def test_most_of_what_nobody_asked_for_is_left_out(clip, request):
    decoder = LocalDecoder(request.getfixturevalue(clip))
    some, every = (len(list(decoder.pictures(0.0, pace))) for pace in (1.0, None))
    decoder.close()
    assert every == FPS * SECONDS
    assert some < 0.75 * every, some


def test_in_a_sandbox_it_is_the_same(steady):
    with open_reader(steady, sandbox=True) as inside, VideoReader(steady) as outside:
        for one, other in zip(inside.frames(1.0), outside.frames(1.0), strict=True):
            assert np.array_equal(one.image, other.image)


def test_a_picture_is_wanted_if_a_step_falls_on_it():
    wanted = on_screen_at(2.0, 10.0, 11.3, 0.001)  # at 10.46875, 10.96875 …
    times = [10.0, 10.3, 10.46, 10.47, 10.9, 11.2, 11.25, 11.4]
    assert [wanted(*pair) for pair in pairwise(times)] == [False, False, True, False, True, False, True]
