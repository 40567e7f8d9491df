"""What the verbs share: how an error is told, how progress is shown."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from sonomask.errors import MissingExtraError, SonomaskError
from sonomask.request import Request

EVERY = 30.0  # seconds between two lines of progress where there is no terminal
KNOWN = (SonomaskError, ValueError, OSError)  # told in one line


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
    """(name, arguments of `add_argument`) for each of these fields of a request."""
    kinds = get_type_hints(Request)
    for field in fields(Request):
        if field.name in names:
            own: dict[str, Any] = {"default": getattr(default, field.name), "help": field.metadata["help"]}
            if kinds[field.name] is bool:
                own["action"] = "store_true"
            elif get_origin(kinds[field.name]) is tuple:
                own |= {"nargs": "+", "type": get_args(kinds[field.name])[0], "default": list(own["default"])}
            else:
                own["type"] = kinds[field.name]
            yield flag(field), own


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
    """Tells what went wrong with a video and lets the next one have its turn."""
    try:
        yield
    except KNOWN as error:
        complain(error)
    except Exception:
        print(f"sonomask: {video}: an error that is not foreseen; please report it.", file=sys.stderr)
        traceback.print_exc()


@contextmanager
def bar(video: str) -> Iterator[Callable[[float, float | None], None]]:
    """A progress bar on the terminal, over the seconds of a video; elsewhere a line every 30 s."""
    if not sys.stderr.isatty():
        yield lines(video)
        return
    from tqdm import tqdm

    form = "{desc} {bar} {percentage:3.0f}% {remaining}"
    with tqdm(desc=Path(video).name, leave=False, dynamic_ncols=True, bar_format=form) as shown:

        def tell(done: float, total: float | None) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield tell


def lines(video: str, now: Callable[[], float] = time.monotonic) -> Callable[[float, float | None], None]:
    """A function that tells every 30 s how far a video is."""
    began = last = now()

    def update(done: float, total: float | None) -> None:
        nonlocal last
        if now() - last >= EVERY:
            last = now()
            whole = "" if not total else f" of {total:.0f} s ({min(done / total, 1.0):.0%})"
            print(
                f"sonomask: {video}: {done:.0f}{whole or ' s'} done after {last - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )

    return update


def complain(error: BaseException | str) -> None:
    """One line on standard error."""
    print("sonomask:", " ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
