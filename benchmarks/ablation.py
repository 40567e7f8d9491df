"""Does listening help, and how? The paper's ablation on the synthetic world, three seeds each.

    uv run python benchmarks/ablation.py --out runs/ablation

Trains `recipes/synthetic_ablation.yaml` for each way of fusion and seed, then scores each on the test split of the
synthetic world; and MS3 from scratch beside MS3 from weights trained on S4. A run that is there already is not repeated.
Prints Markdown.
"""

import argparse
import json
import statistics
from pathlib import Path

from sonomask.training.recipes import evaluate, train

RECIPE = str(Path(__file__).parents[1] / "recipes" / "synthetic_ablation.yaml")
FUSIONS = {
    "none": ["--model.options", '{"fusion": "none"}'],
    "add": ["--model.options", '{"fusion": "add"}'],
    "tpavi": ["--model.options", '{"fusion": "tpavi"}'],
    "tpavi, one second at a time": ["--model.options", '{"fusion": "tpavi", "fold": 1}'],
}
SINGLE = ["--data.init_args.kind", "single"]


def run(folder: Path, options: list[str], seed: int, rules: list[str]) -> float:
    """MIoU (protocol avsbench) on the test split."""
    scores = folder / "test" / "scores.json"
    if not scores.is_file():
        numbers = ["--seed_everything", str(seed), "--model.seed", str(seed), "--data.init_args.seed", str(seed)]
        train([RECIPE, *numbers, *options, *rules, "--out", str(folder), "--trainer.enable_progress_bar", "false"])
        kind = [
            "--data.init_args.kind",
            "multi",
            "--data.init_args.size",
            "64",
            "--data.init_args.workers",
            "0",
            *rules,
        ]
        data = ["--data.class_path", "sonomask.data.datamodule.SyntheticDataModule", *kind]
        evaluate(["--model", str(folder / "best"), *data, "--out", str(folder / "test"), "--seed", str(seed)])
    rows = json.loads(scores.read_text())["rows"]
    return next(row["value"] for row in rows if (row["protocol"], row["metric"]) == ("avsbench", "miou"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--changes", type=float, default=0.35, help="how often what sounds is drawn anew, per second")
    parser.add_argument("--epochs", type=int, default=3, help="of 600 steps")
    parser.add_argument("--single", action="store_true", help="compare MS3 from scratch and from S4 weights too")
    args = parser.parse_args()
    rules = ["--data.init_args.rules", json.dumps({"changes": args.changes})]
    length = ["--trainer.max_epochs", str(args.epochs)]
    table: dict[str, list[float]] = {}
    for seed in args.seeds:
        for name, options in FUSIONS.items():
            folder = args.out / f"{name.replace(', ', '_').replace(' ', '_')}_{seed}"
            table.setdefault(name, []).append(run(folder, [*options, *length], seed, rules))
            print(name, seed, table[name][-1], flush=True)
    for seed in args.seeds if args.single else ():
        first = args.out / f"s4_{seed}"
        run(first, [*FUSIONS["tpavi"], *SINGLE, *length], seed, [])
        start = [*FUSIONS["tpavi"], *length, "--model.init_from", str(first / "best")]
        table.setdefault("tpavi, from S4 weights", []).append(run(args.out / f"s4_ms3_{seed}", start, seed, rules))
    print("\n| fusion | mIoU, each seed | mean | deviation |\n|---|---|--:|--:|")
    for name, values in table.items():
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"| {name} | {', '.join(f'{v:.3f}' for v in values)} | {statistics.mean(values):.3f} | {deviation:.3f} |")


if __name__ == "__main__":
    main()
