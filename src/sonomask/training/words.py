"""The words of `sonomask train` and `sonomask evaluate`: a parser whose errors are one line without its own vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

__all__ = ["RecipeParser", "in_one_line"]

SUBCOMMAND = "fit."  # LightningCLI's name of what we call `train`
MOST = 400  # letters


class RecipeParser(LightningArgumentParser):
    """Lightning's parser with the error messages of our command line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with a message.

        Raises:
            ValueError: Always.
        """
        raise ValueError(in_one_line(message, self.prog.partition(" [")[0], self._options())) from ex

    def _options(self) -> list[str]:
        found = [name for action in self._actions for name in action.option_strings]
        subcommands = vars(self).get("_subcommands_action")
        for parser in () if subcommands is None else subcommands._name_parser_map.values():
            found += [name for action in parser._actions for name in action.option_strings]
        return found


def in_one_line(message: str, command: str, options: Iterable[str] = ()) -> str:
    """A parser's message in plain words.

    Args:
        message: Message as jsonargparse gives it: names of keys, types of Python, several lines.
        command: Command in messages, such as "sonomask train".
        options: The options that there are, for "did you mean".
    """
    text = message.replace(SUBCOMMAND, "")
    if found := re.search(r"[Uu]nrecognized arguments: (\S+)", text):
        word = found[1].partition("=")[0]
        near = get_close_matches(word, list(options), n=2)
        advice = f"Did you mean {' or '.join(near)}?" if near else f"`{command} --help` lists them."
        return f"`{command}` has no option {word}. {advice}"
    if found := re.search(r"arguments are required: (.+)", text):
        missing = ", ".join(f"--{name.strip().removeprefix('--')}" for name in found[1].split(","))
        recipe = " or a recipe that gives it, such as recipes/avs.yaml:s4_resnet50_tpavi" * (
            command == "sonomask train"
        )
        return f"`{command}` needs {missing}{recipe}. `{command} --help` lists the options."
    text = re.sub(r" or NoneType\b", "", text)
    key = re.search(r'(?:Parser key|Key) "([\w.]+)"', text)
    value = re.findall(r"(?:Got|Given) value: (.+)", text)
    kinds = list(dict.fromkeys(re.findall(r"[Ee]xpected (?:a|an) (.+?)(?:\. Got|\n|$)", text)))
    if key and value and kinds:
        wanted = [_kind(kind) for kind in kinds if kind != "NoneType"]
        wanted = (
            ["the short name or the path of a class"] if any("dot import path" in kind for kind in kinds) else wanted
        )
        return f"`--{key[1]}`: expected {' or '.join(wanted)}, got {value[0].strip()}."
    text = re.sub(r"^argument (--[\w.]+): ", r"`\1`: ", text)
    text = re.sub(r'Parser key "([\w.]+)":?', r"`--\1`:", text)
    return " ".join(text.split())[:MOST]


def _kind(text: str) -> str:
    """A type as Python prints it, in words."""
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    text = re.sub(r"(?:typing\.)?Literal\[(.+)\]", lambda found: found[1].replace("'", ""), text)
    return {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}.get(text, text)
