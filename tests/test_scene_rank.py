"""Convolutions of low rank in place of full ones."""

import importlib
from pathlib import Path

import pytest
import torch

from sonomask.models.parts.scene import LowRank, SceneReader

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES))
    return importlib.import_module("scene_rank")


def test_what_is_of_that_rank_is_found_exactly(recipe):
    random = torch.Generator().manual_seed(1)
    x = torch.randn(300, 20, generator=random)
    weight = torch.randn(6, 3, generator=random) @ torch.randn(3, 20, generator=random)
    y = x @ weight.T + torch.arange(6)
    first, second, bias = recipe.reduced_rank(x, y, 3)
    assert first.shape == (3, 20)
    assert second.shape == (6, 3)
    torch.testing.assert_close(x @ first.T @ second.T + bias, y, atol=0.01, rtol=0)


def test_a_lower_rank_errs_as_little_as_the_best_of_that_rank(recipe):
    random = torch.Generator().manual_seed(2)
    x = torch.linalg.qr(torch.randn(400, 12, generator=random)).Q * 20  # inputs that say nothing of one another
    x -= x.mean(0)
    weight = torch.randn(8, 12, generator=random)
    y = x @ weight.T
    values = torch.linalg.svdvals(y)
    for rank in (1, 4, 7):
        first, second, bias = recipe.reduced_rank(x, y, rank)
        error = (x @ first.T @ second.T + bias - y).square().sum()
        assert error == pytest.approx(float(values[rank:].square().sum()), rel=0.01)


def test_a_narrowed_reader_gives_nearly_what_the_full_one_gives(recipe):
    torch.manual_seed(0)
    reader = SceneReader("tf_efficientnet_lite0", 3, width=16).eval()
    pictures = [torch.rand(1, 3, 64, 96) for _ in range(4)]
    narrowed = recipe.narrow(reader, pictures, rank=16, places=384)
    blocks = [narrowed.smooth[0], *narrowed.refine]
    assert all(isinstance(block, LowRank) for block in blocks)
    assert not isinstance(reader.smooth[0], LowRank)
    with torch.no_grad():
        for whole, low in zip(reader(pictures[0]), narrowed(pictures[0]), strict=True):
            assert (whole - low).square().mean() < 0.02 * whole.var()


def test_a_model_is_narrowed_and_saved(recipe, small_tables, tmp_path, monkeypatch):
    import sonomask
    from sonomask.checkpoints.folder import save
    from sonomask.models.catalog import create_model

    save(create_model("world", backbone="tf_efficientnet_lite0", width=16), tmp_path / "full", bits=16)
    words = ["--model", str(tmp_path / "full"), "--images", str(small_tables[0]), "--out", str(tmp_path / "narrow")]
    monkeypatch.setattr("sys.argv", ["scene_rank.py", *words, "--rank", "8", "--pictures", "2"])
    recipe.main()
    full, narrow = (sonomask.load(str(tmp_path / name)) for name in ("full", "narrow"))
    assert narrow.config.options["rank"] == 8
    ours, theirs = narrow.state_dict(), full.state_dict()
    assert ours["readers.0.smooth.0.a.weight"].shape == (8, 16, 3, 3)
    same = [name for name in ours if "smooth.0" not in name and "refine" not in name]
    assert len(same) > 100
    assert all(torch.equal(ours[name], theirs[name]) for name in same)
    monkeypatch.setattr("sys.argv", ["scene_rank.py", *words[:1], str(tmp_path / "narrow"), *words[2:]])
    with pytest.raises(SystemExit, match="full convolutions"):
        recipe.main()
