"""Verbs about models and their comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from textwrap import fill
from typing import Annotated, Literal

from sonomask.cli.options import parse, parser_of
from sonomask.cli.shared import needs
from sonomask.cli.teaching import FLAGS, teach


def convert(
    checkpoint: Annotated[str, "the authors' .pth: AVSBench's model or one of the zoo (docs/zoo.md)"],
    out: Annotated[str, "folder for the model"],
    fusion: Annotated[
        Literal["tpavi", "visual", "both", "none"], "AVSBench's only: what it was trained with"
    ] = "tpavi",
    vggish: Annotated[
        str | None, "AVSBench's model and EASE: VGGish's .pth; without it the model takes embeddings"
    ] = None,
    size: Annotated[int | None, "EASE's only: 224 or 384, if the file has lost its name"] = None,
) -> int:
    """Turn a published checkpoint into a model folder; the system is recognised by its tensors' names."""
    from sonomask.checkpoints.convert import convert as run

    run(checkpoint, out, fusion=fusion, vggish=vggish, size=size)
    print(out)
    return 0


def benchmark(
    data: Annotated[str, "folder with AVSBench in it, or 'synthetic'"] = "synthetic",
    out: Annotated[str, "folder for runs, tables and pictures"] = "runs/benchmark",
    subset: Annotated[Sequence[Literal["s4", "ms3"]], "AVSBench subsets to use"] = ("s4", "ms3"),
    models: Annotated[Sequence[str], "systems (everything, lvs, mssl, sst, tpavi, …), model folders, or 'all'"] = (
        "all",
    ),
    size: Annotated[int, "height and width of the pictures in pixels"] = 224,
    steps: Annotated[int, "training steps of each system"] = 1000,
    batch: Annotated[int, "clips per training step"] = 4,
    small: Annotated[bool, "use small networks with random weights, for a laptop"] = False,
    seeds: Annotated[Sequence[int], "random seeds; each system is trained once per seed"] = (1,),
    repeated: Annotated[Sequence[str], "rows that run with every seed, the others with the first; or 'all'"] = ("all",),
    clips: Annotated[int, "test clips of the synthetic world"] = 100,
    device: Annotated[str, "auto, cpu, cuda or mps, for scoring"] = "auto",
    precision: Annotated[str, "training precision: 32, bf16-mixed, 16-mixed"] = "32",
    backbone_weights: Annotated[
        str | None, "ResNet-18 that the small rows start from; with --frozen a world model"
    ] = None,
    audio_weights: Annotated[str | None, "model whose tagger the small rows hear with, as world_duo.real"] = None,
    frozen: Annotated[bool, "keep the small rows' backbones as they begin and run them once for each picture"] = False,
    real: Annotated[str | None, "folder of real clips with labels.csv, masks and videos to score on as well"] = None,
    pairs: Annotated[str, "system that the others are compared with, clip by clip"] = "tpavi",
) -> int:
    """Train or load the systems of the paper's comparison, score them alike, write tables and pictures."""
    with needs("The benchmark", "torch"):
        from sonomask.benchmark.figures import draw
        from sonomask.benchmark.floors import FLOORS
        from sonomask.benchmark.plan import Plan
        from sonomask.benchmark.rows import ROWS
        from sonomask.benchmark.run import run
        from sonomask.inference.torch_scorer import choose_device

    often = None if list(repeated) == ["all"] else tuple(repeated)
    plan = Plan(
        data, Path(out), size, steps, batch, small, tuple(seeds), often, clips, str(choose_device(device)), precision,
        backbone_weights, audio_weights, frozen, pairs, real,
    )  # fmt: skip
    rows = [*FLOORS, *ROWS] if list(models) == ["all"] else list(models)
    given = f"sonomask benchmark --data {data} --subset {' '.join(subset)} --models {' '.join(models)} --size {size}"
    given += f" --steps {steps} --batch {batch} --seeds {' '.join(map(str, seeds))} --clips {clips}"
    given += f" --repeated {' '.join(repeated)}" * (often is not None)
    given += "".join(
        f" --{option} {value}"
        for option, value in (("backbone-weights", backbone_weights), ("audio-weights", audio_weights), ("real", real))
        if value is not None
    )
    given += f" --precision {precision}" * (precision != "32") + f" --pairs {pairs}" * (pairs != "tpavi")
    run(plan, list(subset), rows, given + " --small" * small + " --frozen" * frozen)
    draw(plan, list(subset), rows)
    print((plan.out / "table.md").read_text(encoding="utf-8"))
    return 0


def compare_runs(
    one: Annotated[str, "folder of `evaluate --out`, or a table of clips (.csv, .parquet)"],
    two: Annotated[str, "the same for another model on the same clips"],
    metric: Annotated[Literal["miou", "fscore"], "figure to compare"] = "miou",
    draws: Annotated[int, "number of bootstrap draws"] = 10_000,
    seed: Annotated[int, "random seed of the draws"] = 0,
) -> int:
    """Compare two scored models clip by clip: is the difference more than chance? A paired bootstrap over clips."""
    with needs("Comparing runs", "train"):
        from sonomask.training.clips import compare, read_clips

    found = compare(read_clips(Path(one), metric), read_clips(Path(two), metric), draws=draws, seed=seed)
    print(f"{found.clips} clips that both have; mean {metric}: {found.first:.4f} and {found.second:.4f}")
    print(
        f"difference (second less first): {found.second - found.first:+.4f}, 95 % of {draws} draws of clips within "
        f"{found.low:+.4f} and {found.high:+.4f}; the second is better in {found.better:.1%} of them"
    )
    return 0


def evaluate_instances(
    root: Annotated[str, "folder in AVISeg's layout: SPLIT.json, SPLIT/JPEGImages, SPLIT/WAVAudios"],
    split: Annotated[Literal["train", "val", "test"], "split to score"] = "test",
    results: Annotated[str | None, "results.json of a system to score; the model is run unless given"] = None,
    model: Annotated[str | None, "built-in name, folder or hub repository; the built-in model unless given"] = None,
    out: Annotated[str | None, "file for the model's results, in the format of results.json"] = None,
    published: Annotated[bool, "reproduce the figures of the public evaluation code, including its errors"] = False,
) -> int:
    """Score instances over time as audio-visual instance segmentation does: mAP, HOTA and FSLA."""
    with needs("Scoring instances", "torch"):
        from sonomask.data.avis import AVISeg, avis_category, read_results, write_results
        from sonomask.data.sound import read_wav
    from sonomask.metrics.instances import score_instances

    data = AVISeg(root, split)
    if results is not None:
        found = read_results(results, data)
    else:
        from sonomask.api import Segmenter, load_fast
        from sonomask.benchmark.instances import mark

        found = mark(Segmenter(load_fast(model), rate=1.0, min_area=0.0), data, listen=read_wav, category=avis_category)
        if out is not None:
            write_results(out, found)
    lengths = {video.number: len(video.frames) for video in data}
    scores = score_instances(data.tracks, found, lengths, list(data.categories), published=published)
    print(f"{len(data)} videos, {len(data.tracks)} true tracks, {len(found)} found")
    print("| " + " | ".join(scores) + " |\n|" + "--:|" * len(scores))
    print("| " + " | ".join(f"{value:.2f}" for value in scores.values()) + " |")
    return 0


def evaluate_referring(
    root: Annotated[str, "folder in Ref-AVS's layout: metadata.csv, media, gt_mask"],
    split: Annotated[Literal["train", "val", "test_s", "test_u", "test_n"], "split to score"] = "test_s",
    model: Annotated[
        str, "'open', 'open:NAME' or 'open:BOXES,MASKS'; others mark what sounds, whatever the sentence"
    ] = "open",
    device: Annotated[str, "auto, cpu, cuda or mps"] = "auto",
) -> int:
    """Score a model on sentences about videos as Ref-AVS does: J, F, their mean, and S."""
    with needs("Scoring sentences", "torch"):
        from sonomask.benchmark.referring import refer
        from sonomask.data.refavs import RefAVS
    from sonomask.api import load_fast

    data, scorer = RefAVS(root, split), load_fast(model, device)
    if not len(data):
        raise ValueError(f"`split`: {root} has no sentences of {split}.")
    if not hasattr(scorer, "prompted"):
        print(f"The model {scorer.config.name} takes no words: it marks what sounds, whatever the sentence.")
    scores = refer(scorer, data, device=device)
    print(f"{len(data)} sentences of {split}")
    print("| " + " | ".join(scores) + " |\n|" + "--:|" * len(scores))
    print("| " + " | ".join(f"{100 * value:.2f}" for value in scores.values()) + " |")
    return 0


def weights() -> int:
    """List the public files that recipes begin from: which are here, where the others are, their licence and size."""
    with needs("The list of weights", "torch"):
        from sonomask.checkpoints.known import KNOWN, places, present

    for name, known in KNOWN.items():
        found = present(known)
        print(f"{name}: {known.what}\n  {known.file}, {known.megabytes} MB, {known.licence}")
        print(f"  here: {found}" if found else f"  missing; fetched when it is named, from {known.address}")
    print("Searched:", ", ".join(map(str, places())))
    print("`backbone_weights: pretrained` takes timm's weights for the network of a recipe, from the hub or its cache.")
    return 0


def models(
    networks: Annotated[bool, "also list the networks for `create_model` and recipes; needs sonomask[torch]"] = False,
) -> int:
    """List what `--model` takes."""
    from sonomask.checkpoints.places import BUILT_IN, CONFIG, DEFAULT_MODEL, GRAPH, built_in

    print("Ready to use (--model):")
    for name in built_in():
        marks = ["the default"] * (name == DEFAULT_MODEL)
        if not (BUILT_IN / name / GRAPH).is_file():
            marks.append("needs sonomask[torch]")
        print(f"  {name}" + (f"  ({', '.join(marks)})" if marks else ""))
        config = json.loads((BUILT_IN / name / CONFIG).read_text(encoding="utf-8"))
        for text in (config["about"], f"Licence of the weights: {config['licence']}."):
            print(fill(text, 100, initial_indent="    ", subsequent_indent="    "))
    if networks:
        from sonomask.models.catalog import list_models

        print("Networks (create_model, recipes):", *list_models(), sep="\n  ")
    return 0


def train(argv: Sequence[str]) -> int:
    """Train by a recipe: `sonomask train RECIPE… [--option value …]`; or from corrections: `train --corrections FILE…`."""
    if any(word.partition("=")[0] in FLAGS for word in argv):
        values = parse(parser_of("train", teach), argv)
        return teach(**{name: value for name, value in values.items() if name not in ("quiet", "verbose")})
    with needs("Training", "torch"):
        from sonomask.training.rows import config_of

    for word in takewhile(lambda word: not word.startswith("-"), argv):
        config_of(word)  # a recipe that is not there is told before torch is loaded
    with needs("Training", "torch"):
        from sonomask.training import recipes as cli
        from sonomask.training.seeds import FLAG, train_seeds

    if FLAG in argv:
        print(train_seeds(argv))
    else:
        cli.train(argv)
    return 0


def evaluate(argv: Sequence[str]) -> int:
    """Score a model on a data set: `sonomask evaluate --model NAME --data …`."""
    with needs("Evaluation", "torch"):
        from sonomask.training import recipes as cli

    print(cli.evaluate(argv).markdown())
    return 0


VERBS = (convert, benchmark, compare_runs, evaluate_instances, evaluate_referring, weights, models)
RECIPES = (train, evaluate)
"""These parse their own words, as Lightning wants it."""
