"""Loss and score of every row over its training steps, as a figure for print."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from sonomask.benchmark.plan import Plan
from sonomask.benchmark.rows import ROWS
from sonomask.workspace import atomic_path

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Okabe and Ito's, which the colour-blind can tell apart."""
LINES = ("-", "--", ":")


def curves(plan: Plan, subset: str, models: Sequence[str], path: Path) -> bool:
    """Write a PDF and, beside it, a PNG: training loss relative to the first value of its stage, and validation mIoU.

    Losses of different systems have different terms, so only their course can be compared, not their size.

    Returns:
        Whether any row had a log.
    """
    logs = {name: _log(plan, subset, name) for name in models if name in ROWS}
    logs = {name: log for name, log in logs.items() if log[0]}
    if not logs:
        return False
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(7.0, 2.6), layout="constrained")
        loss, score = figure.subplots(1, 2)
        for place, (name, (losses, scores)) in enumerate(logs.items()):
            style: dict[str, Any] = {
                "color": COLOURS[place % len(COLOURS)],
                "linestyle": LINES[place // len(COLOURS) % len(LINES)],
                "linewidth": 1.2,
            }
            loss.plot(*zip(*_smooth(losses), strict=True), label=ROWS[name].label, **style)
            if scores:
                score.plot(*zip(*scores, strict=True), marker=".", **style)
        loss.set(xlabel="step", ylabel="loss / |first loss|")
        loss.set_yscale("symlog", linthresh=1)  # even up to 1; LGVT's energy takes its loss far below 0
        loss.yaxis.set_major_formatter(ScalarFormatter())
        score.set(xlabel="step", ylabel="validation mIoU", ylim=(0, 1))
        figure.legend(*loss.get_legend_handles_labels(), loc="outside right center", frameon=False)
        with atomic_path(path, overwrite=True) as fresh:
            figure.savefig(fresh, metadata={"CreationDate": None})  # the same figure, the same bytes
        with atomic_path(path.with_suffix(".png"), overwrite=True) as fresh:
            figure.savefig(fresh, dpi=200)
    return True


Curve = list[tuple[float, float]]


def _log(plan: Plan, subset: str, name: str) -> tuple[Curve, Curve]:
    """Steps with losses and with scores, stages one after the other."""
    losses: Curve = []
    scores: Curve = []
    begin = 0.0
    for stage in range(1, len(ROWS[name].stages) + 1):
        file = plan.folder_of(name, subset, plan.seeds[0]) / f"stage{stage}" / "metrics.csv"
        if not file.is_file():
            break
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        found = [(float(r["step"]), float(r["train/loss"])) for r in rows if r.get("train/loss")]
        first = abs(found[0][1]) or 1.0 if found else 1.0
        losses += [(begin + step, value / first) for step, value in found]
        scores += [(begin + float(r["step"]), float(r["val/miou"])) for r in rows if r.get("val/miou")]
        begin += found[-1][0] if found else 0
    return losses, scores


def _smooth(curve: Curve, keep: float = 0.7) -> Curve:
    """A running mean, since the loss of a single step is noisy."""
    smooth, mean = [], curve[0][1]
    for step, value in curve:
        mean = keep * mean + (1 - keep) * value
        smooth.append((step, mean))
    return smooth
