"""The model's thread: what it is given and what it gives."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sonomask.audio.logmel import examples_at
from sonomask.batches import Output
from sonomask.errors import WeightsError
from sonomask.inference.segmenter import Segmenter
from sonomask.live.feed import Feed
from sonomask.live.segmenter import LiveSegmenter
from sonomask.media.live.reader import LivePicture, LiveReader, LiveSound
from sonomask.media.live.source import parse_source
from sonomask.media.reader import VideoReader
from sonomask.models.catalog import create_model
from sonomask.structures import ModelConfig


def play(segmenter, path, clock):
    """Every picture of a file, one after the other, each once its sound is there."""
    feed = Feed(clock.now, listens=segmenter.config.listens, ahead=segmenter.ahead)
    results = []
    with LiveReader(parse_source(str(path)), now=clock.now) as reader:
        items = list(reader)
    for item in items:
        if isinstance(item, LiveSound):
            feed.sound(item)
    stream = segmenter(feed)
    for item in items:
        if isinstance(item, LivePicture):
            feed.picture(item, captured=item.time)
            results.append(next(stream))
    feed.end()
    return [result for result in (*results, *stream) if result is not None]


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    from sonomask.data.drawn.world import scene
    from sonomask.data.tree import write_video

    path = tmp_path_factory.mktemp("live") / "clip.mp4"
    write_video(path, scene(3, size=(48, 64), seconds=3), fps=4)
    return path


@pytest.mark.parametrize("pairing", ["end", "centre"])
def test_each_picture_is_given_the_sound_of_the_whole_track(clip, clock, stub, pairing):
    model = stub(pairing=pairing)
    play(LiveSegmenter(model, device="cpu", pairing="model"), clip, clock)
    with VideoReader(clip) as reader:
        track = torch.from_numpy(np.concatenate(list(reader.waveform())))
    expected = examples_at(track, model.times, align=pairing)
    assert len(model.times) == 12
    torch.testing.assert_close(torch.cat(model.heard), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fusion", ["tpavi", "visual"])
def test_the_live_answer_is_the_offline_answer_to_the_past(clip, clock, fusion):
    torch.manual_seed(0)
    model = create_model("avs_mini", fusion=fusion, width=32).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.weight, 1, 0.1)
    model.config = replace(model.config, image_size=(64, 64), clip_length=3)
    live = play(LiveSegmenter(model, device="cpu", smooth=0), clip, clock)
    whole = list(Segmenter(model, device="cpu", rate="native", smooth=0)(clip))
    for one, other in zip(live[-4:], whole[-4:], strict=True):  # the last second has the whole clip behind it
        assert one.time == other.times[0]
        np.testing.assert_allclose(one.masks.probability, other.probability, atol=1e-4, rtol=1e-4)


def test_masks_come_at_the_size_of_the_picture_or_below_the_height(clip, clock, stub):
    assert play(LiveSegmenter(stub(), device="cpu"), clip, clock)[0].labels.shape == (48, 64)
    small = play(LiveSegmenter(stub(), device="cpu", height=24), clip, clock)[0]
    assert small.labels.shape == (24, 32)
    assert small.drawn.shape == (24, 32, 3)


def test_no_more_masks_are_made_than_asked_for(clip, clock, stub):
    results = play(LiveSegmenter(stub(), device="cpu", rate=2.0), clip, clock)
    np.testing.assert_allclose(np.diff([r.time for r in results]), 0.5, atol=0.01)


def test_a_model_that_does_not_listen_needs_no_sound(clip, clock, stub):
    model = stub(listens=False)
    play(LiveSegmenter(model, device="cpu"), clip, clock)
    assert model.heard == [None] * 12


def test_pairing_end_waits_for_no_sound_after_the_picture(stub):
    assert LiveSegmenter(stub(pairing="centre"), device="cpu", pairing="model").ahead == 0.5
    assert LiveSegmenter(stub(pairing="centre"), device="cpu").ahead <= 0


@pytest.mark.parametrize(("came_to", "heard_to"), [(5.5, 5.0), (5.0, 4.98), (4.95, 4.93), (4.7, 5.0)])
def test_the_past_that_is_heard_ends_where_sound_has_come_to_or_else_is_silence(clock, stub, came_to, heard_to):
    model = stub()
    feed = Feed(clock.now, listens=True)
    wave = np.random.default_rng(0).normal(0, 0.1, round(came_to * 16_000)).astype(np.float32)
    feed.sound(LiveSound(0.0, wave))
    feed.picture(still(5.0), captured=5.0)
    feed.end()
    list(LiveSegmenter(model, device="cpu")(feed))
    expected = examples_at(torch.from_numpy(wave), [heard_to], align="end")
    torch.testing.assert_close(model.heard[0], expected, atol=1e-4, rtol=1e-4)


def test_what_a_recurrent_model_heard_fades(clock, stub):
    class Counter(stub):
        def start(self, streams=1):
            return torch.zeros(streams, 2)

        def step(self, images, logmel, past, time):
            output, _ = super().step(images, logmel, 0, time)
            return output, past + 1

    model = Counter(recurrent=True, listens=False)
    feed = Feed(clock.now, listens=False)
    segmenter = LiveSegmenter(model, device="cpu", rate=25.0)
    pasts = []
    step = segmenter.scorer.step
    segmenter.scorer.step = lambda image, patch, past, time: (pasts.append(past), step(image, patch, past, time))[1]
    stream = segmenter(feed)
    for time in (0.0, 1.0, 61.0):
        feed.picture(still(time), captured=time)
        next(stream)
    torch.testing.assert_close(pasts[1], torch.full((1, 2), float(np.exp(-1 / 30))))
    torch.testing.assert_close(pasts[2], (pasts[1] + 1) * float(np.exp(-2)))


def still(time):
    image = np.zeros((24, 32, 3), np.uint8)
    return SimpleNamespace(time=time, size=(4, 4), frame=SimpleNamespace(), bytes=24, image=lambda _: image)


def test_the_delay_is_from_capture_to_mask(clock, stub):
    feed = Feed(clock.now, listens=False)
    feed.picture(still(5.0), captured=5.0)
    feed.end()
    clock.time = 5.75
    (result,) = LiveSegmenter(stub(listens=False), device="cpu")(feed)
    assert result.delay == pytest.approx(0.75)


def test_a_source_that_is_silent_gives_a_beat(clock, stub):
    beats = LiveSegmenter(stub(listens=False), device="cpu")(Feed(clock.now, listens=False))
    assert next(beats) is None


def test_a_model_that_gives_no_number_is_an_error(clip, clock, stub):
    model = stub()
    model.step = lambda images, *_, **__: (Output(images.mean(1)[:, None, None] * float("nan")), 0)
    with pytest.raises(WeightsError, match="NaN"):
        play(LiveSegmenter(model, device="cpu"), clip, clock)


@pytest.mark.parametrize(
    ("options", "word"), [({"rate": 0.0}, "rate"), ({"height": 2}, "height"), ({"threshold": 2.0}, "threshold")]
)
def test_arguments_out_of_range_are_refused(stub, options, word):
    with pytest.raises(ValueError, match=word):
        LiveSegmenter(stub(), device="cpu", **options)


def test_a_model_without_a_streaming_form_is_refused():
    stub = torch.nn.Identity()
    stub.config = ModelConfig("stub")
    with pytest.raises(ValueError, match="streaming"):
        LiveSegmenter(stub, device="cpu")
