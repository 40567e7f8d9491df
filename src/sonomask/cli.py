"""The command line: each verb is a function, its signature the options and their help."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

from sonomask.errors import MissingExtraError, SonomaskError

if TYPE_CHECKING:
    from sonomask.api import Result

KNOWN = (SonomaskError, ValueError, OSError)  # told in one line
Formats = Sequence[Literal["overlay", "masks", "npz"]]
EXIT_CODES = (
    "Exit codes: 0 all done; 1 some of several videos failed and the others are done, the data set is not healthy, or an "
    "error that is not foreseen; "
    "2 nothing done, for a reason told in one line, or a wrong argument; 130 stopped with Ctrl-C."
)


def segment(
    videos: Annotated[Sequence[str], "paths or addresses"],
    model: Annotated[str | None, "built-in name, folder or hub repository; the built-in model unless given"] = None,
    out: Annotated[str | None, "folder for the results; beside each video unless given"] = None,
    rate: Annotated[float | Literal["native", "avsbench"], "masks per second, 'native' for each frame"] = 5.0,
    threshold: Annotated[
        float | None, "probability above which a pixel is masked; the model's own unless given"
    ] = None,
    min_presence: Annotated[float, "empty masks where the calibrated presence score is lower, 0 to 1"] = 0.0,
    device: Annotated[str, "auto, cpu, cuda or mps"] = "auto",
    format: Annotated[Formats, "what to write: overlay, masks, npz"] = ("overlay",),  # noqa: A002
    overwrite: Annotated[bool, "replace existing results"] = False,
) -> int:
    """Mark the pixels of what sounds in videos."""
    from sonomask import api

    api.check_names(videos, out)
    network = api.load_fast(model, device)
    done = 0
    for video in videos:
        with _told(video):
            with _bar(video) as progress:
                result = api.segment(
                    video, out, network, rate=rate, threshold=threshold, min_presence=min_presence, device=device,
                    formats=format, overwrite=overwrite, progress=progress,
                )  # fmt: skip
            _report(result)
            done += 1
    return 0 if done == len(videos) else 1 if done else 2


def synth(
    out: Annotated[str, "folder to make"],
    preset: Annotated[Literal["tiny", "small", "large"], "how many clips, how large"] = "small",
    seed: Annotated[int, "the same seed gives the same tree"] = 0,
    subsets: Annotated[Sequence[Literal["s4", "ms3", "avss"]], "which of AVSBench's"] = ("s4", "ms3", "avss"),
    workers: Annotated[int, "processes; 0 for this one"] = 0,
    overwrite: Annotated[bool, "replace a tree made by this command"] = False,
) -> int:
    """Write a synthetic data set in the layout of AVSBench."""
    from sonomask.data.synthetic_tree import write_tree

    write_tree(out, preset=preset, seed=seed, subsets=subsets, workers=workers, overwrite=overwrite)
    print(out)
    return 0


def compose(
    images: Annotated[str, "table: image, mask, category, group"],
    sounds: Annotated[str, "table: sound, category, group"],
    out: Annotated[str, "folder to make"],
    preset: Annotated[Literal["tiny", "small", "large"], "how many clips, how large"] = "small",
    seed: Annotated[int, "the same seed gives the same tree"] = 0,
    subsets: Annotated[Sequence[Literal["s4", "ms3"]], "which of AVSBench's"] = ("s4", "ms3"),
    workers: Annotated[int, "processes; 0 for this one"] = 0,
    overwrite: Annotated[bool, "replace a tree made by this command"] = False,
) -> int:
    """Compose scenes of your pictures with masks and your sounds, in the layout of AVSBench."""
    from sonomask.data.synthetic_tree import write_tree

    write_tree(
        out, preset=preset, seed=seed, subsets=subsets, workers=workers, overwrite=overwrite, tables=(images, sounds)
    )
    print(out)
    return 0


def doctor(
    root: Annotated[str, "a folder somewhere above the data"],
    subsets: Annotated[Sequence[Literal["s4", "ms3", "avss"]], "which to check"] = ("s4", "ms3", "avss"),
    quick: Annotated[bool, "only look whether the files are there"] = False,
) -> int:
    """Check a tree of AVSBench: what is missing, misnamed, unreadable, doubled or wrong, and what to do."""
    from sonomask.data.doctor import examine

    found = examine(root, subsets, deep=not quick)
    print(*(one.markdown() for one in found), sep="\n\n")
    return 0 if all(one.healthy for one in found) else 1


def prepare(
    videos: Annotated[str, "a folder of videos, or a csv with the columns video, split[, category, name]"],
    out: Annotated[str, "folder of the data set"],
    masks: Annotated[str | None, "folder with NAME/1.png …, white where something sounds"] = None,
    size: Annotated[int, "side of the frames"] = 224,
    workers: Annotated[int, "processes; 0 for this one"] = 2,
) -> int:
    """Make a data set in the layout of AVSBench from raw videos; a stopped run goes on where it was."""
    from sonomask.data.prepare import prepare as run

    with _bar(out) as progress:
        result = run(videos, out, masks=masks, size=size, workers=workers, progress=progress)
    for name, reason in result.failed.items():
        print(f"sonomask: {name}: {reason}", file=sys.stderr)
    print(f"{out}: {result.made} clips made, {result.kept} were there, {len(result.failed)} failed")
    return 0 if not result.failed else 1 if result.made + result.kept else 2


def convert(
    checkpoint: Annotated[str, "the reference's .pth"],
    out: Annotated[str, "folder for the model"],
    fusion: Annotated[Literal["tpavi", "visual", "both", "none"], "what it was trained with"] = "tpavi",
    vggish: Annotated[str | None, "VGGish's .pth; without it the model takes embeddings only"] = None,
) -> int:
    """Turn a checkpoint of the reference implementation into a model folder."""
    from sonomask.convert import convert as run

    run(checkpoint, out, fusion=fusion, vggish=vggish)
    print(out)
    return 0


def benchmark(
    data: Annotated[str, "folder with AVSBench in it, or 'synthetic'"] = "synthetic",
    out: Annotated[str, "folder for runs, tables and pictures"] = "runs/benchmark",
    subset: Annotated[Sequence[Literal["s4", "ms3"]], "settings"] = ("s4", "ms3"),
    models: Annotated[Sequence[str], "rows (lvs, mssl, 3dc, sst, igan, lgvt, …), model folders, or 'all'"] = ("all",),
    size: Annotated[int, "height and width"] = 224,
    steps: Annotated[int, "training steps of every row"] = 1000,
    batch: Annotated[int, "clips a step"] = 4,
    small: Annotated[bool, "shallow networks, random weights: for a laptop"] = False,
    seeds: Annotated[Sequence[int], "one run each"] = (1,),
    clips: Annotated[int, "test clips of the synthetic world"] = 100,
    device: Annotated[str, "cpu, cuda or mps, for scoring"] = "cpu",
) -> int:
    """Train or load the systems of the paper's comparison, score them alike, write tables and pictures."""
    with _needs("The benchmark", "train"):
        from sonomask.benchmark.figures import draw
        from sonomask.benchmark.rows import ROWS
        from sonomask.benchmark.run import Plan, run

    plan = Plan(data, Path(out), size, steps, batch, small, tuple(seeds), clips, device)
    rows = list(ROWS) if list(models) == ["all"] else list(models)
    given = f"sonomask benchmark --data {data} --subset {' '.join(subset)} --models {' '.join(models)} --size {size}"
    given += f" --steps {steps} --batch {batch} --seeds {' '.join(map(str, seeds))} --clips {clips}"
    run(plan, list(subset), rows, given + " --small" * small)
    draw(plan, list(subset), rows)
    print((plan.out / "table.md").read_text(encoding="utf-8"))
    return 0


def models() -> int:
    """List what `--model` and `create_model` take."""
    from sonomask.models.catalog import list_models
    from sonomask.weights import built_in

    print("Ready to use (--model):", *(built_in() or ["none in this installation"]), sep="\n  ")
    print("Networks (create_model, recipes):", *list_models(), sep="\n  ")
    return 0


def version() -> int:
    """Print the version."""
    from sonomask import __version__

    print(__version__)
    return 0


def train(argv: Sequence[str]) -> int:
    """Train by a recipe: `sonomask train RECIPE… [--option value …]`."""
    with _needs("Training", "train"):
        from sonomask.training import cli

    cli.train(argv)
    return 0


def evaluate(argv: Sequence[str]) -> int:
    """Score a model on a data set: `sonomask evaluate --model NAME --data …`."""
    with _needs("Evaluation", "train"):
        from sonomask.training import cli

    print(cli.evaluate(argv).markdown())
    return 0


VERBS: dict[str, Callable[..., int]] = {
    f.__name__: f for f in (segment, synth, compose, prepare, doctor, convert, benchmark, models, version)
}
RECIPES: dict[str, Callable[[Sequence[str]], int]] = {"train": train, "evaluate": evaluate}
"""Verbs that parse their own words, as Lightning wants it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in RECIPES:
            return RECIPES[words[0]](words[1:])
        options = _parser().parse_args(words)
        return VERBS[options.verb](**vars(options[options.verb]))
    except KNOWN as error:
        _complain(error)
        return 2
    except KeyboardInterrupt:
        print("sonomask: stopped.", file=sys.stderr)
        return 130


def _parser() -> ArgumentParser:
    about = "Watch videos, listen to them, and mark the pixels of what makes the sound."
    parser = ArgumentParser(prog="sonomask", description=about, epilog=EXIT_CODES)
    verbs = parser.add_subcommands(dest="verb")
    for name, verb in (VERBS | RECIPES).items():
        own = ArgumentParser(description=verb.__doc__, epilog=EXIT_CODES)
        if name in VERBS:
            _add_options(own, verb)
        verbs.add_subcommand(name, own, help=verb.__doc__)
    return parser


def _add_options(parser: ArgumentParser, verb: Callable[..., int]) -> None:
    """An argument for each parameter: positional without a default, several words for a sequence, a flag for a bool."""
    hints = get_type_hints(verb, include_extras=True)
    for name, parameter in signature(verb).parameters.items():
        kind, text = get_args(hints[name])
        positional = parameter.default is Parameter.empty
        options: dict[str, Any] = {"help": text} if positional else {"help": text, "default": parameter.default}
        if kind is bool:
            options["action"] = "store_true"
        elif get_origin(kind) is Sequence:
            options |= {"nargs": "+", "type": get_args(kind)[0]}
            if not positional:
                options["default"] = list(parameter.default)  # jsonargparse writes into it
        else:
            options["type"] = kind
        parser.add_argument(name if positional else f"--{name}", **options)


@contextmanager
def _needs(feature: str, extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sonomask"):
            raise
        raise MissingExtraError(feature, extra) from error


@contextmanager
def _told(video: str) -> Iterator[None]:
    """Tells what went wrong with a video and lets the next one have its turn."""
    try:
        yield
    except KNOWN as error:
        _complain(error)
    except Exception:
        print(f"sonomask: {video}: an error that is not foreseen; please report it.", file=sys.stderr)
        traceback.print_exc()


@contextmanager
def _bar(video: str) -> Iterator[Callable[[float, float | None], None]]:
    """A progress bar on the terminal, over the seconds of a video."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(Path(video).name.replace("[", r"\["), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _report(result: Result) -> None:
    for warning in result.warnings:
        print(f"sonomask: {warning}", file=sys.stderr)
    for path in result.files.values():
        print(f"{path}  ({result.frames} masks, {result.area:.1%} of the picture sounds)")


def _complain(error: BaseException) -> None:
    print("sonomask:", " ".join(str(error).split()) or type(error).__name__, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
