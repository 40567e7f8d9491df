"""Transport streams without FFmpeg's parsers: the pictures and the sound of the file, each as soon as it is here."""

import os
import threading
from collections import namedtuple

import av
import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.media.live import reader as room
from sonomask.media.live.reader import LIVE_LIMITS, LivePicture, LiveReader
from sonomask.media.live.source import parse_source
from sonomask.media.live.units import Units, together
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

Shown = namedtuple("Shown", "image")


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
def test_pictures_and_sound_are_those_of_the_file(kind, make_video, numbers, tmp_path, brief, monkeypatch):
    path = make_video(f"{kind}.ts", seconds=4, **({"options": KEYS} | KINDS.get(kind, {})))
    data = path.read_bytes()
    if kind == "no delimiters":
        data = data.replace(DELIMITER, FILLER)
    live, pictures, sounds = read(data, tmp_path, brief)
    assert live.units.parsing == (kind == "no delimiters")
    with VideoReader(path) as whole:
        frames = list(whole.frames())
    ends = {"B-frames, MP2": 8, "no delimiters": 2}.get(
        kind, 1
    )  # in decoder and parser, and the last, whose end is not known
    first = numbers([Shown(pictures[0].image())])[0]
    assert first <= 40
    assert len(pictures) >= 100 - first - ends
    np.testing.assert_allclose(np.diff([picture.time for picture in pictures]), 0.04, atol=1e-3)
    for picture, frame in zip(pictures, frames[first:], strict=False):
        np.testing.assert_array_equal(picture.image(), frame.image)
    monkeypatch.setattr(room, "take_units", lambda *_: None)
    (tmp_path / "pipe").unlink()
    _, _, plain = read(data, tmp_path, brief)  # by FFmpeg's parsers
    heard, same = (np.concatenate([sound.samples for sound in some]) for some in (sounds, plain))
    assert abs(len(heard) - len(same)) <= 16_000 * 0.1
    later = round((sounds[0].time - plain[0].time) * 16_000)
    assert 0 <= later <= 1100
    np.testing.assert_allclose(heard[4000:20_000], same[later:][4000:20_000], atol=1e-3)
    lengths = np.array([len(sound.samples) / 16_000 for sound in sounds])
    np.testing.assert_allclose(np.diff([sound.time for sound in sounds])[1:], lengths[1:-1], atol=0.002)


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
        sound = [packet for packet in [*tone.encode(samples), *tone.encode()] if packet.pts is not None]
        for one, two in zip(packets[::2], packets[1::2], strict=True):
            pair = av.Packet(bytes(one) + bytes(two))
            pair.pts, pair.dts, pair.time_base, pair.stream = one.pts, one.dts, one.time_base, video
            while sound and sound[0].pts * sound[0].time_base <= one.pts * one.time_base:
                file.mux(sound.pop(0))
            file.mux(pair)
    _, pictures, _ = read(path.read_bytes(), tmp_path, brief)
    assert len(pictures) >= 20
    steps = np.diff([picture.time for picture in pictures])
    np.testing.assert_allclose(steps, 0.05, atol=1e-3)
    shades = np.diff([picture.image().mean() for picture in pictures])
    np.testing.assert_allclose(shades, 3, atol=2)


def test_sound_whose_packets_begin_within_a_frame_is_whole(make_video):
    path = make_video("parts.ts", seconds=4, audio_codec="mp2")
    with av.open(str(path)) as file:
        (track,) = file.streams.audio
        packets = [packet for packet in file.demux(track) if packet.size]
        data, base = b"".join(bytes(packet) for packet in packets), packets[0].time_base
        first, length = packets[0].pts, len(packets) * packets[0].duration

        def parts():
            for at in range(0, len(data), 700):  # no multiple of a frame
                part = av.Packet(data[at : at + 700])
                part.pts, part.time_base = first + round(length * at / len(data)), base
                yield part
            yield av.Packet()

        units = Units(None, track)
        pieces = [piece for part in parts() for piece in units.sounds(part)]
    assert units.cutting
    assert sum(piece.size for piece in pieces) >= len(data) - 700
    assert len([piece for piece in pieces if piece.size]) >= len(packets) - 2


@pytest.mark.parametrize(("told", "is_at"), [(None, 2.0), (2.03, 2.0), (1.96, 2.0), (2.2, 2.2), (0.0, 0.0)])
def test_sound_goes_on_where_it_ended_unless_it_is_elsewhere(told, is_at):
    assert together(told, 2.0, 0.03) == is_at
    assert together(told, None, 0.03) == told


@pytest.mark.parametrize("ours", [True, False])
def test_a_picture_is_there_when_the_next_one_begins(ours, make_video, numbers, tmp_path, brief, monkeypatch):
    data = make_video("late.ts", seconds=4, options=KEYS).read_bytes()
    begins = packets_of_pictures(data)
    assert len(begins) == 100
    if not ours:
        monkeypatch.setattr(room, "take_units", lambda *_: None)
    _, pictures, _ = read(data[: begins[90]], tmp_path, brief)
    assert numbers([Shown(pictures[-1].image())]) == [89 if ours else 88]


def test_what_can_be_sought_in_or_is_no_transport_stream_keeps_its_parsers(make_video):
    for name in ("sought.ts", "sought.mkv"):
        path = make_video(name, options=KEYS)
        with LiveReader(parse_source(str(path))) as live:
            assert live.units is None
            assert sum(isinstance(item, LivePicture) for item in live) == 50
