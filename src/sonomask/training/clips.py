"""Scores of single clips: as a table, and two of these compared."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from sonomask.batches import Batch
from sonomask.errors import DatasetError, MissingExtraError
from sonomask.metrics import fscore, jaccard
from sonomask.metrics.semantic import class_scores

__all__ = ["COLUMNS", "Difference", "clip_scores", "compare", "read_clips", "write_clips"]

COLUMNS = ("name", "category", "miou", "fscore", "frames")


def clip_scores(batch: Batch, logits: Tensor) -> list[dict[str, Any]]:
    """A row of `COLUMNS` for each clip, from its frames that exist and have a truth.

    Args:
        batch: Batch with the truth.
        logits: B T K H W at its size. With one class the IoU is a mean over frames and F the highest of the mean curve over
            frames that sound (0 if none does); with more, both are means over the classes that are seen or predicted.
    """
    rows = []
    for i, (scores, truth) in enumerate(zip(logits, batch.masks, strict=True)):
        counted = batch.valid[i] & batch.labelled[i]
        scores, truth = scores[counted], truth[counted]
        miou = score = 0.0
        if len(scores) and scores.shape[1] == 1:
            miou = float(jaccard(scores[:, 0], truth > 0)[0].mean())
            score = float(fscore(scores[:, 0], truth > 0)) if (truth > 0).any() else 0.0
        elif len(scores):
            iou, each, seen = class_scores(scores.argmax(1), truth, scores.shape[1])
            present, times = seen.any(0), seen.sum(0).clamp(min=1)
            miou = float(((iou * seen).sum(0) / times)[present].mean())
            score = float(((each * seen).sum(0) / times)[present].mean())
        name, category = (values[i] if values else "" for values in (batch.names, batch.categories))
        rows.append(dict(zip(COLUMNS, (name, category, miou, score, len(scores)), strict=True)))
    return rows


def write_clips(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as CSV, or as Parquet if the name ends so.

    Raises:
        MissingExtraError: Parquet is asked for, and pyarrow is not installed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingExtraError("A Parquet file", "batch") from error
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def read_clips(source: Path, metric: str) -> dict[str, float]:
    """A figure of each clip by its name, from a CSV or Parquet file, or from `clips.csv` in a folder of `evaluate`.

    Raises:
        DatasetError: There is none, it lacks the column, or two clips have one name.
    """
    path = source / "clips.csv" if source.is_dir() else source
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        else:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        values = {str(row["name"]): float(row[metric]) for row in rows}
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file. `sonomask evaluate --out FOLDER` writes clips.csv there.") from error
    except (KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{path}: expected a table with the columns name and {metric} ({error}).") from error
    if len(values) != len(rows) or not rows:
        raise DatasetError(f"{path}: expected clips with a name each, got {len(rows)} rows and {len(values)} names.")
    return values


class Difference(NamedTuple):
    """The difference between two runs on the same clips.

    Attributes:
        clips: Number of clips that both have.
        first: Mean of the first.
        second: Mean of the second.
        low: Lower end of the interval in which the difference (second less first) lies in 95 % of the draws.
        high: Upper end.
        better: Share of the draws in which the second is better.
    """

    clips: int
    first: float
    second: float
    low: float
    high: float
    better: float


def compare(one: Mapping[str, float], two: Mapping[str, float], *, draws: int = 10_000, seed: int = 0) -> Difference:
    """A paired bootstrap over clips: both runs are drawn the same clips, with replacement, again and again.

    Raises:
        ValueError: They share fewer than two clips.
    """
    shared = sorted(set(one) & set(two))
    if len(shared) < 2:
        raise ValueError(f"Expected two runs over the same clips, got {len(shared)} clips that both have.")
    a, b = (np.array([values[name] for name in shared]) for values in (one, two))
    generator = np.random.default_rng(seed)
    means = np.array([(b - a)[generator.integers(len(a), size=len(a))].mean() for _ in range(draws)])
    low, high = np.quantile(means, (0.025, 0.975))
    return Difference(len(shared), float(a.mean()), float(b.mean()), float(low), float(high), float((means > 0).mean()))
