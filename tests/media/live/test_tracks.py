"""Which sound of a live source is heard, and what joined recordings become."""

import numpy as np
import pytest

from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.errors import MediaError
from sonomask.media.live.reader import LivePicture, LiveReader, LiveSound
from sonomask.media.live.source import LiveSource


def read(path, **words):
    with LiveReader(LiveSource(str(path), f"file:{path}", "file", **words)) as reader:
        return list(reader), reader


def heard(items):
    return np.concatenate([item.samples for item in items if isinstance(item, LiveSound)])


def hertz(samples):
    return float(np.abs(np.fft.rfft(samples[4000:20_000])).argmax())


@pytest.mark.parametrize(
    ("levels", "choice", "expected"), [((0.5, 0.5), None, 300), ((0, 0.5), None, 600), ((0.5, 0.5), 2, 600)]
)
def test_the_track_is_chosen_as_elsewhere(build, levels, choice, expected):
    tones = [(build.tone(2.0, level=level, hertz=300 * (i + 1)), {}) for i, level in enumerate(levels)]
    items, _ = read(build("two.mkv", sounds=tones), audio_track=choice)
    assert hertz(heard(items)) == pytest.approx(expected, abs=2)


def test_a_track_that_is_not_there_is_an_error(build):
    with pytest.raises(MediaError, match="no sound track"):
        read(build("one.mkv"), audio_track=5)


def test_the_louder_of_two_channels_that_cancel_is_heard(build):
    tone = build.tone(2.0)
    words = {"layout": "stereo", "codec": "pcm_s16le"}
    items, reader = read(build("anti.mkv", sounds=[(np.stack([tone, -tone]), words)]))
    assert np.abs(heard(items)).max() == pytest.approx(0.5, abs=0.02)
    assert reader.warnings


def test_both_halves_of_a_joined_file_come_one_after_the_other(build, tmp_path):
    piece = build("piece.ts", seconds=4.0, sounds=[(None, {"rate": 48_000})])
    (tmp_path / "joined.ts").write_bytes(piece.read_bytes() * 2)
    items, _ = read(tmp_path / "joined.ts")
    times = [item.time for item in items if isinstance(item, LivePicture)]
    assert len(times) == 200
    assert np.diff(times).min() > 0
    assert np.diff(times).max() < 0.2
    assert times[-1] - times[0] == pytest.approx(7.96, abs=0.15)
    sounds = [item.time for item in items if isinstance(item, LiveSound)]
    assert sounds[-1] == pytest.approx(times[-1], abs=0.3)


def test_a_plain_file_is_read_as_before(tmp_path):
    write_video(tmp_path / "v.mp4", scene(3, size=(48, 64), seconds=2), fps=8)
    items, _ = read(tmp_path / "v.mp4")
    assert sum(isinstance(item, LivePicture) for item in items) == 16
