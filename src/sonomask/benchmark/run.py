"""Train or load the rows, score them alike, and put everything into tables."""

import csv
import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sonomask.benchmark.rows import ROWS, Row
from sonomask.checkpoints.folder import load
from sonomask.models.nets.lgvt import LGVT
from sonomask.models.nets.two_stage import TwoStage
from sonomask.models.parts.net import Net
from sonomask.training.evaluate import evaluate, hardware
from sonomask.training.recipes import train
from sonomask.workspace import atomic_path

DATA = {"synthetic": "sonomask.data.datamodule.SyntheticDataModule"}
AVSBENCH = "sonomask.data.datamodule.AVSBenchDataModule"
KINDS = {"s4": "single", "ms3": "multi"}


@dataclass(frozen=True)
class Plan:
    """What a benchmark does, the same for every row.

    Attributes:
        data: "synthetic", or a folder with AVSBench in it.
        out: Folder of everything.
        size: Height and width.
        steps: Of training, of all stages of a row together.
        batch_size: Clips.
        small: Shallow networks with random weights, as stated in `rows.py`; otherwise the catalogue's.
        seeds: One run each.
        repeated: Rows that run with every seed; the others with the first. None for all rows.
        clips: Of the test split of the synthetic world.
        device: Where to score.
    """

    data: str
    out: Path
    size: int = 224
    steps: int = 1000
    batch_size: int = 4
    small: bool = False
    seeds: tuple[int, ...] = (1,)
    repeated: tuple[str, ...] | None = None
    clips: int = 100
    device: str = "cpu"

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """The seeds of a row."""
        once = (name in ROWS and not ROWS[name].needs_weights) or (
            self.repeated is not None and name not in self.repeated
        )
        return self.seeds[:1] if once else self.seeds

    def folder_of(self, name: str, subset: str, seed: int) -> Path:
        """Where a run's scores, logs and models lie."""
        return self.out / "runs" / f"{Path(name).name}_{subset}_{seed}"

    def data_options(self, subset: str, seed: int) -> list[str]:
        """Options of the data module."""
        own: dict[str, Any] = {"size": self.size, "batch_size": self.batch_size, "workers": 0, "seed": seed}
        if self.data == "synthetic":
            own |= {"kind": KINDS[subset], "train": self.steps * self.batch_size, "val": 20, "test": self.clips}
        else:
            own |= {"root": self.data, "subset": subset}
        name = DATA.get(self.data, AVSBENCH)
        return ["--data.class_path", name, *(w for k, v in own.items() for w in (f"--data.init_args.{k}", str(v)))]


def run(plan: Plan, subsets: Sequence[str], models: Sequence[str], command: str = "") -> list[dict[str, Any]]:
    """Figures of each model and subset; what is there already is not made again.

    Args:
        plan: How.
        subsets: "s4", "ms3".
        models: Names of `ROWS`, or model folders.
        command: Is written below the tables.

    Raises:
        ValueError: A subset or a row is unknown.
    """
    unknown = [m for m in models if m not in ROWS and not Path(m).is_dir()]
    if unknown or not set(subsets) <= set(KINDS):
        raise ValueError(
            f"Expected subsets of {', '.join(KINDS)} and rows of {', '.join(ROWS)} or model folders, got "
            f"{', '.join(subsets)} and {', '.join(unknown or models)}."
        )
    plan.out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    for subset in subsets:
        for name in models:
            row = ROWS.get(name) or Row("given", name, Path(name).name)
            for seed in plan.seeds_of(name):
                results.append(_one(plan, subset, name, row, seed))
                print(name, subset, seed, f"mIoU {results[-1]['miou']:.4f}", flush=True)  # noqa: T201 - tells progress
    _time(plan, results)
    write_tables(plan, results, command)
    return results


def trained(plan: Plan, name: str, subset: str, seed: int | None = None) -> Net | None:
    """The network of a row that was run, with the first seed unless told; None if it was not."""
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
    scores = folder / "scores.json"
    if not scores.is_file():
        began = time.monotonic()
        model = _model(plan, subset, name, row, seed, folder)
        spent = time.monotonic() - began
        batches = _batches(plan, subset, seed)
        report = evaluate(model, batches, protocols=("avsbench",), device=plan.device, seed=seed)
        found = {r["metric"]: r["value"] for r in report.rows if r["protocol"] == "avsbench"}
        values: dict[str, Any] = {"miou": found["miou"], "fscore": found["fscore"], **cost(model, plan)}
        if isinstance(model, TwoStage):
            values["oracle"] = _oracle(model, batches)
        values |= {"training_seconds": round(spent), "hardware": hardware(plan.device), "torch": torch.__version__}
        _write(scores, json.dumps(values, indent=1) + "\n")
    return {"name": name, "subset": subset, "seed": seed, **json.loads(scores.read_text())}


def _model(plan: Plan, subset: str, name: str, row: Row, seed: int, folder: Path) -> Net:
    """Train the stages of a row, one after the other; or load what needs no training."""
    if name not in ROWS or not row.needs_weights:
        return load(name, plan.device)
    start: Path | None = None
    for number, stage in enumerate(row.stages):
        options = {**row.options, **(row.small if plan.small else {}), **_fitted(plan, row, subset), **stage}
        steps = plan.steps // len(row.stages)
        final = number + 1 == len(row.stages)  # masks choose the best weights of no stage that doesn't learn them
        often = max(1, steps // 5) if final else steps
        out = folder / f"stage{number + 1}"
        if not (out / "done").is_file():
            train([
                "--seed_everything", str(seed), "--model.seed", str(seed), "--model.model", row.model,
                "--model.options", json.dumps(options), "--model.schedule", "cosine", "--model.warmup", str(steps // 20),
                *(w for k, v in row.training.items() for w in (f"--model.{k}", json.dumps(v))),
                *(("--model.init_from", str(start)) if start else ()), *plan.data_options(subset, seed),
                "--trainer.max_steps", str(steps), "--trainer.max_epochs", "-1", "--trainer.limit_val_batches", "5",
                "--trainer.val_check_interval", str(often), "--trainer.log_every_n_steps", str(max(1, steps // 50)),
                "--trainer.limit_train_batches", str(steps),
                "--trainer.gradient_clip_val", "1.0", "--trainer.enable_progress_bar", "false", "--out", str(out),
            ])  # fmt: skip
            (out / "done").touch()
        start = out / "best"
    return load(str(start), plan.device)


def _fitted(plan: Plan, row: Row, subset: str) -> dict[str, Any]:
    """Options that follow from the data: sizes, and names of categories."""
    if row.model.startswith("lgvt") and plan.small:
        return {"size": plan.size}
    if row.model.startswith("two_stage") and plan.small:
        return {"side": plan.size}
    if row.model == "mssl":
        return {"labels": _categories(plan)} if subset == "s4" else {"classes": 10}
    return {}


def _categories(plan: Plan) -> list[str]:
    seen = (c for batch in _batches(plan, "s4", 0, split="train", most=60) for c in batch.categories)
    return sorted(set(seen))


def _batches(plan: Plan, subset: str, seed: int, split: str = "test", most: int | None = None) -> Any:
    from jsonargparse import ArgumentParser
    from lightning import LightningDataModule

    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    module = parser.instantiate(parser.parse_args(plan.data_options(subset, seed))).data
    loader = module.eval_dataloader(split)
    return loader if most is None else [b for b, _ in zip(loader, range(most), strict=False)]


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


COLUMNS = ("task", "system", "subset", "seeds", "mIoU", "spread", "F", "parameters M", "GMAC/frame", "frames/s",
           "published mIoU", "published F")  # fmt: skip


def table(results: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A line for each row and subset: means over seeds, and the published figures beside them."""
    lines: list[dict[str, str]] = []
    for subset, name in dict.fromkeys((r["subset"], r["name"]) for r in results):
        runs = [r for r in results if (r["subset"], r["name"]) == (subset, name)]
        row = ROWS.get(name) or Row("given", name, Path(name).name)
        miou = [100 * r["miou"] for r in runs]
        paper = row.published(subset) if name in ROWS else None
        mean = {key: statistics.mean(r[key] for r in runs) for key in ("fscore", "parameters", "gmacs", "fps")}
        spread = f"{max(miou) - min(miou):.1f}" if len(runs) > 1 else ""
        values = (row.group, row.label, subset.upper(), str(len(runs)), f"{statistics.mean(miou):.1f}", spread,
                  f"{100 * mean['fscore']:.1f}", f"{mean['parameters']:.1f}", f"{mean['gmacs']:.2f}", f"{mean['fps']:.1f}",
                  f"{paper.miou:.1f}" if paper else "", f"{paper.fscore:.1f}" if paper else "")  # fmt: skip
        lines.append(dict(zip(COLUMNS, values, strict=True)))
        if "oracle" in runs[0]:
            best = statistics.mean(100 * r["oracle"] for r in runs)
            lines.append({**dict.fromkeys(COLUMNS, ""), "task": row.group, "system": "its detections, chosen by the truth",
                          "subset": subset.upper(), "seeds": str(len(runs)), "mIoU": f"{best:.1f}"})  # fmt: skip
    return lines


def write_tables(plan: Plan, results: Sequence[Mapping[str, Any]], command: str) -> None:
    """Write `table.md`, `.csv` and `.tex`."""
    lines = table(results)
    with (
        atomic_path(plan.out / "table.csv", overwrite=True) as fresh,
        fresh.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    head = "| " + " | ".join(COLUMNS) + " |\n|" + "---|" * 3 + "--:|" * (len(COLUMNS) - 3) + "\n"
    facts = [
        f"command: `{command}`",
        f"data: {plan.data}; {plan.size}×{plan.size}; {plan.steps} steps of {plan.batch_size} clips for every row",
        "networks: " + ("shallow ones, random weights" if plan.small else "those of the catalogue"),
        "protocol: avsbench (sigmoid above ½, IoU a mean over frames; F: the maximum of the mean curve, β² = 0.3)",
        f"hardware: {hardware(plan.device)}, torch {torch.__version__}; seeds {', '.join(map(str, plan.seeds))}",
        "frames/s: clips of five seconds of noise, one at a time, all rows one after the other when the table was written",
        f"published columns: AVSBench, full-size networks; not our figures. {_sources(results)}",
    ]  # fmt: skip
    body = "".join("| " + " | ".join(line.values()) + " |\n" for line in lines)
    _write(plan.out / "table.md", head + body + "\n" + "\n".join(f"- {f}" for f in facts) + "\n")
    rows = [
        " & ".join(_tex(v) for v in line.values()) + r" \\"
        for line in (dict(zip(COLUMNS, COLUMNS, strict=True)), *lines)
    ]
    tex = [r"\begin{tabular}{lll" + "r" * (len(COLUMNS) - 3) + "}", r"\toprule", rows[0], r"\midrule", *rows[1:],
           r"\bottomrule", r"\end{tabular}"]  # fmt: skip
    _write(plan.out / "table.tex", "\n".join([*(f"% {f}" for f in facts), *tex]) + "\n")


def _sources(results: Sequence[Mapping[str, Any]]) -> str:
    """Where the published figures of a table were read."""
    figures = [ROWS[r["name"]].published(r["subset"]) for r in results if r["name"] in ROWS]
    return "; ".join(dict.fromkeys(f"{f.preset}: {f.source}" for f in figures if f is not None)) or "None is known."


def _write(path: Path, text: str) -> None:
    with atomic_path(path, overwrite=True) as fresh:
        fresh.write_text(text, encoding="utf-8")


def _tex(text: str) -> str:
    return text.replace("&", r"\&").replace("%", r"\%").replace("_", r"\_")
