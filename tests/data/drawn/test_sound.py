import numpy as np
import pytest
import torch

from sonomask.audio.logmel import SAMPLE_RATE, examples
from sonomask.data.drawn.picture import KINDS
from sonomask.data.drawn.sound import LOUDNESS, TIMBRES, gate, timbre


def mel(kind, pitch=1.0, seed=0):
    wave = timbre(kind, pitch, 2 * SAMPLE_RATE, np.random.default_rng(seed))
    return examples(torch.from_numpy(wave))[:, 0]


def test_everything_that_is_seen_has_a_sound():
    assert tuple(TIMBRES) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_equally_loud(kind):
    wave = timbre(kind, 1.1, SAMPLE_RATE, np.random.default_rng(0))
    assert wave.dtype == np.float32
    np.testing.assert_allclose(np.sqrt(np.mean(wave**2)), LOUDNESS, rtol=1e-3)


def test_a_timbre_is_told_by_its_log_mel_whatever_its_pitch():
    def fingerprint(kind, pitch):
        x = mel(kind, pitch)[0].unflatten(1, (16, 4)).mean(2)  # coarse, as the pitch moves narrow bands
        return torch.cat([x.mean(0), x.std(0)])

    table = torch.stack([fingerprint(k, p) for k in KINDS for p in (0.84, 0.92, 1.0, 1.09, 1.19)])
    asked = torch.stack([fingerprint(k, p) for k in KINDS for p in (0.88, 1.14)])
    nearest = torch.cdist(asked, table).argmin(dim=1) // 5
    assert nearest.tolist() == [i for i in range(len(KINDS)) for _ in range(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_any_patch_of_a_timbre_is_like_the_next(kind):
    first, second = mel(kind)
    assert (first.mean(0) - second.mean(0)).abs().mean() < 0.35


def test_a_gate_is_open_in_the_seconds_asked_for():
    opened = gate(np.array([False, True, False]))
    assert opened.shape == (3 * SAMPLE_RATE,)
    assert not opened[:SAMPLE_RATE].any()
    np.testing.assert_allclose(opened[SAMPLE_RATE + 200 : 2 * SAMPLE_RATE], 1)
    assert not opened[2 * SAMPLE_RATE + 200 :].any()


def test_a_gate_moves_in_ramps_that_do_not_click():
    assert np.abs(np.diff(gate(np.array([True, False, True])))).max() < 0.01
