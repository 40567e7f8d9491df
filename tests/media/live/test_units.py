"""Transport streams without FFmpeg's parsers: the pictures and the sound of the file, each as soon as it is here."""

import os
import threading

import av
import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.media.live import reader as room
from sonomask.media.live.reader import LIVE_LIMITS, LivePicture, LiveReader
from sonomask.media.live.source import parse_source
from sonomask.media.opening import Limits
from sonomask.media.reader import VideoReader

KEYS = {"crf": "10", "g": "10", "bf": "0"}
DELIMITER, FILLER = b"\0\0\1\x09", b"\0\0\1\x0c"
X265 = {"x265-params": "log-level=none:pools=1:keyint=10:bframes=0"}
KINDS = {
    "H.264, AAC": {},
    "B-frames, MP2": {"options": KEYS | {"bf": "2"}, "audio_codec": "mp2"},
    "slices, AC-3": {"options": KEYS | {"slices": "3"}, "audio_codec": "ac3", "rate": 48_000},
    "HEVC, MP3": {"codec": "libx265", "options": X265, "audio_codec": "libmp3lame"},
}


def read(data, tmp_path, limits=LIVE_LIMITS):
    """What a reader gives of bytes that come through a pipe, which then stays open and silent."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    over = threading.Event()

    def write():
        with path.open("wb", buffering=0) as file:
            file.write(data)
            over.wait(60)

    thread = threading.Thread(target=write)
    thread.start()
    items = []
    try:
        with (
            LiveReader(parse_source(str(path)), limits=limits) as live,
            pytest.raises(MediaError, match=r"silent|no data"),
        ):
            items.extend(live)
    finally:
        over.set()
        thread.join()
    assert live.damaged == 0
    return live, [i for i in items if isinstance(i, LivePicture)], [i for i in items if not isinstance(i, LivePicture)]


def packets_of_pictures(data, number=0x100):
    """Where each packet of a stream's track begins and its first 188 bytes end."""
    starts = range(0, len(data) - 187, 188)
    head = [data[at + 1 : at + 3] for at in starts]
    return [
        at + 188
        for at, two in zip(starts, head, strict=True)
        if two[0] & 0x40 and (two[0] & 31) << 8 | two[1] == number
    ]


@pytest.fixture
def brief():
    return Limits(pixels=LIVE_LIMITS.pixels, timeout=1.5)


@pytest.mark.parametrize("kind", [*KINDS, "no delimiters"])
def test_pictures_and_sound_are_those_of_the_file(kind, make_video, tmp_path, brief):
    path = make_video(f"{kind}.ts", seconds=4, **({"options": KEYS} | KINDS.get(kind, {})))
    data = path.read_bytes()
    if kind == "no delimiters":
        data = data.replace(DELIMITER, FILLER)
    live, pictures, sounds = read(data, tmp_path, brief)
    assert live.units.parsing == (kind == "no delimiters")
    with VideoReader(path) as whole:
        frames, track = list(whole.frames()), np.concatenate(list(whole.waveform()))
    ends = 8 if kind == "B-frames, MP2" else 1  # in the decoder, or the last packet, whose end is not known
    of = {round(frame.time * 25): frame.image for frame in frames}
    first = round(pictures[0].time * 25)
    assert len(pictures) >= 100 - first - ends
    assert first <= 40
    for at, picture in enumerate(pictures):
        assert picture.time * 25 == pytest.approx(first + at, abs=1e-3)
        np.testing.assert_array_equal(picture.image(), of[first + at])
    heard = np.concatenate([sound.samples for sound in sounds])
    begins = round(sounds[0].time * 16_000)
    assert len(heard) >= len(track) - max(0, begins) - 8000
    part = slice(8000, 20_000)  # far from both ends, whose overlap a decoder that begins there lacks
    np.testing.assert_allclose(heard[part], track[begins:][part], atol=0.02)


def test_two_pictures_in_a_packet_are_two(tmp_path, brief):
    path = tmp_path / "pairs.ts"
    with av.open(str(path), "w", format="mpegts") as file:
        video = file.add_stream("libx264", rate=20, options=KEYS | {"aud": "1"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        tone = file.add_stream("mp2", rate=16_000, layout="mono")
        packets = []
        for index in range(80):
            image = np.full((64, 96, 3), 3 * index, np.uint8)
            packets += video.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
        packets += video.encode()
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 64_000), np.int16), format="s16", layout="mono")
        samples.sample_rate = 16_000
        sound = [packet for packet in [*tone.encode(samples), *tone.encode()] if packet.size]
        for one, two in zip(packets[::2], packets[1::2], strict=True):
            pair = av.Packet(bytes(one) + bytes(two))
            pair.pts, pair.dts, pair.time_base, pair.stream = one.pts, one.dts, one.time_base, video
            while sound and sound[0].pts * sound[0].time_base <= one.pts * one.time_base:
                file.mux(sound.pop(0))
            file.mux(pair)
    _, pictures, _ = read(path.read_bytes(), tmp_path, brief)
    assert len(pictures) >= 40
    steps = np.diff([picture.time for picture in pictures])
    np.testing.assert_allclose(steps, 0.05, atol=1e-3)
    shades = np.diff([picture.image().mean() for picture in pictures])
    np.testing.assert_allclose(shades, 3, atol=2)


@pytest.mark.parametrize("ours", [True, False])
def test_a_picture_is_there_when_the_next_one_begins(ours, make_video, tmp_path, brief, monkeypatch):
    data = make_video("late.ts", seconds=4, options=KEYS).read_bytes()
    begins = packets_of_pictures(data)
    assert len(begins) == 100
    if not ours:
        monkeypatch.setattr(room, "take_units", lambda *_: None)
    _, pictures, _ = read(data[: begins[90]], tmp_path, brief)
    assert round(pictures[-1].time * 25) == (89 if ours else 88)


def test_what_can_be_sought_in_or_is_no_transport_stream_keeps_its_parsers(make_video):
    for name in ("sought.ts", "sought.mkv"):
        path = make_video(name, options=KEYS)
        with LiveReader(parse_source(str(path))) as live:
            assert live.units is None
            assert sum(isinstance(item, LivePicture) for item in live) == 50
