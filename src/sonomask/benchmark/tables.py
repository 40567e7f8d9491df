"""The tables of a benchmark: means over seeds, intervals over clips, published figures beside them."""

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sonomask.benchmark.plan import CLIPS, REAL, Plan
from sonomask.benchmark.published import markdown as published_figures
from sonomask.benchmark.rows import ROWS, row_of
from sonomask.training.clips import Difference, compare, read_clips
from sonomask.training.evaluate import hardware
from sonomask.workspace import atomic_path

__all__ = ["COLUMNS", "REAL_COLUMNS", "difference", "table", "write", "write_tables"]

INTERVAL = "95 % of a paired bootstrap over test clips (each clip by itself, mean over seeds)"

REAL_FACT = (
    "labelled real clips, one mask a second at the model's size; IoU with the labelled frames in which something sounds, "
    "a clip's mean first, then the mean over clips; in brackets 95 % of a bootstrap over clips"
)

COLUMNS = ("task", "system", "subset", "seeds", "mIoU", "±", "F", "less", "parameters M", "GMAC/frame", "frames/s",
           "published mIoU", "published F")  # fmt: skip
"""±: standard deviation over seeds. less: what mIoU lacks of `Plan.pairs`, with its interval."""

REAL_COLUMNS = ("real mIoU", "real ±", "real less")
"""The same of labelled real clips, a mean over clips with its interval; added where a benchmark has them (`Plan.real`)."""


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
        real = _real(plan, results, name, subset) if plan.real is not None else ()
        lines.append(dict(zip(_columns(plan), (*values, *real), strict=True)))
        if "oracle" in runs[0]:
            best = statistics.mean(100 * r["oracle"] for r in runs)
            chosen = {"task": row.group, "system": "its detections, chosen by the truth", "subset": subset.upper()}
            lines.append(
                {**dict.fromkeys(_columns(plan), ""), **chosen, "seeds": str(len(runs)), "mIoU": f"{best:.1f}"}
            )
    return lines


def _columns(plan: Plan) -> tuple[str, ...]:
    return COLUMNS if plan.real is None else (*COLUMNS, *REAL_COLUMNS)


def _less(plan: Plan, results: Sequence[Mapping[str, Any]], name: str, subset: str, file: str = CLIPS) -> str:
    """The difference to the row of `Plan.pairs` and the interval of a paired bootstrap over clips, in percentage points."""
    found = difference(plan, results, plan.pairs, name, subset, file)
    if found is None or name == plan.pairs:
        return ""
    gap, low, high = (100 * v for v in (found.second - found.first, found.low, found.high))
    return f"{gap:+.1f} ({low:+.1f} to {high:+.1f})"


def _real(plan: Plan, results: Sequence[Mapping[str, Any]], name: str, subset: str) -> tuple[str, str, str]:
    """A row's cells of `REAL_COLUMNS`."""
    runs = _runs(plan, results, name, subset, REAL)
    if not runs:
        return "", "", ""
    means, each = _over_seeds(runs), [100 * statistics.mean(run.values()) for run in runs]
    spread = f"{statistics.stdev(each):.1f}" if len(each) > 1 else ""
    mean = f"{statistics.mean(each):.1f}"
    if len(means) > 1:
        found = compare(dict.fromkeys(means, 0.0), means)  # the difference to nothing: the mean's own interval
        mean += f" ({100 * found.low:.1f} to {100 * found.high:.1f})"
    return mean, spread, _less(plan, results, name, subset, REAL)


def difference(
    plan: Plan, results: Sequence[Mapping[str, Any]], one: str, two: str, subset: str, file: str = CLIPS
) -> Difference | None:
    """Compare two rows over the clips of a subset, each clip by its mean over the row's seeds.

    Args:
        plan: Options of the benchmark.
        results: Results of its runs.
        one: Row to compare with.
        two: Row whose gain or loss is asked for.
        subset: Subset that both learnt on.
        file: Name of the runs' files with scores of clips.

    Returns:
        The difference; None if one of the rows was not run, or there is one clip only.
    """
    first, second = (_runs(plan, results, name, subset, file) for name in (one, two))
    if not (first and second) or len(first[0]) < 2:
        return None
    return compare(_over_seeds(first), _over_seeds(second))


def _runs(
    plan: Plan, results: Sequence[Mapping[str, Any]], name: str, subset: str, file: str
) -> list[dict[str, float]]:
    """The mIoU of each clip, for each seed of a row that was scored."""
    seeds = [r["seed"] for r in results if (r["name"], r["subset"]) == (name, subset)]
    files = [plan.folder_of(name, subset, seed) / file for seed in seeds]
    return [read_clips(path, "miou") for path in files if path.is_file()]


def _over_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {clip: statistics.mean(run[clip] for run in runs) for clip in runs[0]}


def write_tables(plan: Plan, results: Sequence[Mapping[str, Any]], command: str) -> None:
    """Write `table.md`, with the field's published figures below, `.csv` and `.tex`."""
    lines, columns = table(plan, results), _columns(plan)
    with (
        atomic_path(plan.out / "table.csv", overwrite=True) as fresh,
        fresh.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(lines)
    head = "| " + " | ".join(columns) + " |\n|" + "---|" * 3 + "--:|" * (len(columns) - 3) + "\n"
    facts = [
        f"command: `{command}`",
        f"data: {plan.data}; {plan.size}×{plan.size}; {plan.steps} steps of {plan.batch_size} clips for every row",
        "networks: " + _networks(plan),
        "±: standard deviation over seeds",
        f"less: what a row has less than {row_of(plan.pairs).label}, in points, and the interval of {INTERVAL}",
        "protocol: avsbench (sigmoid above ½, IoU a mean over frames; F: the maximum of the mean curve, β² = 0.3)",
        f"hardware: {hardware(plan.device)}, torch {torch.__version__}; seeds {', '.join(map(str, plan.seeds))}",
        "frames/s: clips of five seconds of noise, one at a time, all rows one after the other when the table was written",
        f"published columns: AVSBench, full-size networks; not our figures. {_sources(results)}",
    ]  # fmt: skip
    if plan.real is not None:
        facts.append(f"real: {REAL_FACT}")
    body = "".join("| " + " | ".join(line.values()) + " |\n" for line in lines)
    write(plan.out / "table.md", head + body + "\n" + "\n".join(f"- {f}" for f in facts) + "\n\n" + published_figures())
    rows = [
        " & ".join(_tex(v) for v in line.values()) + r" \\"
        for line in (dict(zip(columns, columns, strict=True)), *lines)
    ]
    tex = [r"\begin{tabular}{lll" + "r" * (len(columns) - 3) + "}", r"\toprule", rows[0], r"\midrule", *rows[1:],
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
