import av
import numpy as np
import pytest

from sonomask.media.reader import VideoReader
from sonomask.media.writer import VideoWriter
from sonomask.structures import Masks

SIZE = (48, 64)


def frames(path):
    with VideoReader(path) as reader:
        return {f.time: f.image.astype(float) for f in reader.frames()}


def test_the_overlay_has_every_frame_at_its_time_and_the_sound(video, masks, written):
    made = written(["overlay"], *(masks(time) for time in (0.5, 1.5, 2.5)))["overlay"]
    with VideoReader(made) as result, VideoReader(video) as source:
        times = [[f.time for f in r.frames()] for r in (result, source)]
        tracks = [np.concatenate(list(r.waveform())) for r in (result, source)]
    np.testing.assert_allclose(times[0], times[1], atol=1e-3)
    np.testing.assert_allclose(tracks[0][:80_000], tracks[1][:80_000], atol=1e-3)


def test_each_frame_shows_the_mask_nearest_in_time(masks, written):
    made = written(["overlay"], Masks((0.5,), np.zeros((1, *SIZE), np.float32)), masks(1.5))["overlay"]
    lit = [time for time, image in frames(made).items() if image[:48, :20].mean() > 1.2 * image[34:46, 30:].mean()]
    np.testing.assert_allclose(lit, np.arange(4, 24) / 4, atol=1e-3)


def test_the_overlay_of_a_silent_video_has_no_sound(tmp_path, masks, written):
    with VideoWriter(tmp_path / "silent.mp4", size=SIZE, rate=4) as out:
        for i in range(4):
            out.write(np.zeros((*SIZE, 3), np.uint8), i / 4)
    made = written(["overlay"], masks(0.5), source=tmp_path / "silent.mp4")["overlay"]
    with VideoReader(made) as result:
        assert not result.info.has_audio
        assert result.info.height > SIZE[0]


@pytest.mark.parametrize("name", ["cutout", "dim", "blur"])
def test_what_sounds_stays_and_the_rest_changes(video, masks, written, name):
    before, after = frames(video)[1.0], frames(written([name], masks(0.5))[name])[1.0]
    assert np.abs(after - before)[5:40, 2:18].mean() < 6
    rest = np.s_[34:46, 30:62]
    assert after[rest].mean() < 0.5 * before[rest].mean() if name != "blur" else after[rest].std() < before[rest].std()


@pytest.mark.parametrize(("name", "decoder"), [("alpha-webm", "libvpx-vp9"), ("alpha-mov", "prores")])
def test_ffmpeg_reads_transparency_and_sound(masks, written, name, decoder):
    made = written([name], masks(0.5))[name]
    with av.open(str(made)) as container:
        assert container.streams.audio
        stream = container.streams.video[0]
        context = av.CodecContext.create(decoder, "r")
        context.extradata = stream.codec_context.extradata
        context.codec_tag = stream.codec_context.codec_tag
        pictures = [frame for packet in container.demux(stream) for frame in context.decode(packet)]
    alpha = pictures[4].to_ndarray(format="rgba")[..., 3]
    assert len(pictures) == 24
    assert alpha[5:40, 2:20].min() > 240
    assert alpha[34:46, 30:].max() < 15
