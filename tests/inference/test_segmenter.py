"""The model here is a stub whose values tell which frames and which sound it was given."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sonomask.audio.logmel import examples, examples_at
from sonomask.batches import Output
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.errors import MediaError, WeightsError
from sonomask.inference.inputs import cut
from sonomask.inference.maskige import PALETTE
from sonomask.inference.segmenter import Segmenter, finished
from sonomask.inference.torch_scorer import choose_device
from sonomask.media.reader import VideoReader
from sonomask.media.writer import VideoWriter
from sonomask.request import Request
from sonomask.structures import ModelConfig

SIZE = (48, 64)
CONFIG = ModelConfig("stub", image_size=(24, 32), clip_length=3)


class Stub(nn.Module):
    """Each second's logits mix its picture, its sound and the second before."""

    def __init__(self, config=CONFIG, classes=1):
        super().__init__()
        self.config, self.classes, self.heard, self.seen = config, classes, [], []

    def forward(self, images, logmel, valid=None):
        assert valid is None
        self.seen.append(images)
        x = images.mean(2) + 0.5 * images.roll(1, dims=1).mean(2)
        if logmel is not None:
            self.heard.append(logmel)
            x = x + 0.1 * logmel.mean((2, 3, 4))[..., None, None]
        return Output(torch.stack([x * (-1) ** k + 0.1 * k for k in range(self.classes)], 2))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("inference") / "video.mp4"
    write_video(path, scene(3, size=SIZE, seconds=7), fps=4)
    return path


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    path = tmp_path_factory.mktemp("inference") / "silent.mp4"
    with VideoWriter(path, size=SIZE, rate=4) as out:
        for i in range(12):
            out.write(np.full((*SIZE, 3), 20 * i, np.uint8), i / 4)
    return path


def whole(segmenter, path):
    pieces = list(segmenter(path))
    return [p.times[0] for p in pieces], np.concatenate([p.probability for p in pieces])


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.5, 3.0, "native", "avsbench"])
def test_streaming_a_video_gives_the_masks_of_the_whole(video, rate):
    segmenter = Segmenter(Stub(), device="cpu", rate=rate)
    times, probability = whole(segmenter, video)
    pieces = list(segmenter.stream(video, seconds=2))
    assert [t for p in pieces for t in p.times] == times
    assert np.array_equal(np.concatenate([p.probability for p in pieces]), probability)


def test_a_piece_of_a_stream_has_the_seconds_asked_for(video):
    pieces = list(Segmenter(Stub(), device="cpu", rate=2.0).stream(video, seconds=3))
    assert [len(p) for p in pieces] == [6, 6, 2]


def test_masks_come_at_source_size_in_order_each_frame_once(video):
    times, probability = whole(Segmenter(Stub(), device="cpu", rate="native"), video)
    np.testing.assert_allclose(times, np.arange(28) / 4, atol=1e-4)
    assert probability.shape == (28, *SIZE)


def test_phases_equal_a_loop_written_out(video):
    _, probability = whole(Segmenter(Stub(), device="cpu", rate=2.0, smooth=0), video)
    with VideoReader(video) as reader:
        frames = list(reader.frames(2.0, size=CONFIG.image_size))
        track = torch.from_numpy(np.concatenate(list(reader.waveform())))
    mean, std = (torch.tensor(v)[:, None, None] for v in (CONFIG.mean, CONFIG.std))
    expected = {}
    for first in (0, 3, 4):  # the last window reaches back
        for phase in (0, 1):
            clip = [2 * second + phase for second in range(first, first + 3)]
            images = torch.stack([torch.from_numpy(frames[i].image).permute(2, 0, 1) / 255 for i in clip])
            logmel = examples_at(track, [frames[i].time for i in clip], align="end")
            logits = Stub()(((images - mean) / std)[None], logmel[None]).logits[0]
            big = torch.nn.functional.interpolate(logits, size=SIZE, mode="bilinear")[:, 0].sigmoid()
            for i, one in zip(clip, big, strict=True):
                expected.setdefault(i, one)
    np.testing.assert_allclose(probability, torch.stack([expected[i] for i in range(14)]), atol=1e-5, rtol=0)


def test_a_second_with_fewer_frames_lends_its_last_one(tmp_path):
    path, stub = tmp_path / "vfr.mp4", Stub(replace(CONFIG, listens=False, clip_length=2, mean=(0,) * 3, std=(1,) * 3))
    with VideoWriter(path, size=SIZE, rate=4) as out:
        for time in (0, 0.25, 0.5, 1.0, 1.5):
            out.write(np.full((*SIZE, 3), int(100 * time), np.uint8), time)
    times, _ = whole(Segmenter(stub, device="cpu", rate="native"), path)
    np.testing.assert_allclose(times, [0, 0.25, 0.5, 1.0, 1.5], atol=1e-4)
    grey = stub.seen[0].mean((2, 3, 4)) * 255
    torch.testing.assert_close(grey, torch.tensor([[0, 100], [25, 150], [50, 150.0]]), atol=3, rtol=0)


def test_a_video_shorter_than_a_clip_has_masks_for_its_own_seconds_only(video):
    config = replace(CONFIG, clip_length=20)
    times, _ = whole(Segmenter(Stub(config), device="cpu", rate=1.0), video)
    assert len(times) == 7


def test_below_one_per_second_the_model_still_sees_every_second(video):
    times, probability = whole(Segmenter(Stub(), device="cpu", rate=0.5), video)
    every = whole(Segmenter(Stub(), device="cpu", rate=1.0), video)
    assert times == every[0][1::2]
    assert np.array_equal(probability, every[1][1::2])


@pytest.mark.parametrize(("seconds", "rate", "count"), [(1, 0.5, 1), (1.5, 0.5, 1), (3, 0.1, 1), (4, 0.5, 2)])
def test_a_video_shorter_than_a_step_still_has_a_mask(tmp_path, seconds, rate, count):
    path, stub = tmp_path / "short.mp4", Stub(replace(CONFIG, listens=False))
    with VideoWriter(path, size=SIZE, rate=10) as out:
        for i in range(int(seconds * 10)):
            out.write(np.zeros((*SIZE, 3), np.uint8), i / 10)
    assert len(whole(Segmenter(stub, device="cpu", rate=rate), path)[0]) == count


def test_the_sound_at_avsbench_rate_is_the_patches_of_the_data_set(video):
    stub = Stub(replace(CONFIG, clip_length=7))
    list(Segmenter(stub, device="cpu", rate="avsbench")(video))
    with VideoReader(video) as reader:
        track = torch.from_numpy(np.concatenate(list(reader.waveform())))
    torch.testing.assert_close(stub.heard[0][0], examples(track)[:7])


@pytest.mark.parametrize("pairing", ["end", "centre"])
def test_the_sound_is_paired_as_the_model_was_trained(video, pairing):
    stub = Stub(replace(CONFIG, pairing=pairing, clip_length=7))
    times, _ = whole(Segmenter(stub, device="cpu", rate=1.0), video)
    with VideoReader(video) as reader:
        track = torch.from_numpy(np.concatenate(list(reader.waveform())))
    torch.testing.assert_close(stub.heard[0][0], examples_at(track, times, align=pairing))


def test_phases_share_batches(video):
    stub = Stub(replace(CONFIG, clip_length=7))
    list(Segmenter(stub, device="cpu", rate="native", batch_size=3)(video))
    assert [len(images) for images in stub.seen] == [3, 1]


def test_the_batch_size_does_not_change_the_masks(video):
    one, four = (whole(Segmenter(Stub(), device="cpu", rate=4.0, batch_size=b), video)[1] for b in (1, 4))
    np.testing.assert_allclose(one, four, atol=1e-6)


def test_a_long_video_holds_no_more_frames_than_a_window(tmp_path, monkeypatch):
    path, alive, most = tmp_path / "long.mp4", 0, 0
    write_video(path, scene(1, size=SIZE, seconds=40), fps=2)
    reads = VideoReader.frames

    def counted(self, *args, **kwargs):
        nonlocal alive
        for frame in reads(self, *args, **kwargs):
            alive += 1
            yield frame

    monkeypatch.setattr(VideoReader, "frames", counted)
    for done, _ in enumerate(Segmenter(Stub(), device="cpu", rate=2.0)(path)):
        most = max(most, alive - done)
    assert most <= 2 * (CONFIG.clip_length + 1)


class Counter(Stub):
    """Recurrent: its masks tell how many frames it has seen."""

    def forward(self, images, logmel, past=None):
        del logmel
        self.seen.append(images.shape[1])
        past = images.new_zeros(1, 1) if past is None else past
        counts = past + torch.arange(1, images.shape[1] + 1)
        return Output(images.mean(2, keepdim=True) * 0 + counts[..., None, None, None] / 9, past=counts[:, -1:])


def test_the_first_mask_waits_for_no_other_frame(video):
    model = Counter(replace(CONFIG, dense=True, recurrent=True, listens=False))
    stream = Segmenter(model, rate=4, smooth=0)(video)
    first = next(stream)
    assert model.seen == [1]
    everyone = [first, *stream]
    scores = np.log(1 / (1 / np.array([masks.probability.mean() for masks in everyone]) - 1))
    np.testing.assert_allclose(scores, np.arange(1, 29) / 9, rtol=1e-4)  # each frame once, the past handed on


def test_a_video_without_sound_is_refused_by_a_model_that_listens(silent):
    with pytest.raises(MediaError, match="no sound stream"):
        list(Segmenter(Stub(), device="cpu", rate=1.0)(silent))


def test_a_video_without_sound_is_fine_for_a_model_that_does_not_listen(silent):
    assert len(list(Segmenter(Stub(replace(CONFIG, listens=False)), device="cpu", rate=1.0)(silent))) == 3


def test_logits_that_are_no_numbers_are_named(video):
    stub = Stub()
    stub.forward = lambda *_: Output(torch.full((1, 3, 1, 24, 32), torch.nan))
    with pytest.raises(WeightsError, match="NaN or infinity in the 3 s from 0 s"):
        list(Segmenter(stub, device="cpu", rate=1.0)(video))


def test_a_semantic_model_gives_the_best_class_of_all(video):
    masks = next(iter(Segmenter(Stub(classes=5), device="cpu", rate=1.0)(video)))
    assert masks.labels.shape == (1, *SIZE)
    assert set(np.unique(masks.labels).tolist()) <= {0, 1, 2, 3, 4}
    assert np.array_equal(masks.mask, masks.labels > 0)
    assert 0 <= masks.probability.min() <= masks.probability.max() <= 1


def test_a_threshold_makes_background_of_unsure_labels(video):
    masks = next(iter(Segmenter(Stub(classes=5), device="cpu", threshold=0.9)(video)))
    assert not (masks.mask & (masks.probability <= 0.9)).any()


def test_the_threshold_is_the_models_unless_given(video):
    stub = Stub(replace(CONFIG, threshold=0.3))
    assert next(iter(Segmenter(stub, device="cpu", rate=1.0)(video))).threshold == 0.3
    assert next(iter(Segmenter(stub, device="cpu", threshold=0.7)(video))).threshold == 0.7


def test_the_three_stages_may_run_apart_and_give_the_same_masks(video):
    request = Request(rate=2.0)
    segmenter = Segmenter(Stub(), request)
    times, probabilities = whole(segmenter, video)
    with VideoReader(video) as reader:
        sent = pickle.loads(pickle.dumps(list(cut(reader, CONFIG, request))))  # noqa: S301 - ours
    stream = segmenter.new_stream()
    maps = [segmenter.maps(window, "it", stream) for window in sent]
    found = [m for i, window in enumerate(sent) for m in finished(window, maps[i], SIZE, CONFIG, request)]
    assert [m.times[0] for m in found] == times
    assert np.array_equal(np.concatenate([m.probability for m in found]), probabilities)


def test_masks_can_be_changed_in_place(video):
    masks = next(iter(Segmenter(Stub(), device="cpu", rate=1.0)(video)))
    np.minimum(masks.probability, 0.5, out=masks.probability)  # a read-only array would refuse
    assert masks.probability.max() <= 0.5


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"rate": "fast"}, {"rate": True}, {"threshold": 1.5}, {"batch_size": 0}, {"device": "abc"}]
)
def test_a_wrong_argument_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Segmenter(Stub(), **{"device": "cpu", **wrong})


def test_auto_is_a_device_that_is_here():
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}


def test_a_frame_whose_presence_score_is_low_gets_an_empty_mask(video):
    import sonomask

    model = sonomask.load("world.real")
    open_, gated = (list(Segmenter(model, min_presence=p)(video)) for p in (0.0, 1.0))
    assert all(0 <= m.presence[0] <= 1 for m in open_)
    assert [m.presence for m in open_] == [m.presence for m in gated]
    assert not any(m.mask.any() for m in gated)
    assert any(float(m.probability.max()) > 0 for m in open_)


def test_a_gate_needs_a_model_with_a_presence_score():
    import sonomask

    with pytest.raises(ValueError, match="no calibrated presence"):
        Segmenter(sonomask.load("avs_mini.synthetic"), min_presence=0.5)


class Reader(Stub):
    """Reads a second picture, and marks what is grey in it: where the maker saw no region."""

    def forward(self, *_, maskige):
        grey = torch.tensor([120 / 255]).sub(torch.tensor(self.config.mean)).div(torch.tensor(self.config.std))
        return Output(((maskige - grey[:, None, None]).abs().amax(2, keepdim=True) < 1e-3).float() * 4 - 2)


def test_a_model_that_reads_regions_gets_those_of_the_maker(video):
    def left(images):
        made = np.full_like(images, 120)
        made[:, :, 16:] = PALETTE[1]
        return made

    segmenter = Segmenter(Reader(replace(CONFIG, maskige=True)), device="cpu", maker=left)
    masks = next(iter(segmenter(video))).mask[0]
    assert masks[:, :30].all()
    assert not masks[:, 34:].any()


def test_superpixels_make_them_unless_another_maker_is_given():
    assert Segmenter(Reader(replace(CONFIG, maskige=True)), device="cpu").maker.name == "superpixels"
    assert Segmenter(Stub(), device="cpu", rate=1.0).maker is None
    with pytest.raises(ValueError, match="`maskige`: the model stub reads no maskige"):
        Segmenter(Stub(), device="cpu", maker=lambda images: images)
