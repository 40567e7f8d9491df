"""`sonomask train` and `sonomask evaluate`: recipes in YAML, every option on the command line."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from sonomask.checkpoints.folder import load
from sonomask.training.callbacks import Checkpoint, Panels
from sonomask.training.evaluate import Report
from sonomask.training.evaluate import evaluate as score
from sonomask.training.module import AVSModule

LAST = "last.ckpt"


def train(argv: Sequence[str]) -> None:
    """Train by a recipe: `sonomask train RECIPE… [--option value …]`.

    Args:
        argv: Recipes first, where a later one overrides an earlier; then LightningCLI's options (`--model.…`, `--data.…`,
            `--trainer.…`), `--out FOLDER` and `--resume true`.
    """
    torch.set_float32_matmul_precision("high")
    warnings.filterwarnings("ignore", "Experiment logs directory .* is not empty")  # an earlier log was renamed
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # ours come from the command line, less the verb
    _Training(
        AVSModule,
        LightningDataModule,
        subclass_mode_data=True,
        seed_everything_default=123,
        trainer_defaults={"use_distributed_sampler": False, "log_every_n_steps": 10, "enable_checkpointing": False},
        save_config_kwargs={"overwrite": True, "config_filename": "recipe.yaml"},
        args=["fit", *as_configs(argv)],
    )


def as_configs(argv: Sequence[str]) -> list[str]:
    """Leading file names become `--config` options."""
    count = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    return [part for name in argv[:count] for part in ("--config", name)] + list(argv[count:])


class _Training(LightningCLI):
    """LightningCLI with our folder, loggers and checkpoints; the resolved recipe and the versions lie beside them."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--out", default="runs/latest", help="folder of logs, checkpoints and the best model")
        parser.add_argument("--resume", default=False, type=bool, help=f"go on from OUT/{LAST} if there is one")

        parser.add_argument("--checkpoint_every", default=0, type=int, help="steps between checkpoints within an epoch")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        out = Path(self._get(self.config_init, "out"))
        out.mkdir(parents=True, exist_ok=True)
        (out / "versions.txt").write_text(f"torch {torch.__version__}\nlightning {lightning.__version__}\n")
        log = out / "metrics.csv"
        if log.is_file():  # the logger would delete it
            log.rename(out / f"metrics.before_{len(list(out.glob('metrics.before_*.csv'))) + 1}.csv")
        loggers = [CSVLogger(out, name="", version=""), TensorBoardLogger(out, name="", version="")]
        trainer = super().instantiate_trainer(**{"logger": loggers, **kwargs})
        every = self._get(self.config_init, "checkpoint_every")
        trainer.callbacks += [Checkpoint(str(out), every=every), Panels()]  # type: ignore[attr-defined]
        if trainer.progress_bar_callback is not None:
            trainer.callbacks.remove(trainer.progress_bar_callback)  # type: ignore[attr-defined]
            trainer.callbacks.append(RichProgressBar())  # type: ignore[attr-defined]
        return trainer

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        last = Path(self._get(self.config_init, "out")) / LAST
        resume = self._get(self.config_init, "resume") and last.is_file()
        options = {"ckpt_path": str(last), "weights_only": True} if resume else {}
        return {**super()._prepare_subcommand_kwargs(subcommand), **options}


def evaluate(argv: Sequence[str]) -> Report:
    """Score a model: `sonomask evaluate --model NAME_OR_FOLDER --data.class_path … [--protocols …] [--out FOLDER]`.

    Size and normalisation of the pictures, size of the truth and protocol are the model's own unless given.

    Args:
        argv: Options; `--config FILE` or a leading recipe file may hold them too (its training options are ignored).
    """
    parser = LightningArgumentParser(prog="sonomask evaluate", description="Score a model on a data set.")
    parser.add_argument("--config", action="config", help="YAML file with options")
    parser.add_argument("--model", required=True, help="built-in name, folder or hub repository")
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True, required=True)
    parser.add_argument("--split", default="test", choices=["train", "val", "test"])
    parser.add_argument(
        "--protocols", type=list[str] | None, help="names of scoring protocols; the model's own unless given"
    )
    parser.add_argument("--sounds", type=list[str], default=["own"], help="own, silence, noise, offscreen")
    parser.add_argument("--details", default=False, type=bool, help="boundary F, and each category by itself")
    parser.add_argument("--out", default=None, help="folder for scores.json, .csv, .md and the worst clips")
    parser.add_argument("--save_masks", default=None, help="folder for a PNG of each frame")
    parser.add_argument("--worst", type=int, default=0, help="how many of the worst clips to draw into --out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.instantiate(parser.parse_args(as_configs(argv)))
    model = load(options.model, options.device)
    if hasattr(options.data, "suit"):
        options.data.suit(model.config)
    out = Path(options.out) if options.out else None
    report = score(
        model, options.data.eval_dataloader(options.split), protocols=options.protocols, sounds=options.sounds,
        device=options.device, out=out, save_masks=Path(options.save_masks) if options.save_masks else None,
        worst=options.worst, seed=options.seed, details=options.details,
        facts={"command": "sonomask evaluate " + " ".join(argv), "model": options.model, "split": options.split,
               **({"maskige": str(getattr(options.data, "maskige", None))} if model.config.maskige else {})},
    )  # fmt: skip
    if out is not None:
        report.save(out)
    return report
