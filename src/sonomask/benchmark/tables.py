"""The tables of a benchmark: means over seeds, intervals over clips, published figures beside them."""

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sonomask.benchmark.plan import Plan
from sonomask.benchmark.published import markdown as published_figures
from sonomask.benchmark.rows import ROWS, row_of
from sonomask.training.clips import Difference, compare, read_clips
from sonomask.training.evaluate import hardware
from sonomask.workspace import atomic_path

__all__ = ["COLUMNS", "difference", "table", "write", "write_tables"]

INTERVAL = "95 % of a paired bootstrap over test clips (each clip by itself, mean over seeds)"

COLUMNS = ("task", "system", "subset", "seeds", "mIoU", "±", "F", "less", "parameters M", "GMAC/frame", "frames/s",
           "published mIoU", "published F")  # fmt: skip
"""±: standard deviation over seeds. less: what mIoU lacks of `Plan.pairs`, with its interval."""


def table(plan: Plan, results: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A line for each row and subset: means over seeds, and the published figures beside them."""
    lines: list[dict[str, str]] = []
    for subset, name in dict.fromkeys((r["subset"], r["name"]) for r in results):
        runs = [r for r in results if (r["subset"], r["name"]) == (subset, name)]
        row = row_of(name)
        miou = [100 * r["miou"] for r in runs]
        paper = row.published(subset) if name in ROWS else None
        mean = {key: statistics.mean(r[key] for r in runs) for key in ("fscore", "parameters", "gmacs", "fps")}
        spread = f"{statistics.stdev(miou):.1f}" if len(runs) > 1 else ""
        values = (row.group, row.label, subset.upper(), str(len(runs)), f"{statistics.mean(miou):.1f}", spread,
                  f"{100 * mean['fscore']:.1f}", _less(plan, results, name, subset), f"{mean['parameters']:.1f}",
                  f"{mean['gmacs']:.2f}", "" if math.isnan(mean["fps"]) else f"{mean['fps']:.1f}",
                  f"{paper.miou:.1f}" if paper else "", f"{paper.fscore:.1f}" if paper else "")  # fmt: skip
        lines.append(dict(zip(COLUMNS, values, strict=True)))
        if "oracle" in runs[0]:
            best = statistics.mean(100 * r["oracle"] for r in runs)
            lines.append({**dict.fromkeys(COLUMNS, ""), "task": row.group, "system": "its detections, chosen by the truth",
                          "subset": subset.upper(), "seeds": str(len(runs)), "mIoU": f"{best:.1f}"})  # fmt: skip
    return lines


def _less(plan: Plan, results: Sequence[Mapping[str, Any]], name: str, subset: str) -> str:
    """The difference to the row of `Plan.pairs` and the interval of a paired bootstrap over clips, in percentage points."""
    found = difference(plan, results, plan.pairs, name, subset)
    if found is None or name == plan.pairs:
        return ""
    gap, low, high = (100 * v for v in (found.second - found.first, found.low, found.high))
    return f"{gap:+.1f} ({low:+.1f} to {high:+.1f})"


def difference(plan: Plan, results: Sequence[Mapping[str, Any]], one: str, two: str, subset: str) -> Difference | None:
    """Two rows compared over the clips of a subset, each clip by its mean over the row's seeds; None if one was not run."""
    means = []
    for name in (one, two):
        seeds = [r["seed"] for r in results if (r["name"], r["subset"]) == (name, subset)]
        files = [plan.folder_of(name, subset, seed) / "clips.csv" for seed in seeds]
        runs = [read_clips(file, "miou") for file in files if file.is_file()]
        if not runs:
            return None
        means.append({clip: statistics.mean(run[clip] for run in runs) for clip in runs[0]})
    return compare(means[0], means[1])


def write_tables(plan: Plan, results: Sequence[Mapping[str, Any]], command: str) -> None:
    """Write `table.md`, with the field's published figures below, `.csv` and `.tex`."""
    lines = table(plan, results)
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
        "networks: " + _networks(plan),
        "±: standard deviation over seeds",
        f"less: what a row has less than {ROWS[plan.pairs].label}, in points, and the interval of {INTERVAL}",
        "protocol: avsbench (sigmoid above ½, IoU a mean over frames; F: the maximum of the mean curve, β² = 0.3)",
        f"hardware: {hardware(plan.device)}, torch {torch.__version__}; seeds {', '.join(map(str, plan.seeds))}",
        "frames/s: clips of five seconds of noise, one at a time, all rows one after the other when the table was written",
        f"published columns: AVSBench, full-size networks; not our figures. {_sources(results)}",
    ]  # fmt: skip
    body = "".join("| " + " | ".join(line.values()) + " |\n" for line in lines)
    write(plan.out / "table.md", head + body + "\n" + "\n".join(f"- {f}" for f in facts) + "\n\n" + published_figures())
    rows = [
        " & ".join(_tex(v) for v in line.values()) + r" \\"
        for line in (dict(zip(COLUMNS, COLUMNS, strict=True)), *lines)
    ]
    tex = [r"\begin{tabular}{lll" + "r" * (len(COLUMNS) - 3) + "}", r"\toprule", rows[0], r"\midrule", *rows[1:],
           r"\bottomrule", r"\end{tabular}"]  # fmt: skip
    write(plan.out / "table.tex", "\n".join([*(f"% {f}" for f in facts), *tex]) + "\n")


def _networks(plan: Plan) -> str:
    if not plan.small:
        return "those of the catalogue"
    pictures = (
        "random weights" if plan.backbone_weights is None else f"ResNet-18 from {Path(plan.backbone_weights).name}"
    )
    hearing = (
        "" if plan.audio_weights is None else f", the tagger of {plan.audio_weights} for ours and the two-stage row"
    )
    return f"shallow ones, {pictures}{hearing}; trained in {plan.precision}"


def _sources(results: Sequence[Mapping[str, Any]]) -> str:
    """The sources of a table's published figures."""
    figures = [ROWS[r["name"]].published(r["subset"]) for r in results if r["name"] in ROWS]
    return "; ".join(dict.fromkeys(f"{f.preset}: {f.source}" for f in figures if f is not None)) or "None is known."


def write(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path, overwrite=True) as fresh:
        fresh.write_text(text, encoding="utf-8")


def _tex(text: str) -> str:
    return text.replace("&", r"\&").replace("%", r"\%").replace("_", r"\_")
