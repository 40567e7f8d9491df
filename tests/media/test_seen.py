"""What people see: turned, mirrored and stretched pictures, colours, interlace."""

import itertools
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from sonomask.media.colour import guessed
from sonomask.media.decoder import LocalDecoder
from sonomask.media.interlace import deinterlaced
from sonomask.media.orientation import UPRIGHT, from_matrix
from sonomask.media.reader import VideoReader

ONE, W = 0x10000, 0x40000000
MATRICES = {  # as FFmpeg's automatic rotation shows them: what is done to the stored picture
    "upright": ((ONE, 0, 0, ONE), lambda x: x),
    "hflip": ((-ONE, 0, 0, ONE), lambda x: x[:, ::-1]),
    "vflip": ((ONE, 0, 0, -ONE), lambda x: x[::-1]),
    "half turn": ((-ONE, 0, 0, -ONE), lambda x: x[::-1, ::-1]),
    "quarter turn clockwise": ((0, ONE, -ONE, 0), lambda x: np.rot90(x, -1)),
    "quarter turn counter-clockwise": ((0, -ONE, ONE, 0), lambda x: np.rot90(x, 1)),
    "transpose": ((0, ONE, ONE, 0), lambda x: x.transpose(1, 0, 2)),
    "antitranspose": ((0, -ONE, -ONE, 0), lambda x: np.rot90(x, 2).transpose(1, 0, 2)),
}


def matrix(a, b, c, d):
    return (a, b, 0, c, d, 0, 0, 0, W)


@pytest.mark.parametrize("name", MATRICES)
def test_every_display_matrix_is_shown_as_players_do(build, name):
    numbers, shown = MATRICES[name]
    path = build("turned.mp4", seconds=0.4, matrix=matrix(*numbers), sounds=())
    expected = shown(build.patches())
    with VideoReader(path) as reader:
        image = next(reader.frames()).image
        assert (reader.info.height, reader.info.width) == image.shape[:2] == expected.shape[:2]
        assert np.abs(image.astype(int) - expected).mean() < 6
        small = next(reader.frames(size=(24, 32))).image
    assert small.shape == (24, 32, 3)
    assert np.abs(small[6, 8].astype(int) - expected[expected.shape[0] // 4, expected.shape[1] // 4]).max() < 12


def test_mirrored_is_said():
    assert [from_matrix(matrix(*numbers)).mirrored for numbers, _ in MATRICES.values()] == [
        False, True, True, False, False, False, True, True,
    ]  # fmt: skip
    assert from_matrix((0,) * 9) == UPRIGHT


def test_a_tilt_turns_the_picture_within_its_frame(build):
    cos, sin = round(ONE * np.cos(np.radians(45))), round(ONE * np.sin(np.radians(45)))
    path = build("tilted.mp4", seconds=0.2, matrix=matrix(cos, sin, -sin, cos), sounds=())
    with VideoReader(path) as reader:
        image = next(reader.frames()).image
    assert image.shape == (96, 128, 3)
    assert image[2, 2].max() < 10  # a corner that the turned picture leaves free
    red, green = build.PATCHES[:2]
    assert np.abs(image[24, 64].astype(int) - red).max() < 14  # the upper left patch is now above
    assert np.abs(image[48, 88].astype(int) - green).max() < 14  # and the upper right one at the right


@pytest.mark.parametrize(
    ("name", "codec", "pixel"), [("w.mp4", "libx264", "yuv420p"), ("w.mov", "prores_ks", "yuv422p10le")]
)
def test_the_pixel_aspect_of_the_container_goes_before_that_of_the_codec(build, name, codec, pixel):
    path = build(name, seconds=0.4, codec=codec, pixel=pixel, aspect=Fraction(4, 3), sounds=())
    data = path.read_bytes()
    place = data.index(b"pasp") + 4
    path.write_bytes(data[:place] + (2).to_bytes(4, "big") + (1).to_bytes(4, "big") + data[place + 8 :])
    with VideoReader(path) as reader:
        assert (reader.info.width, reader.info.height) == (256, 96)
        assert next(reader.frames()).image.shape == (96, 256, 3)


TAGS = {
    "709": (1, 1, 1, False), "601": (6, 6, 6, False), "709 full": (1, 1, 1, True), "601 full": (5, 5, 6, True),
    "240M": (7, 7, 7, False),
}  # fmt: skip


@pytest.mark.parametrize("name", TAGS)
def test_matrix_and_range_are_those_of_the_tags(build, name):
    path = build("tagged.mkv", seconds=0.2, codec="ffv1", pixel="yuv444p", colours=TAGS[name], sounds=())
    with VideoReader(path) as reader:
        image = next(reader.frames()).image
    assert np.abs(image.astype(int) - build.patches()).max() <= 2
    assert (reader.info.colours.matrix, reader.info.colours.full) == (TAGS[name][0], TAGS[name][3])


@pytest.mark.parametrize(("size", "code"), [((96, 128), 6), ((720, 1280), 1)])
def test_untagged_pictures_are_taken_for_what_players_take_them(build, size, code):
    path = build("untagged.mkv", seconds=0.1, size=size, codec="ffv1", pixel="yuv444p", sounds=(),
                 paint=lambda *_: paint_as(build.patches(*size), code))  # fmt: skip
    with VideoReader(path) as reader:
        assert reader.info.colours == guessed(*size)
        assert np.abs(next(reader.frames()).image.astype(int) - build.patches(*size)).max() <= 2


def paint_as(image, code):
    import av

    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame = frame.reformat(format="yuv444p", dst_colorspace={6: 5, 1: 1}[code], dst_color_range=1)
    frame.colorspace = frame.color_range = 2
    frame.color_range = 0
    return frame


TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def pq(light):
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = (light * 203 / 10000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def hlg(light):
    scene = (light * 203 / 1000) ** (1 / 1.2)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def hable(x):
    return (x * (x * 0.15 + 0.05) + 0.004) / (x * (x * 0.15 + 0.5) + 0.06) - 0.02 / 0.3


def tone_mapped(image, peak=10.0):
    """`zscale=t=linear:npl=203,zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709` of light that was made from BT.709."""
    light = (image / 255.0) ** 2.4
    most = np.maximum(light.max(-1, keepdims=True), 1e-6)
    return np.clip(light * hable(most) / hable(peak) / most, 0, 1) ** (1 / 2.4) * 255


@pytest.mark.parametrize(("transfer", "curve"), [(16, pq), (18, hlg)])
def test_hdr_is_tone_mapped_as_the_chain_of_filters_does(build, transfer, curve):
    grey = np.linspace(0, 255, 128).round()[None, :, None] * np.ones((48, 1, 3))
    source = np.concatenate([build.patches(48), grey])
    coded = (curve((source / 255.0) ** 2.4 @ TO_2020.T) * 65535).round().astype(np.uint16)
    path = build("hdr.mkv", seconds=0.2, codec="ffv1", pixel="yuv444p10le", colours=(9, 9, transfer, False), sounds=(),
                 paint=lambda *_: coded)  # fmt: skip
    with VideoReader(path) as reader:
        image = next(reader.frames()).image
        assert (reader.info.colours.matrix, reader.info.colours.transfer) == (1, 1)
    assert np.abs(image - tone_mapped(source)).max() <= 4


def test_wide_gamut_is_brought_to_what_screens_show(build):
    source = build.patches()
    coded = ((((source / 255.0) ** 2.4) @ TO_2020.T) ** (1 / 2.4) * 65535).round().astype(np.uint16)
    path = build("wide.mkv", seconds=0.2, codec="ffv1", pixel="yuv444p10le", colours=(9, 9, 14, False), sounds=(),
                 paint=lambda *_: coded)  # fmt: skip
    with VideoReader(path) as reader:
        assert np.abs(next(reader.frames()).image.astype(int) - source).max() <= 3


def test_interlaced_pictures_are_made_whole(build):
    """A bright bar that moves between the two fields leaves no comb."""

    def paint(index, _):
        image = np.zeros((96, 128, 3), np.uint8)
        for field in (0, 1):
            left = 8 + 16 * index + 8 * field
            image[field::2, left : left + 16] = 255
        return image

    path = build("fields.mkv", fps=5, seconds=1.2, paint=paint, sounds=(), options={"x264-params": "tff=1:crf=1"})
    with VideoReader(path) as reader:
        frames = [frame for frame in reader.frames() if abs(frame.time * 5 - round(frame.time * 5)) < 0.01]
    assert len(frames) == 6
    assert frames[3].time == pytest.approx(0.6)
    comb = [np.abs(np.diff(frame.image[20:76, :, 0].astype(int), axis=0)).mean() for frame in frames[1:5]]
    raw = np.abs(np.diff(paint(2, 0)[20:76, :, 0].astype(int), axis=0)).mean()
    assert max(comb) < raw / 3


def test_interlaced_pictures_that_the_filter_refuses_come_as_they_are():
    """FFmpeg's deinterlacer takes no picture of less than three columns; a damaged head may tell of one."""
    frame = SimpleNamespace(format=av.VideoFormat("yuv420p"), width=2, height=48, interlaced_frame=True)
    assert list(deinterlaced(iter([(0, frame), (1, frame)]))) == [(0, frame), (1, frame)]


def test_the_guarded_reader_shows_the_same(build):
    from sonomask.media.sandbox.reader import SandboxedReader

    path = build("all.mkv", seconds=0.4, codec="ffv1", pixel="yuv444p10le", colours=(9, 9, 16, False))
    with VideoReader(path) as plain, SandboxedReader(path) as guarded:
        assert guarded.info == plain.info
        for ours, theirs in itertools.zip_longest(guarded.frames(), plain.frames()):
            assert ours.time == theirs.time
            np.testing.assert_array_equal(ours.image, theirs.image)


def test_the_local_decoder_closes_what_it_opens(build):
    decoder = LocalDecoder(build("a.mkv", seconds=0.4))
    next(iter(decoder.pictures(0.0)))
    decoder.close()
    assert not decoder._open_containers


def test_pictures_beyond_the_limit_are_called_that(build):
    from sonomask.errors import MediaError
    from sonomask.media.opening import Limits

    path = build(
        "big.mkv", seconds=0.2, size=(480, 640), codec="mjpeg", pixel="yuvj420p", options={"b": "3M"}, sounds=()
    )
    with pytest.raises(MediaError, match="limit"):
        VideoReader(path, Limits(pixels=10_000))
