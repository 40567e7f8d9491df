"""Nothing of a run is lost: it is not replaced unasked, not gone on with otherwise than it began, and its files are taken."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer

from sonomask.checkpoints import folder
from sonomask.checkpoints.convert import convert, read_checkpoint
from sonomask.cli.main import main
from sonomask.data.datamodule import SyntheticDataModule
from sonomask.errors import WeightsError
from sonomask.models.catalog import create_model
from sonomask.training.callbacks import FIRST_EPOCH, Checkpoint
from sonomask.training.module import AVSModule

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of CPUs, workers and arguments

RECIPE = """
model: {model: avs_mini, options: {fusion: none}, learning_rate: 0.002, schedule: cosine}
data:
  class_path: sonomask.data.datamodule.SyntheticDataModule
  init_args: {train: 4, val: 2, test: 2, size: 32, batch_size: 2, workers: 0}
trainer: {enable_progress_bar: false, log_every_n_steps: 1, max_epochs: 2, limit_train_batches: 1, accelerator: cpu}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    place = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    place.write_text(RECIPE)
    return str(place)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """A run that is over."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", recipe, "--out", str(out)]) == 0
    return out


def content(out):
    return {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file() and "events" not in p.name}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "holds a run (last.ckpt, best). Go on with --resume"),
        (["--resume", "--overwrite"], "give one of them"),
        (["--resume", "--model.learning_rate", "0.1"], "learning_rate 0.002 → 0.1"),
        (["--resume", "--trainer.max_epochs", "9"], "max_epochs 2 → 9, over which the cosine schedule"),
    ],
)
def test_a_run_is_neither_replaced_nor_bent_and_its_record_stays(options, said, run, recipe, capfd):
    before = content(run)
    assert main(["train", recipe, "--out", str(run), *options]) == 2
    printed = capfd.readouterr().err
    assert said in printed
    assert "Traceback" not in printed
    assert content(run) == before


def test_a_new_run_may_take_the_folder_when_told(recipe, tmp_path):
    for options in ([], ["--overwrite"]):
        words = ["train", recipe, "--out", str(tmp_path / "run"), "--trainer.max_epochs", "1", *options]
        assert main(words) == 0
    assert (tmp_path / "run" / "best" / "config.json").is_file()


def test_a_run_killed_within_its_first_epoch_starts_anew_with_resume(recipe, tmp_path):
    """Between the first best weights and the first checkpoint there is something to replace, and nothing to go on from."""
    run = tmp_path / "run"
    words = ["train", recipe, "--out", str(run), "--trainer.max_epochs", "1"]
    assert main(words) == 0
    assert not (run / FIRST_EPOCH).exists()
    weights = (run / "best" / "model.safetensors").read_bytes()
    (run / "last.ckpt").unlink()  # as the run had it when it was killed
    (run / FIRST_EPOCH).touch()
    (run / "best" / "model.safetensors").write_bytes(b"of the epoch that was broken off")
    assert main(words) == 2
    assert main([*words, "--resume"]) == 0
    assert (run / "best" / "model.safetensors").read_bytes() == weights


def test_a_damaged_checkpoint_is_told_in_one_line(recipe, tmp_path, capfd):
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 half a file")
    assert main(["train", recipe, "--out", str(tmp_path), "--resume"]) == 2
    printed = capfd.readouterr().err
    assert "last.ckpt: damaged" in printed
    assert "Traceback" not in printed


def test_a_loss_that_is_not_finite_is_told_in_one_line(recipe, tmp_path, capfd):
    words = ["train", recipe, "--out", str(tmp_path), "--model.learning_rate", "1e30", "--model.schedule", "constant"]
    assert main([*words, "--trainer.max_epochs", "9"]) == 2
    printed = capfd.readouterr().err
    assert "not finite" in printed
    assert "Lower the learning rate" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")])
def test_a_full_disk_leaves_nothing_half_written(error, tmp_path, monkeypatch):
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        "enable_checkpointing": False,
    }
    runs = Trainer(accelerator="cpu", max_epochs=1, use_distributed_sampler=False, **quiet)
    runs.callbacks.append(Checkpoint(str(tmp_path)))

    def full(path, **_):
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(runs, "save_checkpoint", full)
    clips = SyntheticDataModule(train=2, val=2, size=32, batch_size=2, workers=0)
    runs.fit(AVSModule("avs_mini", {"fusion": "none"}), clips)
    assert [p.name for p in tmp_path.iterdir()] == ["best"]


def test_a_runs_checkpoint_becomes_a_model_and_its_folder_is_one(run, tmp_path):
    made = convert(run / "last.ckpt", tmp_path / "m")
    assert made.config.image_size == (32, 32)
    assert folder.fingerprint(folder.load(tmp_path / "m")) == folder.fingerprint(made)
    assert folder.fingerprint(folder.load(run)) == folder.fingerprint(folder.load(run / "best"))
    with pytest.raises(WeightsError, match="needs no converting"):
        convert(run / "best", tmp_path / "n")
    with pytest.raises(WeightsError, match=r"sonomask convert .*last.ckpt"):
        folder.load(run / "last.ckpt")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("inside", [None, "state_dict_ema", "ema"])
def test_wrappers_around_a_state_dict_are_taken_off(prefix, inside, tmp_path):
    state = {f"{prefix}a.{prefix}b": torch.ones(1)} | ({"n_averaged": torch.tensor(3)} if inside else {})
    torch.save({inside: state, "epoch": 3} if inside else state, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth") == {"a.b": torch.ones(1)}


def test_options_and_scores_beside_the_tensors_do_no_harm(tmp_path):
    beside = {"args": argparse.Namespace(lr=0.1, out=tmp_path), "best": np.float64(0.7), "count": np.int64(3)}
    torch.save({"state_dict": create_model("avs_mini").state_dict(), **beside}, tmp_path / "a.pth")
    assert "decoder.head.0.weight" in read_checkpoint(tmp_path / "a.pth")


def test_what_is_not_safe_is_refused_with_a_remedy(tmp_path):
    torch.save({"state_dict": {}, "hook": print}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"torch.save\(model.state_dict\(\)"):
        read_checkpoint(tmp_path / "a.pth")
