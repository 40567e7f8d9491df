"""Decoding by a device: asked for where it is wanted, and without it where there is none."""

from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from sonomask.media import opening
from sonomask.media.reader import VideoReader
from sonomask.media.sandbox.reader import open_reader
from sonomask.request import Request

CLIP = str(Path(__file__).parents[2] / "examples" / "three_things.mp4")


def pictures(reader):
    with reader:
        return [frame.image for frame in reader.frames(1.0, size=(36, 64))], list(reader.warnings)


@pytest.fixture(scope="module")
def plain():
    return pictures(VideoReader(CLIP))[0]


def test_a_device_that_does_not_start_is_told_and_the_processor_decodes(plain, monkeypatch):
    def absent(device_type):
        raise PermissionError(1, f"no {device_type}")

    monkeypatch.setattr(opening, "HWAccel", absent)
    found, warnings = pictures(VideoReader(CLIP, **Request(hwaccel="cuda").part))
    assert len(warnings) == 1
    assert "decoded on the processor, as cuda did not start" in warnings[0]
    np.testing.assert_array_equal(found, plain)


def test_pictures_are_given_to_the_device_and_sound_is_not(plain, monkeypatch):
    asked = []
    real = av.open
    monkeypatch.setattr(opening, "HWAccel", lambda device_type: SimpleNamespace(kind=device_type))

    def spy(*given, hwaccel, **named):
        asked.append(hwaccel and hwaccel.kind)
        return real(*given, **named)

    monkeypatch.setattr(opening.av, "open", spy)
    with VideoReader(CLIP, hwaccel="vaapi") as reader:
        asked.clear()
        found = [frame.image for frame in reader.frames(1.0, size=(36, 64))]
        assert asked[0] == "vaapi"
        assert set(asked[1:]) <= {None}  # how long the sound goes on
        asked.clear()
        next(iter(reader.waveform()))
        assert asked == [None]
        assert not reader.warnings
    np.testing.assert_array_equal(found, plain)


def test_pictures_as_devices_give_them_are_the_same_to_a_few_steps(tmp_path, plain):
    """A device hands out NV12, not YUV 4:2:0 in three planes."""
    file = tmp_path / "clip.nut"
    with av.open(CLIP) as source, av.open(str(file), "w") as target:
        made = target.add_stream("rawvideo", rate=source.streams.video[0].average_rate)
        first = source.streams.video[0]
        made.width, made.height, made.pix_fmt = first.width, first.height, "nv12"
        for frame in source.decode(video=0):
            for packet in made.encode(frame.reformat(format="nv12")):
                target.mux(packet)
        for packet in made.encode():
            target.mux(packet)
    found, _ = pictures(VideoReader(file))
    count = min(len(found), len(plain))
    assert count > 3
    assert np.abs(np.int16(found[:count]) - np.int16(plain[:count])).mean() < 3


def test_a_sandboxed_decoder_reaches_no_device():
    with pytest.raises(ValueError, match="`hwaccel`: a sandboxed decoder reaches no device"):
        open_reader(CLIP, sandbox=True, hwaccel="cuda")
