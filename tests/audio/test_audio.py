"""The log-mel front end and the encoders, against the reference's numbers and against a loop."""

import json

import numpy as np
import pytest
import torch
import written_out

from sonomask.audio.efficient import EfficientEncoder
from sonomask.audio.light import LightEncoder
from sonomask.audio.logmel import SAMPLE_RATE, examples, examples_at, fit, log_mel
from sonomask.audio.vggish import PCA, VGGish


def tone(seconds, hertz=440.0):
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return torch.from_numpy(0.5 * np.sin(2 * np.pi * hertz * t))


SIGNALS = {
    "sine440_5s": lambda: tone(5),
    "noise_5s": lambda: torch.from_numpy(0.1 * np.random.RandomState(0).randn(80_000)),
    "silence_5s": lambda: torch.zeros(80_000),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_log_mel_is_that_of_the_reference(name, golden):
    theirs = np.load(golden / "logmel.npz")[name]
    ours = examples(SIGNALS[name]())
    assert np.abs(ours.numpy() - theirs).max() <= 1e-4


def test_a_short_track_repeats_its_last_patch_as_in_the_reference(golden):
    numbers = np.load(golden / "logmel.npz")
    padded = fit(torch.from_numpy(numbers["noise_4p3s"]), 5, "repeat")
    assert np.array_equal(padded.numpy(), numbers["noise_4p3s_padded5"])


@pytest.mark.parametrize(
    ("samples", "count"),
    [(0, 0), (300, 0), (15_599, 0), (15_600, 1), (30_960, 2), (77_039, 4), (77_040, 5), (160_000, 10)],
)
def test_patches_by_samples_are_as_many_as_in_the_reference(samples, count):
    assert len(examples(torch.zeros(samples))) == count


def test_the_vectorised_form_equals_a_loop_over_frames():
    waveform = torch.randn(4_000, generator=torch.Generator().manual_seed(0)) * 0.1
    torch.testing.assert_close(log_mel(waveform), written_out.log_mel(waveform), atol=2e-4, rtol=0)


def test_padding_with_zeros_and_cutting():
    patches = examples(tone(3))
    assert len(fit(patches, 10, "zeros")) == 10
    assert (fit(patches, 10, "zeros")[3:] == 0).all()
    assert torch.equal(fit(patches, 2), patches[:2])
    assert len(fit(patches[:0], 5)) == 5


@pytest.mark.parametrize("align", ["end", "centre"])
def test_a_piece_of_a_track_gives_the_patches_of_the_whole(align):
    track = torch.randn(6 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    whole = examples_at(track, [2.5, 3.1], align=align)
    piece = examples_at(track[SAMPLE_RATE : 5 * SAMPLE_RATE], [2.5, 3.1], start=1.0, align=align)
    assert torch.equal(whole, piece)


def test_a_patch_ends_at_its_time():
    track = torch.zeros(3 * SAMPLE_RATE)
    track[2 * SAMPLE_RATE :] = tone(1)
    before, after = examples_at(track, [1.9, 2.9])
    assert before.max() < -4.5 < 0 < after.max()


@pytest.mark.parametrize("wrong", [torch.zeros(2, 100), torch.tensor([0.0, float("nan")])])
def test_a_wrong_waveform_is_refused(wrong):
    with pytest.raises(ValueError, match="waveform"):
        log_mel(wrong)


@pytest.fixture(scope="module")
def ear(fill):
    network = VGGish().eval()
    network.load_state_dict(fill({k: tuple(v.shape) for k, v in network.state_dict().items()}))
    return network


def test_vggish_gives_the_references_embeddings(ear, golden):
    numbers = np.load(golden / "vggish.npz")
    generator = torch.Generator().manual_seed(99)
    with torch.inference_mode():
        ours = ear(torch.randn(5, 1, 96, 64, generator=generator))
    assert np.abs(ours.numpy() - numbers["embedding"]).max() <= 1e-5


def test_pca_gives_the_references_bytes(golden, fill):
    numbers, about = np.load(golden / "vggish.npz"), json.loads((golden / "vggish.json").read_text())
    pca = PCA()
    pca.load_state_dict(fill(about["postprocessor"]["keys"]))
    embedding = torch.randn(5, 128, generator=torch.Generator().manual_seed(98)).relu()
    assert np.array_equal(pca(embedding).numpy(), numbers["pca_quantized"])


@pytest.mark.parametrize("small", [LightEncoder, EfficientEncoder])
def test_a_small_encoder_tells_sounds_apart(small):
    torch.manual_seed(0)
    encoder = small().eval()
    with torch.inference_mode():
        low, high = encoder(torch.cat([examples(tone(1, 200)), examples(tone(1, 3000))]))
    assert low.shape == (encoder.channels,)
    assert not torch.allclose(low, high)
