"""A verb's signature becomes a parser: its parameters are the options, their annotations the help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from inspect import Parameter, getdoc, signature
from shutil import get_terminal_size
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from sonomask.cli.shared import request_options
from sonomask.media.suffixes import looks_like_a_video
from sonomask.request import Request

__all__ = ["Parser", "parse", "parser_of", "suggestion"]


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one line that names the command's help."""

    def error(self, message: str) -> NoReturn:
        """End with a message.

        Raises:
            ValueError: Always.
        """
        message = re.sub(r"^argument ([-\w]+): ", r"`\1`: ", message)
        raise ValueError(
            f"{message}{'' if message.endswith(('?', '.')) else '.'} `{self.prog} --help` lists the options."
        )


def parser_of(name: str, verb: Callable[..., int], epilog: str = "") -> Parser:
    """Build the parser of a command: a positional argument for each parameter without a default, a flag for each bool.

    A parameter without a default that can be given by name only is an option that must be there. A `Request` becomes an
    option for each of the fields that its annotation names.
    """
    about, _, rest = (getdoc(verb) or "").partition("\n\n")
    text = "\n\n".join(part for part in (rest, epilog) if part)
    parser = Parser(prog=f"sonomask {name}", description=about, epilog=text, allow_abbrev=False, formatter_class=_Help)
    parser._positionals.title = "arguments"
    hints = get_type_hints(verb, include_extras=True)
    for own, parameter in signature(verb).parameters.items():
        kind, about = get_args(hints[own])
        if kind is Request:
            group = parser.add_argument_group("what is marked")
            for field, its in request_options(parameter.default, about):
                _add(group, field, its.pop("kind"), its)
            continue
        required = parameter.default is Parameter.empty
        options: dict[str, Any] = {"help": about} if required else {"help": about, "default": parameter.default}
        if required and parameter.kind is Parameter.KEYWORD_ONLY:
            options["required"] = True
        _add(parser, own, kind, options, positional=required and parameter.kind is not Parameter.KEYWORD_ONLY)
    parser.add_argument("-q", "--quiet", action="store_true", help="print results and errors only")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="tell which model and engine run, and for how long"
    )
    return parser


def parse(parser: Parser, words: Sequence[str]) -> dict[str, Any]:
    """The values of a command line, which may mix options and other words in any order.

    Raises:
        ValueError: A word is unknown, missing or no value of its option; the message names similar ones.
    """
    found = vars(parser.parse_args(_arranged(parser, list(words))))
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def suggestion(word: str, known: Iterable[str]) -> str:
    """A "did you mean" suggestion, preceded by a space; "" if no known word is similar."""
    bare = {name.lstrip("-"): name for name in known}  # dashes, which all options share, are no likeness
    near = [bare[name] for name in get_close_matches(word.lower().lstrip("-"), bare, n=2, cutoff=0.6)]
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _add(
    parser: argparse._ActionsContainer, name: str, kind: Any, options: dict[str, Any], *, positional: bool = False
) -> None:
    word = name.replace("_", "-")
    names = [name] if positional else [f"--{word}"]
    options = {**options, "help": str(options["help"]).replace("%", "%%")}
    if kind is bool:
        parser.add_argument(*names, action="store_true", help=options["help"])
        return
    metavar = options.pop("metavar", None) or word.split("-")[-1].upper()
    if _several(kind):
        kind = get_args(kind)[0]
        options |= {"nargs": "+"}
        if "default" in options:
            options["default"] = tuple(options["default"])
    choices = _choices(kind)
    plain = choices and not _numbers(kind)
    options["metavar"] = "|".join(choices) if plain and len(choices) <= 4 and not positional else metavar
    action = parser.add_argument(*names, type=_reader(kind), **options)
    action.values = choices if plain else []  # type: ignore[attr-defined] # `choices` would be checked with less advice


def _several(kind: Any) -> bool:
    return get_origin(kind) in (Sequence, tuple) or getattr(get_origin(kind), "__name__", "") == "Sequence"


def _members(kind: Any) -> list[Any]:
    return list(get_args(kind)) if get_origin(kind) in (Union, UnionType) else [kind]


def _choices(kind: Any) -> list[str]:
    return [str(word) for member in _members(kind) if get_origin(member) is Literal for word in get_args(member)]


def _numbers(kind: Any) -> list[type]:
    return [member for member in _members(kind) if member in (int, float)]


def _reader(kind: Any) -> Callable[[str], Any]:
    """A function from a word to a value of that type."""
    choices, numbers = _choices(kind), _numbers(kind)
    text = any(member is str for member in _members(kind))
    expected = ["a whole number" if int in numbers else "a number"] * bool(numbers) + choices
    known = set(_members(kind)) <= {int, float, str, NoneType} | {m for m in _members(kind) if get_origin(m) is Literal}
    if not known:
        raise TypeError(f"no option can have the type {kind}")

    def read(word: str) -> Any:
        if word in choices:
            return word
        for number in numbers:
            try:
                return number(word)
            except ValueError:
                continue
        if text:
            return word
        wanted = expected[0] if len(expected) == 1 else f"{', '.join(expected[:-1])} or {expected[-1]}"
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {word!r}.{suggestion(word, choices)}")

    return read


def _arranged(parser: Parser, words: list[str]) -> list[str]:
    """The words with the positional ones last, behind `--`.

    An option that takes several values ends at a word that is none of its choices, and leaves the positional words that are
    still missing to the end of the line: `--models a b talk.mp4` gives two models and a video.
    """
    options = {name: action for action in parser._actions for name in action.option_strings}
    given: list[str] = []
    free: list[str] = []
    values: list[str] = []  # of the option that ends the line, if it takes several
    while words:
        word = words.pop(0)
        if word == "--":
            free, values, words = free + words, [], []
        elif not word.startswith("-") or word == "-":
            free.append(word)
            values = []
        else:
            name, equals, value = word.partition("=")
            action = options.get(name := name.replace("_", "-"))
            if action is None:
                raise ValueError(
                    f"`{parser.prog}` has no option {name}.{suggestion(name, options)} `{parser.prog} --help` lists them."
                )
            if isinstance(action, argparse._HelpAction):
                return [name]
            values = [] if equals or action.nargs == 0 else _values(action, words)
            given += [name + equals + value, *values]
    places = _places(parser)
    for place in places[len(free) :] if len(values) > 1 else ():
        kept = _as_free(values, len(places) - len(free), several=place.nargs == "+")
        free, given, values = free + kept, given[: len(given) - len(kept)], values[: len(values) - len(kept)]
    if len(places) > len(free):
        raise ValueError(_lacks(parser, places[len(free)]))
    return [*given, "--", *free] if places else [*given, *free]


def _places(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The positional words that a parser takes."""
    return [action for action in parser._actions if not action.option_strings]


def _values(action: argparse.Action, words: list[str]) -> list[str]:
    """Take the values of an option from the front of the line: one, or as many as seem to belong to it."""
    if action.nargs != "+":
        return [words.pop(0)] if words else []
    values: list[str] = []
    choices: list[str] = getattr(action, "values", [])
    while words and not (re.match(r"-[^\d.]", words[0]) or words[0] == "--"):
        near = words[0] in choices or (suggestion(words[0], choices) and not looks_like_a_video(words[0]))
        if choices and values and not near:
            break
        values.append(words.pop(0))
    return values


def _as_free(values: list[str], missing: int, *, several: bool) -> list[str]:
    """The trailing values of an option that are needed as positional arguments."""
    count = missing
    while several and count < len(values) - 1 and looks_like_a_video(values[-count - 1]):
        count += 1
    return values[-count:]


def _lacks(parser: Parser, place: argparse.Action) -> str:
    about = str(place.help).replace("%%", "%")
    return f"`{parser.prog}` needs {place.metavar!s} ({about}). `{parser.prog} --help` shows how."


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help with defaults where there are some, and one name for the values of an option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(get_terminal_size().columns, 110))

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if default in (None, False, argparse.SUPPRESS, (), ""):
            return action.help
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        return f"{action.help} (default: {shown})".replace("%%", "%").replace("%", "%%")

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs == "+":
            return f"{self._metavar_formatter(action, default_metavar)(1)[0]} ..."
        return super()._format_args(action, default_metavar)
