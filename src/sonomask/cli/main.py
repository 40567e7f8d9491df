"""The command line: the verbs' signatures become options and help."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from inspect import Parameter, signature
from textwrap import fill
from typing import TYPE_CHECKING

from sonomask.cli import corpus, data, exchange, live, pictures, research, shell, video, web
from sonomask.cli.shared import KNOWN, complain, logger, set_verbosity, unexpected, with_request
from sonomask.errors import MissingExtraError

if TYPE_CHECKING:
    from sonomask.cli.options import Parser

ABOUT = "Watch videos, listen to them, and mark the pixels of what makes the sound."
EXIT_CODES = (
    "Exit codes: 0 success; 1 some videos failed, the data set has faults, or an unexpected error; 2 nothing was done, or an "
    "argument is wrong; 129 terminal closed; 130 Ctrl-C; 143 SIGTERM."
)


def version() -> int:
    """Print the version."""
    from sonomask import __version__

    print(__version__)
    return 0


_ALL = (
    *video.VERBS, *pictures.VERBS, *live.VERBS, *exchange.VERBS, *web.VERBS, *corpus.VERBS, *data.VERBS,
    *research.VERBS, *shell.VERBS, version,
)  # fmt: skip
OF_TORCH = {"huggingface_hub", "lightning", "onnx", "onnxscript", "safetensors", "scipy", "timm", "torch", "torchmetrics",
            "torchvision"}  # fmt: skip
"""Packages that the extra `torch` brings, by the names under which they are imported."""
VERBS: dict[str, Callable[..., int]] = {f.__name__.replace("_", "-"): f for f in _ALL}
TABLES = {"segment": video.FORMAT_TABLE}
"""What the help of a verb ends with."""
RECIPES: dict[str, Callable[[Sequence[str]], int]] = {f.__name__: f for f in research.RECIPES}
"""Verbs that parse their own words."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a letter shows a question mark
            stream.reconfigure(errors="replace")
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # processes that we start import nothing from the current folder
    level = logger.level
    set_verbosity(quiet=False, verbose=False)
    try:
        return _main(words)
    finally:
        logger.setLevel(level)


def _main(words: list[str]) -> int:
    if words[:1] in (["--version"], ["-V"]):
        return version()
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    try:
        _check_verb(words)
        return _recipe(words) if words and words[0] in RECIPES else _run(words)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OF_TORCH:
            raise
        complain(MissingExtraError(f"`sonomask {words[0]}`", "torch"))
        return 2
    except BrokenPipeError:  # the reader of our output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KNOWN as error:
        complain(error)
        return 2
    except KeyboardInterrupt as error:
        print("sonomask: stopped.", file=sys.stderr)
        return 128 + error.number if isinstance(error, _Terminated) else 130
    except Exception as error:
        complain(unexpected(error))
        return 1


def _run(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        parser = _overview()
        parser.parse_args(words)  # ends here, unless there are no words
        parser.print_help()
        return 2
    verb, values = VERBS[words[0]], {}
    if words[1:] or any(p.default is Parameter.empty for p in signature(verb).parameters.values()):
        from sonomask.cli.options import parse

        values = parse(parser_for(words[0]), words[1:])
        set_verbosity(quiet=values.pop("quiet"), verbose=values.pop("verbose"))
        values = with_request(verb, values)
    with _ends_like_ctrl_c():
        code = verb(**values)
        sys.stdout.flush()  # where the one who reads it may have gone
    return code


def _recipe(words: list[str]) -> int:
    """Run a verb that parses its own words, except for those that all verbs share."""
    quiet, verbose = ("-q", "--quiet"), ("-v", "--verbose")
    set_verbosity(quiet=any(word in quiet for word in words), verbose=any(word in verbose for word in words))
    return RECIPES[words[0]]([word for word in words[1:] if word not in quiet + verbose])


def parser_for(name: str) -> Parser:
    """The parser of a verb's words."""
    from sonomask.cli.options import parser_of

    return parser_of(name, VERBS[name], TABLES.get(name, "") + fill(EXIT_CODES, 100))


def whole_parser() -> argparse.ArgumentParser:
    """A parser of all commands with all their options, for what needs to see them together."""
    whole = argparse.ArgumentParser(prog="sonomask", description=ABOUT)
    verbs = whole.add_subparsers(metavar="COMMAND")
    for name in VERBS:
        own = parser_for(name)
        for action in own._actions:
            action.choices = action.choices or getattr(action, "values", None) or None
        verbs.add_parser(name, parents=[own], add_help=False, help=own.description)
    for name, verb in RECIPES.items():
        verbs.add_parser(name, help=verb.__doc__)
    return whole


def _check_verb(words: Sequence[str]) -> None:
    """Make sure that there is such a command.

    Raises:
        ValueError: There is not; the message names similar ones.
    """
    if not words or words[0].startswith("-") or words[0] in VERBS | RECIPES:
        return
    near = get_close_matches(words[0], [*VERBS, *RECIPES], n=2)
    advice = f"Did you mean {' or '.join(near)}?" if near else "`sonomask --help` lists them."
    raise ValueError(f"There is no command {words[0]!r}. {advice}")


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def _ends_like_ctrl_c() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into exceptions, so that partial results are removed; training and the server have their own."""

    def answer(number: int, _: object) -> None:
        raise _Terminated(number)

    if threading.current_thread() is not threading.main_thread():  # others may not
        yield
        return
    numbers = [signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # under nohup a run outlives its terminal
        numbers.append(hangup)
    before = {number: signal.signal(number, answer) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _overview() -> argparse.ArgumentParser:
    """The parser that prints the overview of `--help`: argparse starts fast."""
    parser = argparse.ArgumentParser(prog="sonomask", description=ABOUT, epilog=EXIT_CODES)
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", description="COMMAND --help tells more of each.")
    for name, verb in (VERBS | RECIPES).items():
        verbs.add_parser(name, help=(verb.__doc__ or "").partition("\n")[0])
    return parser


if __name__ == "__main__":
    sys.exit(main())
