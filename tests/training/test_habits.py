"""What a researcher does day by day: several seeds, a search for the rate, other loggers, a metric of one's own."""

import csv
import json
import sys
import textwrap
import types

import pytest
import yaml

from sonomask.cli.main import main
from sonomask.errors import TrainingError
from sonomask.training.recipes import logger
from sonomask.training.seeds import split_seeds, summary

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of CPUs, workers and arguments

SIZES = {"train": 4, "val": 2, "test": 2, "size": 32, "batch_size": 2, "workers": 0}
DATA = ["--data", "synthetic", *(f"--data.{key}={value}" for key, value in SIZES.items())]
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1"]
MODEL = ["--model.model", "avs_mini", "--model.options", "{fusion: none}"]
ONCE = [*MODEL, *DATA, *QUIET, "--trainer.max_epochs=1"]

OWN = """
    import torch
    from torchmetrics import Metric


    class Marked(Metric):
        def __init__(self):
            super().__init__()
            self.add_state("marked", torch.tensor(0.0), dist_reduce_fx="sum")
            self.add_state("clips", torch.tensor(0), dist_reduce_fx="sum")

        def update(self, logits, batch):
            assert logits.shape[:2] == batch.masks.shape[:2] and logits.shape[-2:] == batch.masks.shape[-2:]
            self.marked += (logits > 0).float().mean((1, 2, 3, 4)).sum()
            self.clips += len(logits)

        def compute(self):
            return {"share": self.marked / self.clips, "clips": self.clips}


    def other():
        return 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "metric_of_mine.py").write_text(textwrap.dedent(OWN))
    monkeypatch.chdir(tmp_path)
    yield "metric_of_mine"
    sys.modules.pop("metric_of_mine", None)


def test_several_seeds_are_trained_scored_and_told_with_their_deviation(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["train", *ONCE, "--seeds", "3", "4", "--out", str(out)]
    assert main(words) == 0
    assert "0." in capsys.readouterr().out
    held = {seed: json.loads((out / f"seed_{seed}" / "test" / "scores.json").read_text()) for seed in (3, 4)}
    for seed in (3, 4):
        recipe = yaml.safe_load((out / f"seed_{seed}" / "recipe.yaml").read_text())
        assert (recipe["seed_everything"], recipe["model"]["seed"], recipe["data"]["init_args"]["seed"]) == (seed,) * 3
    assert held[3]["facts"]["weights"] != held[4]["facts"]["weights"]
    rows = {(row["protocol"], row["metric"]): row for row in csv.DictReader((out / "seeds.csv").open())}
    values = [next(r["value"] for r in held[s]["rows"] if r["metric"] == "miou") for s in (3, 4)]
    row = rows["avsbench", "miou"]
    assert float(row["mean"]) == pytest.approx(sum(values) / 2)
    assert float(row["deviation"]) == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=1e-9)
    before = (out / "seed_3" / "metrics.csv").read_bytes()
    assert main(words) == 0  # nothing is run again
    assert (out / "seed_3" / "metrics.csv").read_bytes() == before
    assert "avsbench | miou" in capsys.readouterr().out


def test_a_figure_of_one_seed_has_no_deviation():
    held = {"rows": [{"protocol": "a", "metric": "b", "value": 0.5, "count": 1}]}
    assert summary({7: held}) == [{"protocol": "a", "metric": "b", "mean": 0.5, "deviation": 0.0, "seed 7": 0.5}]


@pytest.mark.parametrize("wrong", [["--seeds"], ["--seeds", "1", "1"], ["--seeds", "--out", "x"]])
def test_seeds_that_are_none_are_refused(wrong):
    with pytest.raises(TrainingError, match="--seeds 1 2 3"):
        split_seeds(wrong)


def test_seeds_are_told_from_other_words():
    assert split_seeds(["a.yaml", "--seeds", "1", "2", "--out", "x"]) == ([1, 2], ["a.yaml", "--out", "x"])
    assert split_seeds(["a.yaml"]) == ([], ["a.yaml"])


def test_a_rate_is_looked_for_without_training(tmp_path, capsys):
    out = tmp_path / "out"
    words = [*MODEL, *DATA, *QUIET, "--data.train=8", "--trainer.max_epochs=50"]
    assert main(["train", *words, "--find_rate", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    rate = float(said.split("--model.learning_rate ")[1].split()[0])
    rows = list(csv.DictReader((out / "rates.csv").open()))
    assert 1e-6 < rate < 1
    assert len(rows) > 20
    assert float(rows[0]["learning_rate"]) < rate < float(rows[-1]["learning_rate"])
    assert not (out / "best").exists()
    assert not (out / "last.ckpt").exists()


def test_a_metric_of_ones_own_is_logged_in_training_and_told_by_evaluate(own, tmp_path, capsys):
    run = tmp_path / "run"
    path = f"{own}.Marked"
    assert main(["train", *ONCE, "--model.metrics", f"[{path}]", "--out", str(run)]) == 0
    logged = [row["val/Marked/clips"] for row in csv.DictReader((run / "metrics.csv").open())]
    assert [float(value) for value in logged if value] == [2.0]
    words = ["evaluate", "--model", str(run), *DATA, "--device", "cpu", "--out", str(tmp_path / "test")]
    assert main([*words, "--metrics", f"[{path}]"]) == 0
    assert "| own | Marked/share | " in capsys.readouterr().out
    rows = json.loads((tmp_path / "test" / "scores.json").read_text())["rows"]
    assert {r["metric"]: r["value"] for r in rows if r["protocol"] == "own"}["Marked/clips"] == 2


@pytest.mark.parametrize(
    ("name", "said"), [("nothing.Here", "can't be made"), ("{own}.other", "got int"), ("Short", "can't be made")]
)
def test_what_is_no_metric_is_refused(name, said, own, tmp_path, capsys):
    wanted = name.format(own=own)
    assert main(["train", *ONCE, "--model.metrics", f"[{wanted}]", "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


def test_the_record_goes_to_other_loggers_too(tmp_path, monkeypatch):
    asked = {}
    for kind in ("WandbLogger", "MLFlowLogger"):
        monkeypatch.setattr(
            f"lightning.pytorch.loggers.{kind}", lambda kind=kind, **given: asked.setdefault(kind, given)
        )
    logger("wandb", tmp_path / "run")
    logger("mlflow", tmp_path / "run")
    assert asked["WandbLogger"] == {"save_dir": str(tmp_path / "run"), "name": "run"}
    assert asked["MLFlowLogger"]["tracking_uri"] == f"file:{tmp_path / 'run'}/mlruns"


def test_a_logger_that_is_not_installed_or_none_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)

    def missing(**_):
        raise ModuleNotFoundError("No module named 'wandb'")

    monkeypatch.setattr("lightning.pytorch.loggers.WandbLogger", missing)
    with pytest.raises(TrainingError, match="pip install wandb"):
        logger("wandb", tmp_path)
    with pytest.raises(TrainingError, match="expected wandb, mlflow"):
        logger("csv", tmp_path)
    module = types.ModuleType("loggers_of_mine")
    module.Wrong = dict
    monkeypatch.setitem(sys.modules, "loggers_of_mine", module)
    with pytest.raises(TrainingError, match="got dict"):
        logger("loggers_of_mine.Wrong", tmp_path)


def test_a_run_writes_to_a_logger_of_ones_own(tmp_path, monkeypatch):
    from lightning.pytorch.loggers import Logger

    heard = []

    class Mine(Logger):
        name, version = "mine", "0"

        def log_metrics(self, metrics, step=None):
            heard.append((step, set(metrics)))

        def log_hyperparams(self, *_, **__):
            pass

    module = types.ModuleType("logger_of_mine")
    module.Mine = Mine
    monkeypatch.setitem(sys.modules, "logger_of_mine", module)
    assert main(["train", *ONCE, "--log_to", "[logger_of_mine.Mine]", "--out", str(tmp_path / "run")]) == 0
    assert any("train/loss" in names for _, names in heard)
    assert any("val/miou" in names for _, names in heard)
    assert (tmp_path / "run" / "metrics.csv").is_file()
