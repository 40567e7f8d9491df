"""Train and score a recipe with several seeds, and report mean and standard deviation."""

import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sonomask.checkpoints.places import BEST
from sonomask.errors import TrainingError
from sonomask.training.callbacks import FIRST_EPOCH
from sonomask.training.recipes import LAST, evaluate, train

__all__ = ["split_seeds", "summary", "train_seeds"]

FLAG, OUT = "--seeds", "--out"
DONE = "test"  # folder of the scores, which is there once a seed is done


def split_seeds(argv: Sequence[str]) -> tuple[list[int], list[str]]:
    """The numbers behind `--seeds`, and the other words.

    Raises:
        TrainingError: There are none, or one comes twice.
    """
    words = list(argv)
    if FLAG not in words:
        return [], words
    at = words.index(FLAG)
    end = at + 1
    while end < len(words) and words[end].isdecimal():
        end += 1
    seeds = [int(word) for word in words[at + 1 : end]]
    if not seeds or len(set(seeds)) < len(seeds):
        raise TrainingError(f"`{FLAG}`: expected numbers that differ, as {FLAG} 1 2 3, got {words[at + 1 : end]}.")
    return seeds, words[:at] + words[end:]


def train_seeds(argv: Sequence[str]) -> str:
    """Train a recipe with each of several seeds, score its best weights on the test split, and gather the figures.

    `OUT/seed_N` is the run of seed N and `OUT/seed_N/test` its scores; `OUT/seeds.md`, `.csv` and `.json` tell mean and
    deviation. A seed that is done is not run again, and one that was stopped goes on.

    Args:
        argv: Words, as for `train`, with `--seeds 1 2 3`.

    Returns:
        The table.

    Raises:
        TrainingError: The seeds are wrong, or `--resume` or `--overwrite` is among the words.
    """
    seeds, words = split_seeds(argv)
    if {"--resume", "--overwrite"} & set(words):
        raise TrainingError(f"`{FLAG}`: goes on with what is there by itself. Leave --resume and --overwrite out.")
    out = Path(words[words.index(OUT) + 1]) if OUT in words else Path("runs/latest")
    if OUT in words:
        at = words.index(OUT)
        del words[at : at + 2]
    for seed in seeds:
        folder = out / f"seed_{seed}"
        if not (folder / DONE / "scores.json").is_file():
            again = ["--resume"] if (folder / LAST).is_file() or (folder / FIRST_EPOCH).is_file() else []
            train(
                [*words, "--seed_everything", str(seed), "--model.seed", str(seed), OUT, str(folder), *again], seed=seed
            )
            _score(folder, seed)
    found = {seed: json.loads((out / f"seed_{seed}" / DONE / "scores.json").read_text()) for seed in seeds}
    return _write(out, found, "sonomask train " + " ".join(argv))


def _score(folder: Path, seed: int) -> None:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    model = recipe["model"]["model"]
    own = ["--model_class", model] if "." in model else []
    metrics = recipe["model"].get("metrics") or []
    own += ["--metrics", json.dumps(list(metrics))] if metrics else []
    data = json.dumps(recipe["data"])
    evaluate(["--model", str(folder / BEST), *own, "--data", data, "--seed", str(seed), OUT, str(folder / DONE)])


def summary(found: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each figure: its value with every seed, their mean and their standard deviation (of the sample).

    Args:
        found: Content of `scores.json` by seed.
    """
    rows = []
    for first in next(iter(found.values()))["rows"]:
        key = first["protocol"], first["metric"]
        values = [
            row["value"] for held in found.values() for row in held["rows"] if (row["protocol"], row["metric"]) == key
        ]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        named = {f"seed {seed}": value for seed, value in zip(found, values, strict=True)}
        rows.append(
            {"protocol": key[0], "metric": key[1], "mean": statistics.mean(values), "deviation": deviation, **named}
        )
    return rows


def _write(out: Path, found: dict[int, dict[str, Any]], command: str) -> str:
    rows = summary(found)
    facts = next(iter(found.values()))["facts"]
    (out / "seeds.json").write_text(json.dumps({"rows": rows, "command": command}, indent=2) + "\n")
    with (out / "seeds.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| protocol | metric | mean ± deviation | each seed |", "|---|---|--:|---|"]
    lines += [
        f"| {row['protocol']} | {row['metric']} | {row['mean']:.4f} ± {row['deviation']:.4f} | "
        + ", ".join(f"{row[f'seed {seed}']:.4f}" for seed in found)
        + " |"
        for row in rows
    ]
    told = [f"- command: {command}", f"- seeds: {', '.join(map(str, found))}; deviation of the sample (n - 1)"]
    told += [
        f"- {key}: {facts[key]}" for key in ("split", "pictures", "torch", "hardware", "precision") if key in facts
    ]
    text = "\n".join([*lines, "", *told]) + "\n"
    (out / "seeds.md").write_text(text, encoding="utf-8")
    return text
