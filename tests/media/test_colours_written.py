"""Colours of what is written, as a player decodes it: within 2 of 255 of the source, and tagged."""

import av
import numpy as np
import pytest

from sonomask.media.colour import Colours, guessed
from sonomask.media.reader import VideoReader
from sonomask.media.writer import VideoWriter

WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}


def as_a_player(frame):
    """RGB by the tags of a frame, computed by hand."""
    kind, full = int(frame.colorspace), int(frame.color_range)
    words = {"src_colorspace": kind, "dst_colorspace": kind, "src_color_range": full, "dst_color_range": full}
    whole = frame.reformat(format="yuv444p", **words)
    planes = [np.asarray(plane).reshape(plane.height, -1)[:, : plane.width] for plane in whole.planes]
    y, u, v = (plane.astype(float) for plane in planes)
    red, blue = WEIGHTS[int(frame.colorspace)]
    if int(frame.color_range) == 2:
        y, u, v = y / 255, (u - 128) / 255, (v - 128) / 255
    else:
        y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    return np.stack([r, (y - red * r - blue * b) / (1 - red - blue), b], -1).clip(0, 1) * 255


KINDS = {
    "709": Colours(1, 1, 1), "601": Colours(6, 6, 6), "PAL": Colours(5, 5, 6), "709 full": Colours(1, 1, 1, full=True),
    "240M": Colours(7, 7, 7), "709 with sRGB's curve": Colours(1, 1, 13),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["h264", "prores-alpha"])
@pytest.mark.parametrize("name", KINDS)
def test_patches_come_back_by_the_tags(build, tmp_path, name, encoding):
    if encoding == "prores-alpha" and KINDS[name].full:
        pytest.skip("ProRes has no full range")
    path, image = tmp_path / f"out.{'mp4' if encoding == 'h264' else 'mov'}", build.patches(192, 256)
    if encoding != "h264":
        image = np.concatenate([image, np.full((*image.shape[:2], 1), 255, np.uint8)], 2)
    with VideoWriter(path, size=(192, 256), colours=KINDS[name], encoding=encoding) as writer:
        for i in range(5):
            writer.write(image, i / 25)
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
    written = Colours(
        *map(int, (frame.colorspace, frame.color_primaries, frame.color_trc)), int(frame.color_range) == 2
    )
    assert written == KINDS[name]
    shown = as_a_player(frame)
    for place, colour in enumerate(build.PATCHES):
        y, x = (48, 144)[place // 2], (64, 192)[place % 2]
        assert np.abs(shown[y, x] - colour).max() <= 2.5 if KINDS[name].full else 2, (place, shown[y, x])


@pytest.mark.parametrize("size", [(96, 128), (720, 1280)])
def test_what_nobody_tagged_is_written_as_players_take_it(tmp_path, size):
    with VideoWriter(tmp_path / "x.mp4", size=size) as writer:
        writer.write(np.zeros((*size, 3), np.uint8), 0)
    with VideoReader(tmp_path / "x.mp4") as reader:
        assert reader.info.colours == guessed(*size)


def test_webm_with_alpha_is_tagged(tmp_path, build):
    image = np.dstack([build.patches(), np.full((96, 128), 255, np.uint8)])
    with VideoWriter(tmp_path / "x.webm", size=(96, 128), encoding="vp9-alpha", colours=Colours(1, 1, 1)) as writer:
        writer.write(image, 0)
    with VideoReader(tmp_path / "x.webm") as reader:
        assert reader.info.colours.matrix == 1


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with VideoWriter("2026-11-26T10:30/x.mp4", size=(16, 16)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8), 0)
    assert (tmp_path / "2026-11-26T10:30" / "x.mp4").stat().st_size > 0


@pytest.mark.parametrize(("name", "codec", "copied"), [("s.mkv", "libmp3lame", "mp3"), ("s.mp4", "aac", "aac")])
def test_sound_that_the_container_takes_is_copied(build, tmp_path, name, codec, copied):
    source = build(name, seconds=1.0, sounds=[(None, {"codec": codec, "rate": 44_100})])
    with VideoWriter(tmp_path / "o.mp4", size=(16, 16), audio_from=source) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8), 0)
    with av.open(str(source)) as old, av.open(str(tmp_path / "o.mp4")) as new:
        assert new.streams.audio[0].codec_context.codec.canonical_name == copied
        theirs, ours = ([bytes(p) for p in f.demux(audio=0) if p.size] for f in (old, new))
    assert ours == theirs


def test_the_track_that_is_heard_goes_along(build, tmp_path):
    tones = [(build.tone(2.0, level=level, hertz=hertz), {}) for level, hertz in ((0.0, 300), (0.5, 600))]
    source = build("two.mkv", sounds=tones)
    with VideoReader(source) as reader, VideoWriter(tmp_path / "o.mp4", size=(16, 16), audio_from=reader) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8), 0)
    with VideoReader(tmp_path / "o.mp4") as reader:
        assert np.abs(np.concatenate(list(reader.waveform()))).max() > 0.4


def test_the_sound_of_a_joined_recording_goes_on_after_the_join(build, tmp_path):
    piece = build("a.ts", seconds=2.0, sounds=[(None, {"rate": 48_000})])
    (tmp_path / "joined.ts").write_bytes(piece.read_bytes() * 2)
    with (
        VideoReader(tmp_path / "joined.ts") as reader,
        VideoWriter(tmp_path / "o.mp4", size=(16, 16), audio_from=reader) as out,
    ):
        for i in range(100):
            out.write(np.zeros((16, 16, 3), np.uint8), i / 25)
    with VideoReader(tmp_path / "o.mp4") as reader:
        heard = np.concatenate(list(reader.waveform()))
    assert len(heard) / 16_000 == pytest.approx(4.0, abs=0.15)
    assert np.abs(heard[40_000:60_000]).max() > 0.4


def test_the_sound_of_a_part_is_that_of_the_part(build, tmp_path):
    tones = np.concatenate([build.tone(1.0, hertz=300), build.tone(2.0, hertz=900)])
    source = build("part.mp4", seconds=3.0, sounds=[(tones, {})])
    with (
        VideoReader(source, start=1.5, end=2.5) as reader,
        VideoWriter(tmp_path / "o.mp4", size=(16, 16), audio_from=reader) as out,
    ):
        out.write(np.zeros((16, 16, 3), np.uint8), 0)
    with VideoReader(tmp_path / "o.mp4") as reader:
        heard = np.concatenate(list(reader.waveform()))
    assert len(heard) / 16_000 == pytest.approx(1.0, abs=0.15)
    assert np.abs(np.fft.rfft(heard[1600:14_400])).argmax() * 16_000 / 12_800 == pytest.approx(900, abs=3)
