"""Functions shared by the commands: reporting of errors and progress."""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

from sonomask.errors import REPOSITORY, MissingExtraError, SonomaskError
from sonomask.request import Request

EVERY = 30.0  # seconds between two lines of progress where there is no terminal
ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Letters by which a name can move a terminal's cursor, change its title, forge a line or turn the direction of writing."""
KNOWN = (SonomaskError, ValueError, OSError)  # told in one line

logger = logging.getLogger("sonomask")


class _ToStderr(logging.Handler):
    """A handler for the standard error of the moment, which tests replace."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        print("sonomask:", plain(self.format(record)), file=sys.stderr, flush=True)


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """Set how much is printed besides results and errors: nothing, the usual messages, or details too."""
    if not any(isinstance(handler, _ToStderr) for handler in logger.handlers):
        logger.addHandler(_ToStderr())
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)


def quiet() -> bool:
    """Whether only results and errors are printed."""
    return not logger.isEnabledFor(logging.INFO)


@contextmanager
def needs(feature: str, extra: str) -> Iterator[None]:
    """Tell which extra is missing, if one is."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sonomask"):
            raise
        raise MissingExtraError(feature, extra) from error


def request_options(default: Request, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name, and default, help and type, of the option for each of these fields of a request."""
    kinds = get_type_hints(Request)
    found = {field.name: field for field in fields(Request)}
    for name in names:
        field = found[name]
        own = {"default": getattr(default, name), "help": field.metadata["help"], "kind": kinds[name]}
        yield flag(field), own | {"metavar": field.metadata.get("metavar")}


def flag(field: Field[Any]) -> str:
    """The name of a request's field on the command line."""
    return field.metadata.get("flag", field.name)


def with_request(verb: Callable[..., int], values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a verb from those of the command line: fields of a request are gathered into one.

    Raises:
        ValueError: One is out of range.
    """
    hints, values = get_type_hints(verb, include_extras=True), dict(values)
    for name, parameter in signature(verb).parameters.items():
        kind, names = get_args(hints[name])
        if kind is Request:
            flags = {field.name: flag(field) for field in fields(Request)}
            values[name] = replace(parameter.default, **{field: values.pop(flags[field]) for field in names})
    return values


@contextmanager
def reporting(video: str) -> Iterator[None]:
    """Report what went wrong with a video, and let the next one have its turn."""
    try:
        yield
    except KNOWN as error:
        complain(error)
    except Exception as error:
        complain(unexpected(error, f"{video}: "))


@contextmanager
def bar(video: str) -> Iterator[Callable[[float, float | None], None]]:
    """A progress bar on the terminal, over the seconds of a video; elsewhere a line every 30 s; nothing with `--quiet`."""
    if quiet():
        yield lambda _done, _total: None
        return
    if not sys.stderr.isatty():
        yield lines(video)
        return
    from tqdm import tqdm

    form = "{desc} {bar} {percentage:3.0f}% {remaining}"
    with tqdm(desc=plain(Path(video).name), leave=False, dynamic_ncols=True, bar_format=form) as shown:

        def tell(done: float, total: float | None) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield tell


def lines(video: str, now: Callable[[], float] = time.monotonic) -> Callable[[float, float | None], None]:
    """Make a function that logs the progress of a video every 30 s."""
    began = last = now()

    def update(done: float, total: float | None) -> None:
        nonlocal last
        if now() - last >= EVERY:
            last = now()
            whole = "" if not total else f" of {total:.0f} s ({min(done / total, 1.0):.0%})"
            logger.info("%s: %.0f%s done after %.0f s", video, done, whole or " s", last - began)

    return update


def unexpected(error: Exception, place: str = "") -> str:
    """Report an unexpected error in one line, with `--verbose` after its traceback."""
    if logger.isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
        hint = f"Please report it at {REPOSITORY}/issues."
    else:
        hint = f"Run it again with --verbose to see where, and please report it at {REPOSITORY}/issues."
    return f"{place}unexpected error ({type(error).__name__}: {str(error)[:300]}). {hint}"


def complain(error: BaseException | str) -> None:
    """Print a line on standard error."""
    print("sonomask:", plain(" ".join(str(error).split())) or type(error).__name__, file=sys.stderr)


def plain(text: str) -> str:
    """A line of text, of which letters that act on a terminal are written out as Python writes them."""
    return ACTING.sub(lambda letter: letter.group().encode("unicode_escape").decode(), text)
