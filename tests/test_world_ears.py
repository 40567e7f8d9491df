"""The recipe that teaches an ear to hear mixes."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from sonomask.audio.logmel import PATCH_SAMPLES, examples
from sonomask.audio.tagger import NAMES, Tagger

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES))
    return importlib.import_module("world_ears")


@pytest.fixture(scope="module")
def ear():
    torch.manual_seed(0)
    return Tagger().eval()


@pytest.fixture
def bank(recipe, ear, small_tables):
    return recipe.Bank.make(recipe.read_table([small_tables[1]], []), ear, each=1, seed=0)


def test_its_patches_are_those_of_the_package(recipe):
    waves = torch.randn(3, PATCH_SAMPLES, generator=torch.Generator().manual_seed(1)) * 0.1
    ours, theirs = recipe.to_mel(recipe.spectra(waves)), torch.cat([examples(wave) for wave in waves])
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_groups_that_are_held_back_are_not_heard(recipe, small_tables):
    every = recipe.read_table([small_tables[1]], [])
    left = recipe.read_table([small_tables[1]], ["dog", "3"])
    assert len(every) == 30
    assert {r.group for r in every} - {r.group for r in left} == {*(f"dog{i}" for i in range(10)), "speech3", "siren3"}


def test_cuts_are_as_loud_as_one_another_and_heard_by_the_teacher(recipe, ear, bank):
    waves = torch.from_numpy(bank.waves[:, recipe.BEFORE :].astype(np.float32))
    assert bank.kinds == [kind for kind in ("speech", "dog", "siren") for _ in range(10)]
    torch.testing.assert_close(waves.square().mean(1).sqrt(), torch.full((30,), recipe.LOUD), atol=1e-4, rtol=0)
    with torch.no_grad():
        quieter = ear(torch.cat([examples(wave * 0.1) for wave in waves])).sigmoid()
    torch.testing.assert_close(torch.from_numpy(bank.scores[:, 2]).float(), quieter, atol=2e-3, rtol=0)
    assert recipe.cut_of(np.zeros(16_000, np.float32), np.random.default_rng(0)) is None


def test_a_target_is_the_largest_score_of_what_is_mixed_at_its_level(recipe, monkeypatch):
    waves = np.zeros((2, recipe.BEFORE + PATCH_SAMPLES), np.float16)
    waves[:, recipe.BEFORE :] = np.random.default_rng(0).standard_normal((2, PATCH_SAMPLES)) * recipe.LOUD
    scores = np.zeros((2, 3, NAMES), np.float16)
    scores[0, 0, :2], scores[1, :, 1] = (0.5, 0.25), (1.0, 0.75, 0.25)
    mixes = recipe.Mixes(recipe.Bank(waves, scores, ["dog", "cat"]), seed=0)
    monkeypatch.setattr(recipe, "standing_out", lambda _, which: [1.0, 0.5][which])
    for level, second in ((0.0, 1.0), (-5.0, 0.875), (-15.0, 0.5), (-20.0, 0.25), (-30.0, 0.25)):
        monkeypatch.setattr(mixes, "parts", lambda _, level=level: [(0, 0.0), (1, level)])
        _, target, _ = mixes.mix(np.random.default_rng(0))
        assert target[:3] == pytest.approx([0.5, max(0.25, second / 2), 0.0])


def test_what_is_covered_by_louder_sounds_does_not_stand_out(recipe):
    time = np.arange(PATCH_SAMPLES) / 16_000
    low, high = (np.sin(2 * np.pi * pitch * time)[None] for pitch in (300, 3000))
    tones = [recipe.coarse(wave)[0] for wave in (low, high, 0.1 * low)]
    assert recipe.standing_out(tones[:1], 0) == 1
    assert recipe.standing_out(tones[:2], 0) > 0.99
    assert recipe.standing_out(tones[:2], 1) > 0.99
    assert recipe.standing_out(tones, 2) < 0.01


def test_one_clean_cut_keeps_the_teachers_own_scores(recipe, ear, bank, monkeypatch):
    mixes = recipe.Mixes(bank, seed=0)
    monkeypatch.setattr(mixes, "parts", lambda _: [(7, 0.0)])
    drawn = [mixes.mix(np.random.default_rng(seed)) for seed in range(12)]
    own = bank.waves[7, recipe.BEFORE :].astype(np.float32)
    clean = [target for wave, target, changed in drawn if np.array_equal(wave, own) and not changed]
    assert 2 < len(clean) < len(drawn)
    with torch.no_grad():
        teacher = ear(examples(torch.from_numpy(own)))[0].sigmoid()
    for target in clean:
        torch.testing.assert_close(torch.from_numpy(target), teacher, atol=2e-3, rtol=0)


def test_batches_are_drawn_by_number(recipe, bank):
    x, target = recipe.Mixes(bank, seed=1).batch(5, 6)
    again, _ = recipe.Mixes(bank, seed=1).batch(5, 6)
    other, _ = recipe.Mixes(bank, seed=1).batch(6, 6)
    assert x.shape == (6, 1, 96, 64)
    assert target.shape == (6, NAMES)
    assert torch.isfinite(x).all()
    assert torch.equal(x, again)
    assert not torch.equal(x, other)


def test_an_ear_is_taught_stopped_and_taught_on(recipe, small_tables, tmp_path, monkeypatch):
    import sonomask
    from sonomask.checkpoints.folder import save
    from sonomask.models.catalog import create_model

    before = create_model("world", backbone="tf_efficientnet_lite0", width=16)
    save(before, tmp_path / "before", bits=32)
    words = ["--model", str(tmp_path / "before"), "--sounds", str(small_tables[1]), "--out", str(tmp_path)]
    words += ["--each", "1", "--batch", "2", "--frozen", "12", "--bits", "32", "--held", "siren"]
    for more in (["--steps", "1"], ["--steps", "3"], ["--steps", "3", "--share", "0"]):
        monkeypatch.setattr("sys.argv", ["world_ears.py", *words, *more])
        recipe.main()
        assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == int(more[1])
        taught, old = sonomask.load(str(tmp_path / "model")).audio.state_dict(), before.audio.state_dict()
        learnt = {key for key in old if not torch.equal(taught[key], old[key])}
        expected = {key for key in old if key.startswith(("head", "depth.12", "point.12"))}
        assert learnt == (set() if "--share" in more else expected)


def test_a_model_of_another_kind_is_refused(recipe, small_tables, tmp_path, monkeypatch):
    words = ["--model", "avs_mini.synthetic", "--sounds", str(small_tables[1]), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["world_ears.py", *words])
    with pytest.raises(SystemExit, match="expected a `world` model"):
        recipe.main()
