"""What people hear: the right track of several, and a channel where the mean of two would be silence."""

import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.media.reader import VideoReader
from sonomask.media.sandbox.reader import SandboxedReader


def sound(reader):
    return np.concatenate([*reader.waveform(), np.zeros(0, np.float32)])


def hertz(samples, rate=16_000):
    return float(np.abs(np.fft.rfft(samples[rate // 4 :])).argmax() * rate / (len(samples) - rate // 4))


@pytest.fixture
def tracks(build):
    """Makes a file whose tracks are tones of 300, 600, 900 … Hz, or silent where the level is 0."""

    def make(name="tracks.mkv", levels=(0.5, 0.5), words=None, seconds=2.0, **more):
        words = words or [{}] * len(levels)
        tones = [
            (build.tone(seconds, level=level, hertz=300 * (i + 1)), own)
            for i, (level, own) in enumerate(zip(levels, words, strict=True))
        ]
        return build(name, seconds=seconds, sounds=tones, **more)

    return make


DEFAULTS = [{"default": False, "language": "deu"}, {"default": True, "language": "eng"}, {"default": False}]


@pytest.mark.parametrize(
    ("levels", "words", "heard"),
    [
        ((0.5, 0.5), None, 1),
        ((0.0, 0.5), [{"default": True}, {"default": False}], 2),
        ((0.5, 0.5, 0.5), DEFAULTS, 2),
        ((0.5, 0.0, 0.5), DEFAULTS, 1),
        ((0.0, 0.0, 0.5), None, 3),
        ((0.0, 0.0), None, 1),
    ],
)
def test_the_default_track_is_heard_unless_it_is_silent(tracks, levels, words, heard):
    with VideoReader(tracks(levels=levels, words=words)) as reader:
        assert reader.info.heard == (heard,)
        assert reader.info.audio_track.startswith(f"{heard} of {len(levels)}")
        assert any(f"sound track {heard} of {len(levels)}" in line for line in reader.warnings)
        if levels[heard - 1]:
            assert hertz(sound(reader)) == pytest.approx(300 * heard, abs=2)


@pytest.mark.parametrize(("choice", "heard"), [(1, 1), ("3", 3), ("eng", 2), ("en", 2), ("de", 1), ("Director", 3)])
def test_a_track_can_be_chosen_by_number_language_or_title(tracks, choice, heard):
    words = [*DEFAULTS[:2], {"default": False, "title": "Director"}]
    for kind in (VideoReader, SandboxedReader):
        with kind(tracks(levels=(0.5,) * 3, words=words), audio_track=choice) as reader:
            assert reader.info.heard == (heard,)
            assert hertz(sound(reader)) == pytest.approx(300 * heard, abs=2)


def test_all_tracks_can_be_mixed(tracks):
    with VideoReader(tracks(levels=(0.2, 0.3)), audio_track="mix") as reader:
        mixed = sound(reader)
        spectrum = np.abs(np.fft.rfft(mixed[4000:28000])) / 12000
        assert reader.info.audio_track == "all 2 mixed"
    assert spectrum[450] == pytest.approx(0.2, abs=0.03)
    assert spectrum[900] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("choice", ["7", "fra", 0])
def test_a_track_that_is_not_there_is_an_error_that_lists_the_tracks(tracks, choice):
    with pytest.raises(MediaError, match=r"no sound track .*1: aac, deu; 2: aac, eng"):
        VideoReader(tracks(words=DEFAULTS[:2]), audio_track=choice)


def test_four_mono_tracks_of_a_recorder(tracks):
    words = [{"codec": "pcm_s16le", "rate": 48_000}] * 4
    path = tracks("mono4.mxf", (0, 0, 0.5, 0), words, codec="mpeg2video", options={"b": "2M"}, fps=25)
    with VideoReader(path) as reader:
        assert reader.info.audio_track.startswith("3 of 4")


def test_a_first_track_of_an_unknown_codec_is_passed_over(tracks):
    path = tracks("unknown.mkv", words=[{"codec": "libopus", "rate": 48_000}, {}], levels=(0.5, 0.5))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"A_OPUS", b"A_NONE", 1))
    with VideoReader(path) as reader:
        assert reader.info.heard == (2,)
        assert reader.info.has_audio


def test_sound_that_can_t_be_decoded_is_called_that(tracks):
    path = tracks("odd.mkv", words=[{"codec": "libopus", "rate": 48_000}], levels=(0.5,))
    path.write_bytes(path.read_bytes().replace(b"A_OPUS", b"A_NONE", 1))
    with VideoReader(path) as reader, pytest.raises(MediaError, match="sound that can't be decoded"):
        list(reader.waveform())


LEFT = {"layout": "stereo", "codec": "pcm_s16le"}


@pytest.mark.parametrize(
    ("sides", "word"), [((1, -1), "cancel"), ((1, -0.97), "cancel"), ((1, 0), "empty"), ((0, 1), "empty")]
)
def test_the_louder_channel_is_heard_where_the_mix_would_be_too_quiet(build, sides, word):
    tone = build.tone(2.0)
    path = build("sides.mkv", sounds=[(np.stack([side * tone for side in sides]), LEFT)])
    for kind in (VideoReader, SandboxedReader):
        with kind(path) as reader:
            heard = sound(reader)
            assert sum(word in line for line in reader.warnings) == 1
        assert np.abs(heard[1000:-1000]).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("sides", [(1, 1), (1, 0.5), (1, -0.3)])
def test_ordinary_stereo_is_mixed_as_ffmpeg_does(build, sides):
    tone = build.tone(1.0)
    with VideoReader(build("both.mkv", seconds=1.0, sounds=[(np.stack([s * tone for s in sides]), LEFT)])) as reader:
        np.testing.assert_allclose(sound(reader)[: len(tone)], tone * sum(sides) / np.sqrt(2), atol=1e-3)
        assert not reader.warnings


def test_only_the_part_that_is_inverted_is_heard_from_one_channel(build):
    tone = build.tone(4.0)
    right = np.where(np.arange(len(tone)) < len(tone) // 2, tone, -tone)
    with VideoReader(build("half.mkv", seconds=4.0, sounds=[(np.stack([tone, right]), LEFT)])) as reader:
        heard = sound(reader)
    assert np.abs(heard[:30_000]).max() == pytest.approx(0.5 * np.sqrt(2), abs=0.02)
    assert np.abs(heard[-24_000:-1000]).max() == pytest.approx(0.5, abs=0.02)


def test_a_language_of_a_quiet_track_is_still_taken_when_asked_for(tracks):
    with VideoReader(tracks(levels=(0.5, 0.0), words=DEFAULTS[:2]), audio_track="eng") as reader:
        assert np.abs(sound(reader)).max() < 1e-3
