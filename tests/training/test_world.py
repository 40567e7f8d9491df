"""The recipe of the built-in model's gate."""

from pathlib import Path

import pytest
import torch

import sonomask
from sonomask.checkpoints.folder import save
from sonomask.models.catalog import create_model

RECIPE = Path(__file__).parents[2] / "recipes" / "world.yaml"


@pytest.mark.filterwarnings("ignore")
def test_the_recipe_trains_the_gate_and_nothing_else(small_tables, tmp_path):
    from sonomask.training import recipes as cli

    torch.manual_seed(0)
    options = {"backbone": "tf_efficientnet_lite0", "width": 16, "gate": True}
    save(create_model("world", **options), tmp_path / "start")
    data = {"images": small_tables[0], "sounds": small_tables[1], "train": 2, "val": 1, "size": 64, "seconds": 1}
    words = [w for k, v in data.items() for w in (f"--data.init_args.{k}", str(v))]
    words += ["--model.model", "world", "--model.options", str(options), "--model.init_from", str(tmp_path / "start")]
    words += ["--model.warmup", "0", "--data.init_args.batch_size", "2", "--trainer.max_epochs", "1"]
    cli.train([str(RECIPE), *words, "--out", str(tmp_path / "run")])
    before, after = (sonomask.load(str(tmp_path / name)).state_dict() for name in ("start", "run/best"))
    changed = {name for name in before if not torch.allclose(before[name], after[name])}
    assert changed
    assert {name.split(".")[0] for name in changed} == {"gate"}
