"""`sonomask train` and `sonomask evaluate`: recipes in YAML, every option on the command line."""

import csv
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.tuner.tuning import Tuner
from lightning.pytorch.utilities import rank_zero_only

from sonomask.checkpoints.folder import load
from sonomask.checkpoints.own import build, find
from sonomask.checkpoints.places import BEST
from sonomask.errors import TrainingError
from sonomask.inference.torch_scorer import PRECISIONS, choose_device
from sonomask.training.callbacks import FIRST_EPOCH, Checkpoint, Panels
from sonomask.training.clips import write_clips
from sonomask.training.evaluate import Report
from sonomask.training.evaluate import evaluate as score
from sonomask.training.module import EPOCHS, AVSModule
from sonomask.training.robust import SOUNDS
from sonomask.training.rows import config_of
from sonomask.training.words import RecipeParser

LAST = "last.ckpt"


def train(argv: Sequence[str], seed: int | None = None) -> None:
    """Train by a recipe: `sonomask train RECIPE… [--option value …]`.

    Args:
        argv: Recipes first, as `FILE` or `FILE:ROW`, where a later one overrides an earlier; then LightningCLI's options
            (`--model.…`, `--data.…`, `--trainer.…`), `--out FOLDER`, `--resume` and `--overwrite`.
        seed: Seed of the order of the clips, where the data module takes one; the recipe's unless given.

    Raises:
        TrainingError: The folder holds a run and neither is given, or what it holds can't be gone on with as asked.
    """
    torch.set_float32_matmul_precision("high")
    warnings.filterwarnings("ignore", "Experiment logs directory .* is not empty")  # an earlier log was renamed
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # ours come from the command line, less the verb
    kind = type("_Seeded", (_Training,), {"data_seed": seed})
    kind(
        AVSModule,
        LightningDataModule,
        subclass_mode_data=True,
        seed_everything_default=123,
        trainer_defaults={"use_distributed_sampler": False, "log_every_n_steps": 10, "enable_checkpointing": False},
        save_config_kwargs={"overwrite": True, "config_filename": "recipe.yaml"},
        args=["fit", *as_configs(argv)],
    )


DATA = {
    "avsbench": "sonomask.data.datamodule.AVSBenchDataModule",
    "synthetic": "sonomask.data.datamodule.SyntheticDataModule",
    "composite": "sonomask.data.datamodule.CompositeDataModule",
    "shards": "sonomask.data.sharded.ShardsDataModule",
}
"""Short names of data modules, for `--data`."""


def as_configs(argv: Sequence[str]) -> list[str]:
    """Leading recipes, `FILE` or `FILE:ROW`, become `--config` options, and short names of data modules their classes."""
    count = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    words = [part for word in argv[:count] for part in ("--config", config_of(word))]
    before = ""
    for word in argv[count:]:
        option, equals, value = word.partition("=")
        if equals and option in ("--data", "--data.class_path"):
            word = f"{option}={DATA.get(value, value)}"
        elif before in ("--data", "--data.class_path"):
            word = DATA.get(word, word)
        words.append(word)
        before = word
    return words


def refuse_to_replace(out: Path) -> None:
    """Raise if the folder holds what a new run would replace."""
    held = [name for name in (LAST, BEST) if (out / name).exists()]
    if held:
        raise TrainingError(
            f"{out} holds a run ({', '.join(held)}). Go on with --resume, start anew with --overwrite, or give another --out."
        )


def check_resume(last: Path, model: Mapping[str, Any], epochs: int | None) -> None:
    """Raise if a run can't go on from its checkpoint as asked.

    Args:
        last: The checkpoint.
        model: Arguments of the training module as asked for now.
        epochs: `max_epochs` as asked for now.

    Raises:
        TrainingError: The file is damaged, or something that steps depend on is not what the run began with.
    """
    try:
        held = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
        began = held["hyper_parameters"]
    except Exception as error:  # a damaged file raises whatever it likes
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise TrainingError(
            f"{last}: damaged, or no checkpoint of `train` ({reason}). Start a new run from the best weights: "
            f"--model.init_from {last.parent / BEST} --out ANOTHER."
        ) from error
    changed = [
        f"{key} {began[key]} → {value}"
        for key, value in model.items()
        if key in began and key not in FREE and _plain(began[key]) != _plain(value)
    ]
    if model.get("schedule") != "constant" and held.get(EPOCHS) not in (None, epochs):
        changed.append(
            f"max_epochs {held[EPOCHS]} → {epochs}, over which the {model['schedule']} schedule was laid out"
        )
    if changed:
        raise TrainingError(
            f"`--resume` goes on with what the run began with; changed: {'; '.join(changed)}. Leave these as they were, or "
            f"start a new run from its weights: --model.init_from {last.parent / BEST} --out ANOTHER."
        )


FREE = {
    "compile", "checkpoint_backbone", "channels_last", "protocols", "backbone_weights", "audio_weights", "init_from",
    "init_part", "metrics",
}  # fmt: skip
"""Arguments that no later step depends on, so that a run may go on with others."""


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=lambda x: vars(x) if hasattr(x, "__dict__") else str(x))


LOGGERS = {
    "wandb": ("WandbLogger", "wandb", {"save_dir": "{out}", "name": "{name}"}),
    "mlflow": ("MLFlowLogger", "mlflow", {"tracking_uri": "file:{out}/mlruns", "run_name": "{name}"}),
}
"""Lightning's loggers by the word of `--log_to`: class, package, and arguments."""


def logger(name: str, out: Path) -> Logger:
    """A logger beside those that every run has.

    Args:
        name: A word of `LOGGERS`, or "package.module.Class" of a Lightning logger that needs no arguments.
        out: The run's folder.

    Raises:
        TrainingError: It is neither, or its package is not installed.
    """
    if name not in LOGGERS:
        try:
            made = find(name)()
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise TrainingError(
                f"`log_to`: expected {', '.join(LOGGERS)}, or the path of a Lightning logger, got {name!r} ({error})."
            ) from error
        if not isinstance(made, Logger):
            raise TrainingError(f"`log_to`: expected {name!r} to be a Lightning logger, got {type(made).__name__}.")
        return made
    kind, package, arguments = LOGGERS[name]
    try:
        return getattr(lightning.pytorch.loggers, kind)(
            **{key: value.format(out=out, name=out.name) for key, value in arguments.items()}
        )
    except ModuleNotFoundError as error:
        raise TrainingError(f"`log_to`: {name} needs its package: pip install {package}.") from error


def find_rate(trainer: Trainer, module: AVSModule, data: LightningDataModule, out: Path) -> float:
    """Train a few steps at ever higher learning rates, and name the one at which the loss falls fastest.

    `OUT/rates.csv` holds rates and losses; the weights are left as they were.

    Raises:
        TrainingError: The loss fell nowhere.
    """
    finder = Tuner(trainer).lr_find(module, datamodule=data, min_lr=1e-6, max_lr=1.0, num_training=RATES)
    held = {} if finder is None else finder.results
    with (out / "rates.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("learning_rate", "loss"))
        rows.writerows(zip(held.get("lr", ()), held.get("loss", ()), strict=True))
    found = None if finder is None else finder.suggestion()
    if found is None:
        raise TrainingError(
            f"`--find_rate`: the loss fell at no rate; see {out / 'rates.csv'}. Take the recipe's rate."
        )
    return found


RATES = 100  # steps of the search


class _Training(LightningCLI):
    """LightningCLI with our folder, loggers and checkpoints; the resolved recipe and the versions lie beside them."""

    data_seed: int | None = None

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Training only, so that the parser is made once."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser whose errors are one line."""
        parser = RecipeParser(prog="sonomask train", **kwargs)
        parser.add_argument("-c", "--config", action="config", help="recipe: YAML file with options")
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse under the name that the user called."""
        for own in self._subcommand_parsers.values():
            own.prog = parser.prog
        super().parse_arguments(parser, args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--out", default="runs/latest", help="folder of logs, checkpoints and the best model")
        flag: dict[str, Any] = {"default": False, "type": bool, "nargs": "?", "const": True}
        parser.add_argument("--resume", **flag, help=f"go on from OUT/{LAST} if there is one")
        parser.add_argument("--overwrite", **flag, help="start anew in a folder that holds a run, whose models go")
        parser.add_argument(
            "--log_to",
            default=[],
            type=list[str],
            help=f"further loggers: {', '.join(LOGGERS)}, or the path of one's own",
        )
        parser.add_argument("--seeds", default=[], type=list[int], help="train and score with each: --seeds 1 2 3")
        parser.add_argument("--find_rate", **flag, help="try learning rates on a few steps and say which; no training")
        parser.add_argument("--checkpoint_every", default=0, type=int, help="steps between checkpoints within an epoch")

    def before_instantiate_classes(self) -> None:
        """Refuse what would lose a run, before anything is written."""
        if self.data_seed is not None and "seed" in self._get(self.config, "data.init_args", {}):
            self.config["fit"]["data"]["init_args"]["seed"] = self.data_seed
        out = Path(self._get(self.config, "out"))
        resume, overwrite = self._get(self.config, "resume"), self._get(self.config, "overwrite")
        if self._get(self.config, "seeds"):
            raise TrainingError("`--seeds`: expected on the command line, as --seeds 1 2 3, and not in a recipe.")
        if resume and overwrite:
            raise TrainingError("`--resume` goes on, `--overwrite` starts anew: give one of them.")
        if resume and (out / LAST).is_file():
            check_resume(
                out / LAST, self._get(self.config, "model").as_dict(), self._get(self.config, "trainer.max_epochs")
            )
            return
        first = getattr(rank_zero_only, "rank", 0) == 0
        if overwrite or (resume and (out / FIRST_EPOCH).exists()):  # killed before there was a checkpoint
            if first:
                (out / LAST).unlink(missing_ok=True)
                shutil.rmtree(out / BEST, ignore_errors=True)
        else:
            refuse_to_replace(out)
        if first:
            out.mkdir(parents=True, exist_ok=True)
            (out / FIRST_EPOCH).write_text("There is no checkpoint yet: --resume starts anew.\n", encoding="utf-8")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        out = Path(self._get(self.config_init, "out"))
        out.mkdir(parents=True, exist_ok=True)
        (out / "versions.txt").write_text(f"torch {torch.__version__}\nlightning {lightning.__version__}\n")
        log = out / "metrics.csv"
        if log.is_file():  # the logger would delete it
            log.rename(out / f"metrics.before_{len(list(out.glob('metrics.before_*.csv'))) + 1}.csv")
        loggers = [
            CSVLogger(out, name="", version=""), TensorBoardLogger(out, name="", version=""),
            *(logger(name, out) for name in self._get(self.config_init, "log_to")),
        ]  # fmt: skip
        trainer = super().instantiate_trainer(**{"logger": loggers, **kwargs})
        every = self._get(self.config_init, "checkpoint_every")
        trainer.callbacks += [Checkpoint(str(out), every=every), Panels()]  # type: ignore[attr-defined]
        if trainer.progress_bar_callback is not None:
            trainer.callbacks.remove(trainer.progress_bar_callback)  # type: ignore[attr-defined]
            trainer.callbacks.append(RichProgressBar())  # type: ignore[attr-defined]
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        if not self._get(self.config_init, "find_rate"):
            super()._run_subcommand(subcommand)
            return
        out = Path(self._get(self.config_init, "out"))
        rate = find_rate(self.trainer, self.model, self.datamodule, out)
        print(f"--model.learning_rate {rate:.2e}  (losses by rate: {out / 'rates.csv'})")  # noqa: T201 - the answer

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
    parser = RecipeParser(prog="sonomask evaluate", description="Score a model on a data set.")
    parser.add_argument("--config", action="config", help="YAML file with options")
    parser.add_argument("--model", required=True, help="built-in name, folder or hub repository")
    parser.add_argument(
        "--model_class",
        type=str | None,
        default=None,
        help="package.module.Class of a model that is not in the catalogue",
    )
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True, required=True)
    parser.add_argument("--split", default="test", choices=["train", "val", "test"])
    parser.add_argument(
        "--protocols", type=list[str] | None, help="names of scoring protocols; the model's own unless given"
    )
    parser.add_argument(
        "--sounds", type=list[str], default=["own"], help="own, silence, noise, offscreen; or robust for all of them"
    )
    parser.add_argument("--details", default=False, type=bool, help="boundary F, and each category by itself")
    parser.add_argument("--out", default=None, help="folder for scores.json, .csv, .md and the worst clips")
    parser.add_argument("--save_masks", default=None, help="folder for a PNG of each frame")
    parser.add_argument("--worst", type=int, default=0, help="how many of the worst clips to draw into --out")
    parser.add_argument("--metrics", type=list[str], default=[], help="paths of metrics of your own, as mine.Boundary")
    parser.add_argument("--clips", default=None, help="file for the scores of each clip, .csv or .parquet")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS, help="of products, on a GPU")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.instantiate(parser.parse_args(as_configs(argv)))
    device = str(choose_device(options.device))
    create = None if options.model_class is None else lambda **own: build(options.model_class, own)
    model = load(options.model, device, create)
    if hasattr(options.data, "suit"):
        options.data.suit(model.config)
    out = Path(options.out) if options.out else None
    report = score(
        model, options.data.eval_dataloader(options.split), protocols=options.protocols,
        sounds=SOUNDS if options.sounds == ["robust"] else options.sounds, device=device, precision=options.precision,
        out=out, save_masks=Path(options.save_masks) if options.save_masks else None,
        worst=options.worst, seed=options.seed, details=options.details, metrics=options.metrics,
        facts={"command": "sonomask evaluate " + " ".join(argv), "model": options.model, "split": options.split,
               **({"maskige": str(getattr(options.data, "maskige", None))} if model.config.maskige else {})},
    )  # fmt: skip
    if out is not None:
        report.save(out)
    if options.clips:
        write_clips(report.clips, Path(options.clips))
    return report
