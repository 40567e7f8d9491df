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
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from sonomask.cli import corpus, data, exchange, live, pictures, research, video, web
from sonomask.cli.shared import KNOWN, complain, request_options, with_request
from sonomask.errors import MissingExtraError
from sonomask.request import Request

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

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
    *research.VERBS, version,
)  # fmt: skip
OF_TORCH = {"huggingface_hub", "lightning", "onnx", "onnxscript", "safetensors", "scipy", "timm", "torch", "torchmetrics",
            "torchvision"}  # fmt: skip
"""Packages that the extra `torch` brings, by the names under which they are imported."""
VERBS: dict[str, Callable[..., int]] = {f.__name__.replace("_", "-"): f for f in _ALL}
RECIPES: dict[str, Callable[[Sequence[str]], int]] = {f.__name__: f for f in research.RECIPES}
"""Verbs that parse their own words."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a letter shows a question mark
            stream.reconfigure(errors="replace")
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # processes that we start import nothing from the current folder
    if words[:1] in (["--version"], ["-V"]):
        return version()
    try:
        _check_verb(words)
        if words and words[0] in RECIPES:
            return RECIPES[words[0]](words[1:])
        return _run(words)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OF_TORCH:
            raise
        complain(MissingExtraError(f"`sonomask {words[0]}`", "torch"))
        return 2
    except BrokenPipeError:  # who reads our output has seen enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KNOWN as error:
        complain(error)
        return 2
    except KeyboardInterrupt as error:
        print("sonomask: stopped.", file=sys.stderr)
        return 128 + error.number if isinstance(error, _Terminated) else 130


def _run(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        parser = _overview()
        parser.parse_args(words)  # ends here, unless there are no words
        parser.print_help()
        return 2
    verb, values = VERBS[words[0]], {}
    if words[1:] or any(p.default is Parameter.empty for p in signature(verb).parameters.values()):
        values = with_request(verb, vars(_parser(words[0]).parse_args(words)[words[0]]))
    with _ends_like_ctrl_c():
        code = verb(**values)
        sys.stdout.flush()  # where the one who reads it may have gone
    return code


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
    """Whoever is told to end removes what is half done. Training and the server answer these signals in their own ways."""

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
    """What `--help` prints, by Python's own parser: that is quick."""
    parser = argparse.ArgumentParser(prog="sonomask", description=ABOUT, epilog=EXIT_CODES)
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", description="COMMAND --help tells more of each.")
    for name, verb in (VERBS | RECIPES).items():
        verbs.add_parser(name, help=verb.__doc__)
    return parser


def _parser(asked: str) -> ArgumentParser:
    """The parser of all commands, which knows the options of the one that is asked for only: that is quick."""
    from jsonargparse import ArgumentParser  # a third of a second, which `--version` need not wait for

    parser = ArgumentParser(prog="sonomask", description=ABOUT, epilog=EXIT_CODES)
    verbs = parser.add_subcommands(dest="verb")
    for name, verb in (VERBS | RECIPES).items():
        own = ArgumentParser(description=verb.__doc__, epilog=EXIT_CODES)
        if name == asked and name in VERBS:
            _add_options(own, verb)
        verbs.add_subcommand(name, own, help=verb.__doc__)
    return parser


def _add_options(parser: ArgumentParser, verb: Callable[..., int]) -> None:
    """An argument for each parameter: positional without a default, several words for a sequence, a flag for a bool.

    One without a default that can be given by name only is an option that must be there. A `Request` becomes an option for
    each of the fields that its annotation names.
    """
    hints = get_type_hints(verb, include_extras=True)
    for name, parameter in signature(verb).parameters.items():
        kind, text = get_args(hints[name])
        if kind is Request:
            for field, own in request_options(parameter.default, text):
                _add(parser, field, own)
            continue
        required = parameter.default is Parameter.empty
        positional = required and parameter.kind is not Parameter.KEYWORD_ONLY
        options: dict[str, Any] = {"help": text} if required else {"help": text, "default": parameter.default}
        if required and not positional:
            options["required"] = True
        if kind is bool:
            options["action"] = "store_true"
        elif get_origin(kind) is Sequence:
            options |= {"nargs": "+", "type": get_args(kind)[0]}
            if not required:
                options["default"] = list(parameter.default)  # jsonargparse writes into it
        else:
            options["type"] = kind
        _add(parser, name, options, positional=positional)


def _add(parser: ArgumentParser, name: str, options: dict[str, Any], *, positional: bool = False) -> None:
    names = [name] if positional else list(dict.fromkeys([f"--{name.replace('_', '-')}", f"--{name}"]))
    parser.add_argument(*names, **options)


if __name__ == "__main__":
    sys.exit(main())
