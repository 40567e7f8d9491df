"""Kinds of ordinary files that look or sound otherwise than their streams alone say."""

import struct
from io import BytesIO

import av
import numpy as np
import pytest

from sonomask.media import boxes
from sonomask.media.boxes import Crop, crop_of, is_followed
from sonomask.media.live.reader import LivePicture, LiveReader
from sonomask.media.live.source import parse_source
from sonomask.media.reader import VideoReader
from sonomask.media.sandbox.reader import SandboxedReader

SIZE = (96, 128)


def corners(image):
    """The colours near the four corners."""
    height, width = image.shape[:2]
    places = ((y, x) for y in (4, height - 5) for x in (4, width - 5))
    return np.array([image[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(0) for y, x in places])


# ---- cropped by the container ---------------------------------------------------------------------------------------


def framed(*_):
    """The patches within a white frame: 16 rows above and 8 below, 32 columns on the left and 16 on the right."""
    image = np.full((*SIZE, 3), 255, np.uint8)
    inner = image[16:88, 32:112]
    for place, colour in enumerate(((200, 40, 40), (40, 180, 60), (50, 60, 200), (200, 160, 120))):
        rows = slice(None, 36) if place < 2 else slice(36, None)
        inner[rows, slice(None, 40) if place % 2 == 0 else slice(40, None)] = colour
    return image


SHOWN = (72, 80)
CROP = Crop(left=32, top=16, right=16, bottom=8)


def in_matroska(data, crop):
    """Matroska with a crop; its index is wrong then, which readers put up with."""
    file = BytesIO(data)

    def find(name, start, end=None):
        return next((at, size) for found, at, size in boxes._elements(file, start, end) if found == name)

    segment, length = find(boxes.SEGMENT, 0)
    tracks, all_of_them = find(boxes.TRACKS, segment)
    entry, one = find(boxes.ENTRY, tracks, tracks + all_of_them)  # the first one is that of the pictures
    video, inner = find(boxes.VIDEO, entry, entry + one)
    fields = [(0x54CC, crop.left), (0x54BB, crop.top), (0x54DD, crop.right), (0x54AA, crop.bottom)]
    data, at = bytearray(data), video + inner
    data[at:at] = b"".join(struct.pack(">HBB", name, 0x81, value) for name, value in fields)
    for place, size in ((video, inner), (entry, one), (tracks, all_of_them), (segment, length)):
        coded = ((n, (1 << 7 * n | size).to_bytes(n, "big")) for n in range(1, 9) if size < (1 << 7 * n) - 1)
        wide = next(n for n, code in coded if data[place - n : place] == code)
        data[place - wide : place] = (1 << 7 * wide | size + 16).to_bytes(wide, "big")
    return bytes(data)


def in_boxes(data, crop, size=SIZE):
    """MP4 whose index is at its end, with a clean aperture."""
    height, width = size
    wide, high = width - crop.left - crop.right, height - crop.top - crop.bottom
    right, down = crop.left - crop.right, crop.top - crop.bottom  # of two
    box = struct.pack(">I4sIIIIiIiI", 40, b"clap", wide, 1, high, 1, right, 2, down, 2)
    data = bytearray(data)
    place = data.index(b"avc1", data.index(b"stsd")) - 4
    end = place + int.from_bytes(data[place : place + 4], "big")
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        at = data.rindex(name, 0, place + 8) - 4
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") + 40).to_bytes(4, "big")
    return bytes(data[:end] + box + data[end:])


@pytest.fixture(params=["matroska", "mp4"])
def with_crop(request, build):
    def make(crop):
        if request.param == "mp4":
            path = build("a.mp4", seconds=1, paint=framed)
            path.write_bytes(in_boxes(path.read_bytes(), crop))
        else:
            path = build("a.mkv", seconds=1, paint=framed, codec="ffv1", pixel="yuv444p")
            path.write_bytes(in_matroska(path.read_bytes(), crop))
        return path

    return make


@pytest.mark.parametrize("kind", [VideoReader, SandboxedReader])
def test_what_the_container_crops_is_not_shown(with_crop, build, kind):
    path = with_crop(CROP)
    assert crop_of(path, 0) == CROP
    with kind(path) as reader:
        assert (reader.info.height, reader.info.width) == SHOWN
        frames = list(reader.frames())
        assert len(frames) == 25
        assert np.abs(corners(frames[7].image) - np.array(build.PATCHES)).max() < 12
        assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(25)], abs=0.03)
        half = next(reader.frames(2.0, size=(36, 40))).image
        assert np.abs(corners(half) - np.array(build.PATCHES)).max() < 14


def test_a_crop_is_applied_where_masks_and_overlay_are_made(with_crop, tmp_path):
    from sonomask.api import segment

    result = segment(with_crop(CROP), tmp_path, model="avs_mini.synthetic", rate=2.0, formats=("overlay", "masks"))
    with VideoReader(result.files["overlay"]) as overlay:
        assert overlay.info.width == SHOWN[1]
        image = next(overlay.frames()).image
        assert image[8 : SHOWN[0] - 8, 2].min() < 200  # no white frame at the left
    with av.open(str(next(result.files["masks"].glob("*.png")))) as picture:
        assert (picture.streams.video[0].height, picture.streams.video[0].width) == SHOWN


def test_a_crop_is_applied_live_too(with_crop):
    with LiveReader(parse_source(str(with_crop(CROP)))) as reader:
        pictures = [item for item in reader if isinstance(item, LivePicture)]
    assert {picture.size for picture in pictures} == {SHOWN}
    assert pictures[7].image().shape[:2] == SHOWN


@pytest.mark.parametrize("crop", [Crop(), Crop(left=64, right=64), Crop(top=96)])
def test_a_crop_that_leaves_nothing_is_none(build, crop):
    path = build("a.mp4", seconds=1)
    path.write_bytes(in_boxes(path.read_bytes(), crop))
    with VideoReader(path) as reader:
        assert (reader.info.height, reader.info.width) == SIZE


def test_damaged_heads_are_no_crop(with_crop, tmp_path):
    data = with_crop(CROP).read_bytes()
    rng = np.random.default_rng(0)
    broken = tmp_path / "broken"
    for _ in range(200):
        piece = bytearray(data[: int(rng.integers(4, len(data)))])
        for place in rng.integers(0, len(piece), 20):
            piece[place] = int(rng.integers(256))
        broken.write_bytes(piece)
        crop = crop_of(broken, 0)
        assert min(crop.left, crop.top, crop.right, crop.bottom) >= 0
        assert is_followed(broken) in (False, True)


# ---- files that were joined, or cut out of longer ones ---------------------------------------------------------------

OPUS, MP3 = (((None, {"codec": codec, "rate": 48_000}),) for codec in ("libopus", "libmp3lame"))
JOINED = {
    "a.mkv": {},
    "a.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "b": "2M"}, "sounds": OPUS},
    "a.avi": {"codec": "mpeg4", "options": {"b": "3M"}, "sounds": MP3},
}


@pytest.mark.parametrize("name", JOINED)
def test_files_joined_by_cat_have_the_length_of_all(build, tmp_path, name):
    one = build(name, seconds=2, **JOINED[name])
    assert not is_followed(one)
    joined = tmp_path / f"joined{one.suffix}"
    joined.write_bytes(2 * one.read_bytes())
    assert is_followed(joined)
    with VideoReader(joined) as reader:
        assert reader.info.duration == pytest.approx(4.0, abs=0.2)
        frames = [frame.time for frame in reader.frames()]
        assert len(frames) == 100
        assert frames[-1] == pytest.approx(3.96, abs=0.15)
        assert sum(map(len, reader.waveform())) / 16_000 == pytest.approx(4.0, abs=0.2)


def test_a_part_of_a_longer_recording_has_its_own_length(build, tmp_path):
    """Recorders that cut Matroska go on counting: this one begins at an hour, and its header tells when it ends."""
    whole, late = build("a.mkv", seconds=3), tmp_path / "late.mkv"
    with av.open(str(whole)) as source, av.open(str(late), "w", options={"avoid_negative_ts": "disabled"}) as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                shift = round(3600 / packet.time_base)
                packet.pts, packet.dts, packet.stream = (
                    packet.pts + shift,
                    packet.dts + shift,
                    copies[packet.stream.index],
                )
                out.mux(packet)
    with av.open(str(late)) as file:
        assert file.duration / av.time_base > 3600
    with VideoReader(late) as reader:
        assert reader.info.duration == pytest.approx(3.0, abs=0.1)
        assert len(list(reader.frames())) == 75
        assert reader.warnings == []


# ---- sound of several channels ---------------------------------------------------------------------------------------

FIVE = ("FL", "FR", "FC", "LFE", "BL", "BR")


@pytest.mark.parametrize(
    ("channels", "says"),
    [
        ({"FL": 1, "FR": -1}, "cancel"),
        ({"BL": 1, "BR": -1}, "cancel"),
        ({"FL": 0.5, "FR": 0.5, "FC": -0.707}, "cancel"),
        ({"LFE": 1}, "cancel"),
        ({"FC": 1}, ""),
        ({"BL": 1}, ""),
        ({"FL": 1, "FR": 1, "LFE": 1}, ""),
    ],
)
def test_channels_of_surround_sound_that_cancel_each_other_are_heard(build, channels, says):
    tone = build.tone(2, 48_000)
    samples = np.stack([channels.get(name, 0) * tone for name in FIVE])
    path = build("a.mkv", sounds=((samples, {"codec": "flac", "rate": 48_000, "layout": "5.1"}),))
    with VideoReader(path) as reader:
        heard = np.concatenate(list(reader.waveform()))
        assert np.abs(heard[4000:]).max() > 0.2
        warned = [line for line in reader.warnings if "cancel" in line]
        assert bool(warned) == bool(says)
        spectrum = np.abs(np.fft.rfft(heard[3200:16_000]))
        assert spectrum.argmax() * 16_000 / 12_800 == pytest.approx(440, abs=3)


def test_ordinary_surround_sound_is_mixed_as_ffmpeg_does(build):
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal((6, 96_000))).astype(np.float32)
    path = build("a.mkv", sounds=((samples, {"codec": "pcm_f32le", "rate": 48_000, "layout": "5.1"}),))
    with VideoReader(path) as reader:
        heard = np.concatenate(list(reader.waveform()))
        assert reader.warnings == []
    plain = av.AudioResampler(format="fltp", layout="mono", rate=16_000)
    with av.open(str(path)) as file:
        frames = [*file.decode(audio=0), None]
    mixed = np.concatenate([part.to_ndarray()[0] for frame in frames for part in plain.resample(frame)])
    np.testing.assert_allclose(heard[:30_000], mixed[:30_000], atol=1e-6)


# ---- what can't be sought in, or is coloured unlike the rest ----------------------------------------------------------


def test_a_file_that_can_not_be_sought_in_is_read_from_its_beginning(build, monkeypatch):
    from sonomask.media import decoder

    path = build("a.mkv", seconds=3)
    with VideoReader(path, start=1.0) as reader:
        expected = [(frame.time, frame.image.mean()) for frame in reader.frames()]
        sound = np.concatenate(list(reader.waveform()))
    monkeypatch.setattr(decoder, "sought", lambda *_: False)
    with VideoReader(path, start=1.0) as reader:
        assert [(frame.time, frame.image.mean()) for frame in reader.frames()] == expected
        np.testing.assert_allclose(np.concatenate(list(reader.waveform()))[2000:], sound[2000:], atol=2e-3)


def test_a_matrix_that_is_not_known_is_said(build):
    def paint(*_):
        frame = av.VideoFrame.from_ndarray(build.patches(), format="rgb24").reformat(format="yuv444p")
        frame.colorspace = 8  # YCgCo
        return frame

    path = build("a.mkv", seconds=1, codec="ffv1", pixel="yuv444p", paint=paint, colours=(8, 1, 1, False))
    with VideoReader(path) as reader:
        assert any("matrix 8" in line for line in reader.warnings)
    with VideoReader(build("b.mkv", seconds=1)) as reader:
        assert reader.warnings == []
