"""Train or load the rows and score them alike."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sonomask.benchmark.floors import FLOORS
from sonomask.benchmark.labelled import score_labelled
from sonomask.benchmark.plan import CLIPS, KINDS, REAL, Plan
from sonomask.benchmark.rows import ROWS, TAGGER, Row, row_of
from sonomask.benchmark.tables import write, write_tables
from sonomask.checkpoints.folder import load
from sonomask.models.nets.lgvt import LGVT
from sonomask.models.nets.two_stage import TwoStage
from sonomask.models.parts.net import Net
from sonomask.training.clips import write_clips
from sonomask.training.evaluate import evaluate, hardware
from sonomask.training.kept import keep
from sonomask.training.recipes import LAST, train


def run(plan: Plan, subsets: Sequence[str], models: Sequence[str], command: str = "") -> list[dict[str, Any]]:
    """Figures of each model and subset; what is there already is not made again.

    Args:
        plan: Sizes, steps, seeds and places of the runs.
        subsets: "s4", "ms3".
        models: Names of `ROWS`, or model folders.
        command: Command that is written below the tables.

    Raises:
        ValueError: A subset or a row is unknown.
    """
    unknown = [m for m in models if m not in ROWS and m not in FLOORS and not Path(m).is_dir()]
    if unknown or not set(subsets) <= set(KINDS):
        raise ValueError(
            f"Expected subsets of {', '.join(KINDS)} and rows of {', '.join([*FLOORS, *ROWS])} or model folders, got "
            f"{', '.join(subsets)} and {', '.join(unknown or models)}."
        )
    plan.out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    jobs = [
        (subset, name, seed)
        for seed in plan.seeds  # all rows with the first seed, so that a run that is stopped has a whole table
        for subset in subsets
        for name in models
        if seed in plan.seeds_of(name) and (name not in ROWS or ROWS[name].on(subset))
    ]
    for subset, name, seed in jobs:
        row = row_of(name)
        results.append(_one(plan, subset, name, row, seed))
        write_tables(
            plan, _ordered(results, subsets, models), command
        )  # so that a run that is stopped leaves its table
        print(name, subset, seed, f"mIoU {results[-1]['miou']:.4f}", flush=True)  # noqa: T201 - tells progress
    results = _ordered(results, subsets, models)
    _time(plan, results)
    write_tables(plan, results, command)
    return results


def _ordered(results: Sequence[dict[str, Any]], subsets: Sequence[str], models: Sequence[str]) -> list[dict[str, Any]]:
    return sorted(results, key=lambda r: (subsets.index(r["subset"]), models.index(r["name"])))


def trained(plan: Plan, name: str, subset: str, seed: int | None = None) -> Net | None:
    """The trained network of a system, by default with the first seed; None if it was not trained."""
    if name in FLOORS:
        return None
    if name not in ROWS or not ROWS[name].needs_weights:
        return load(name, plan.device)
    folder = plan.folder_of(name, subset, plan.seeds[0] if seed is None else seed)
    best = folder / f"stage{len(ROWS[name].stages)}" / "best"
    return load(str(best), plan.device) if best.is_dir() else None


def _time(plan: Plan, results: list[dict[str, Any]]) -> None:
    """Frames a second of every row, in one go: runs of other hours met a machine with other work to do."""
    found: dict[tuple[str, str], float] = {}
    for result in results:
        key = result["name"], result["subset"]
        if key not in found:
            model = trained(plan, *key)
            found[key] = speed(model, plan) if model is not None else float("nan")
        result["fps"] = found[key]


def _one(plan: Plan, subset: str, name: str, row: Row, seed: int) -> dict[str, Any]:
    folder = plan.folder_of(name, subset, seed)
    scores, real = folder / "scores.json", folder / REAL
    if not scores.is_file() or (plan.real is not None and not real.is_file()):
        began = time.monotonic()
        model = _floor(plan, subset, name) if name in FLOORS else _model(plan, subset, name, row, seed, folder)
        spent = time.monotonic() - began
        if not scores.is_file():
            values = _score(plan, subset, row, seed, model, folder)
            values |= {"training_seconds": round(spent), "hardware": hardware(plan.device), "torch": torch.__version__}
            write(scores, json.dumps(values, indent=1) + "\n")
        if plan.real is not None:
            with _kept(plan, row, model):
                write_clips(score_labelled(model, plan.real, plan.device), real)
    return {"name": name, "subset": subset, "seed": seed, "fps": float("nan"), **json.loads(scores.read_text())}


def _score(plan: Plan, subset: str, row: Row, seed: int, model: Any, folder: Path) -> dict[str, Any]:
    """Figures of a model on the test split; those of each clip are written."""
    batches = _batches(plan, subset, seed)
    with _kept(plan, row, model):
        report = evaluate(model, batches, protocols=("avsbench",), device=plan.device, seed=seed)
    found = {r["metric"]: r["value"] for r in report.rows if r["protocol"] == "avsbench"}
    values: dict[str, Any] = {"miou": found["miou"], "fscore": found["fscore"], **cost(model, plan)}
    if isinstance(model, TwoStage):
        values["oracle"] = _oracle(model, batches)
    write_clips(report.clips, folder / CLIPS)
    return values


@contextmanager
def _kept(plan: Plan, row: Row, model: Any) -> Iterator[None]:
    """Let the frozen parts of a row answer from what is stored, but not where a frame's cost is measured."""
    parts = keep(model, plan.kept) if plan.frozen and row.kept is not None else []
    yield
    for part in parts:
        part.release()


def _floor(plan: Plan, subset: str, name: str) -> Any:
    return FLOORS[name].fit(_batches(plan, subset, 0, split="train"), name).to(plan.device)


def _model(plan: Plan, subset: str, name: str, row: Row, seed: int, folder: Path) -> Net:
    """Train the stages of a row, one after the other; or load what needs no training."""
    if name not in ROWS or not row.needs_weights:
        return load(name, plan.device)
    start: Path | None = None
    if row.after is not None:
        subset_before, name_before = row.after
        start = plan.folder_of(name_before, subset_before, seed) / f"stage{len(ROWS[name_before].stages)}" / "best"
        if not start.is_dir():
            raise ValueError(
                f"{name}: starts from the row {name_before} on {subset_before.upper()} with seed {seed}, which was not run. "
                f"Run it too: --subset {subset_before} {subset} --models {name_before} {name}."
            )
    frozen = plan.frozen and row.kept is not None
    for number, stage in enumerate(row.stages):
        options = {**row.options, **(row.small if plan.small else {}), **_fitted(plan, row, subset)}
        options = {**options, **(row.kept or {} if frozen else {}), **stage}
        heard = options.get("audio") == TAGGER["audio"]
        training = {**row.training, **({"freeze_audio": True} if heard else {})}
        steps = plan.steps // len(row.stages)
        final = number + 1 == len(row.stages)  # masks choose the best weights of no stage that doesn't learn them
        often = max(1, steps // 5) if final else steps
        out = folder / f"stage{number + 1}"
        if not (out / "done").is_file():
            train([
                "--seed_everything", str(seed), "--model.seed", str(seed), "--model.model", row.model,
                "--model.options", json.dumps(options), "--model.schedule", "cosine", "--model.warmup", str(steps // 20),
                *(w for k, v in training.items() for w in (f"--model.{k}", json.dumps(v))),
                *(("--model.matching", subset) if row.matching else ()),
                *(("--model.init_from", str(start)) if start else _starts(plan, row, options)),
                *(("--model.keep_maps", str(plan.kept)) if frozen else ()),
                *plan.data_options(subset, seed), "--trainer.precision", plan.precision,
                "--checkpoint_every", str(max(1, steps // 5)), "--resume" if (out / LAST).is_file() else "--overwrite",
                "--trainer.max_steps", str(steps), "--trainer.max_epochs", "-1", "--trainer.limit_val_batches", "10",
                "--trainer.val_check_interval", str(often), "--trainer.check_val_every_n_epoch", "null",
                "--trainer.log_every_n_steps", str(max(1, steps // 50)),
                "--trainer.limit_train_batches", str(steps),
                "--trainer.gradient_clip_val", "1.0", "--trainer.enable_progress_bar", "false",
                "--trainer.enable_model_summary", "false", "--out", str(out),
            ])  # fmt: skip
            (out / "done").touch()
        start = out / "best"
    return load(str(start), plan.device)


def _starts(plan: Plan, row: Row, options: Mapping[str, Any]) -> list[str]:
    """Options for the weights that a row begins with."""
    words = []
    if plan.small and row.pictures and plan.backbone_weights and (row.kept is not None or not plan.frozen):
        words += ["--model.backbone_weights", plan.backbone_weights]
    if options.get("audio") == TAGGER["audio"]:
        words += ["--model.audio_weights", str(plan.audio_weights)]
    return words


def _fitted(plan: Plan, row: Row, subset: str) -> dict[str, Any]:
    """Options that follow from the data: sizes, and names of categories."""
    heard = TAGGER if plan.small and plan.audio_weights and "audio" in row.small else {}
    if row.model.startswith("lgvt") and plan.small:
        return {"size": plan.size}
    if row.model.startswith("two_stage") and plan.small:
        return {"side": plan.size, **heard}
    if row.model == "mssl":
        return {"labels": _categories(plan)} if subset == "s4" else {"classes": 10}
    return dict(heard)


def _categories(plan: Plan) -> list[str]:
    # all of them: rare categories would be missing from a sample, and the network needs a class for each
    seen = (c for batch in _batches(plan, "s4", 0, split="train") for c in batch.categories)
    return sorted(set(seen))


def _batches(plan: Plan, subset: str, seed: int, split: str = "test") -> Any:
    from jsonargparse import ArgumentParser
    from lightning import LightningDataModule

    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    module = parser.instantiate(parser.parse_args(plan.data_options(subset, seed))).data
    return module.eval_dataloader(split)


def _clip(model: Net, plan: Plan) -> tuple[Tensor, Tensor | None]:
    """Five seconds of noise: nothing at all would spare some systems their work."""
    side = model.config.image_size if not plan.small else (plan.size, plan.size)
    generator = torch.Generator().manual_seed(0)
    logmel = torch.randn(1, 5, 1, 96, 64, generator=generator).to(plan.device) if model.config.listens else None
    return torch.randn(1, 5, 3, *side, generator=generator).to(plan.device), logmel


@torch.inference_mode()
def cost(model: Net, plan: Plan) -> dict[str, float]:
    """Parameters in millions, and multiply-adds of a frame in billions."""
    counter = FlopCounterMode(display=False)
    if isinstance(model, LGVT):  # the counter can't stand the gradient inside; those five steps are of a tiny network
        model.prior = lambda z, **_: z  # type: ignore[method-assign]
    with counter:
        model(*_clip(model, plan))
    vars(model).pop("prior", None)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    return {"parameters": millions, "gmacs": counter.get_total_flops() / 2e9 / 5}


@torch.inference_mode()
def speed(model: Net, plan: Plan) -> float:
    """Frames a second of five-second clips, after one that warms up."""
    clip = _clip(model, plan)
    model(*clip)
    began, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - began < 1:
        model(*clip)
        calls += 1
    if plan.device.startswith("cuda"):
        torch.cuda.synchronize()
    return 5 * calls / (time.perf_counter() - began)


def _oracle(model: TwoStage, batches: Iterable[Any]) -> float:
    from sonomask.metrics import AVSMetrics

    scores = AVSMetrics(protocols=("avsbench",))
    count = 0
    for batch in batches:
        logits = model.oracle(batch.images, batch.masks).logits
        places = torch.arange(len(logits)) + count
        count += len(logits)
        scores.update(
            logits[:, :, 0], batch.masks, labelled=batch.labelled, valid=batch.valid, indices=places,
            categories=batch.categories,
        )  # fmt: skip
    return float(next(v for k, v in scores.compute().items() if k.endswith("miou")))
