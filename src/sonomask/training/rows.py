"""Recipe files with many rows: a base, named parts, and for each row the parts that make it.

    base: {…}                                # what all rows share
    parts: {s4: {…}, resnet50: {…}}          # small overrides
    rows:
      s4_resnet50: [s4, resnet50, {…}]       # parts (or other rows) by name, and overrides of its own, in order

`FILE:ROW` names one of them wherever a recipe is asked for.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["config_of", "names", "resolve", "split"]


def split(word: str) -> tuple[Path, str | None]:
    """File and row of `FILE` or `FILE:ROW`."""
    match = re.fullmatch(r"(.+\.ya?ml):([\w.-]+)", word)
    return (Path(match[1]), match[2]) if match else (Path(word), None)


def config_of(word: str) -> str:
    """Resolve a recipe word for LightningCLI's `--config`: the file, or the values of its row as YAML.

    Raises:
        ValueError: There is no such file or row, or the file has rows and none was named.
    """
    file, row = split(word)
    if row is not None:
        return yaml.safe_dump(resolve(file, row), sort_keys=False)
    if rows := names(file):
        raise ValueError(f"{file}: expected one of its rows, as {file}:{rows[0]}. It has {', '.join(rows)}.")
    return str(file)


def names(file: Path) -> list[str]:
    """The rows of a recipe file, in order; none for a recipe without rows."""
    content = _read(file)
    return list(content["rows"]) if "rows" in content else []


def resolve(file: Path, row: str) -> dict[str, Any]:
    """The recipe of a row: its base with the row's parts laid over it, in order.

    Raises:
        ValueError: The file has no such row, or the row names a part that isn't there.
    """
    content = _read(file)
    rows = content.get("rows", {})
    if row not in rows:
        near = difflib.get_close_matches(row, rows, n=3, cutoff=0.4)
        hint = f"Did you mean {', '.join(near)}?" if near else f"It has {', '.join(rows) or 'no rows'}."
        raise ValueError(f"{file}: expected the name of a row, got {row!r}. {hint}")
    recipe = copy.deepcopy(content.get("base", {}))
    for part in _flat(file, content, row, depth=0):
        recipe = _merged(recipe, part)
    return recipe


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{file}: no such recipe. `recipes/` has those of the project.") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: not a recipe in YAML ({' '.join(str(error).split())[:200]}).") from error
    if not isinstance(content, dict):
        raise ValueError(  # noqa: TRY004 - the content of a file is wrong, not an argument's type
            f"{file}: expected a recipe, a table of options in YAML, got {type(content).__name__}."
        )
    return content


def _flat(file: Path, content: Mapping[str, Any], row: str, depth: int) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for part in content["rows"][row]:
        if isinstance(part, Mapping):
            found.append(part)
        elif part in content.get("parts", {}):
            found.append(content["parts"][part])
        elif part in content["rows"] and depth < 5:
            found += _flat(file, content, part, depth + 1)
        else:
            raise ValueError(f"{file}: row {row} names {part!r}, which is neither a part nor another row.")
    return found


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        inner = result.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(inner, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return result
