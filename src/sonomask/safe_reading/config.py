"""Checks of a model's `config.json` from a stranger: plain, bounded values that name nothing on disk.

Every value reaches a network's constructor, and some reach timm's, which would take addresses and files. Folders of
safetensors and of ONNX are read by the same `read_config`, which has one rule for each field of `ModelConfig`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from sonomask.errors import WeightsError
from sonomask.structures import ModelConfig, Pairing

__all__ = [
    "FORBIDDEN",
    "FORMAT",
    "RULES",
    "check_config",
    "check_options",
    "check_source",
    "format_config",
    "parse_config",
    "read_config",
    "write_config",
]

FORMAT = 2  # of the files that are written; 1, in which COMBO's maskige was called regions, is read too
LARGEST_CONFIG = 2**20  # bytes

FORBIDDEN = {  # arguments by which timm would fetch or read weights, and words by which configs name classes
    "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "checkpoint_path", "cache_dir",
    "class_path", "init_args", "_target_", "__class__", "weights", "weights_backbone",
}  # fmt: skip
NETWORK = re.compile(r"[A-Za-z0-9_.\-]{1,100}")
WORD = re.compile(r"[^/\\:\x00-\x1f]{0,200}")
LARGEST, LONGEST, DEEPEST = 2048, 256, 4


def read_config(path: Path) -> ModelConfig:
    """The config of a model folder, of safetensors or ONNX.

    Raises:
        WeightsError: The file can't be read, is of a format that is not known, or breaks a rule.
    """
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise WeightsError(f"{path}: expected at most {LARGEST_CONFIG} bytes, the file is larger.")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a model's configuration ({error}).") from error
    return parse_config(text, source=str(path))


def parse_config(text: str, *, source: str) -> ModelConfig:
    """The config that `format_config` wrote.

    Args:
        text: JSON.
        source: Named in errors.

    Raises:
        WeightsError: The text is of a format that is not known, or breaks a rule.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise WeightsError(f"{source}: expected a table of settings, got a {type(values).__name__}.")
        version = values.pop("format", None)
        if version not in (1, FORMAT) or isinstance(version, bool):
            raise WeightsError(
                f"{source}: expected format 1 to {FORMAT}, got {version!r}. Use a sonomask that knows it."
            )
        values.pop("export", None)  # what `export` measured, for readers
        if version == 1:
            values = _from_format_1(values)
        check_config(values)
        return ModelConfig.from_dict(values)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{source}: not a model's configuration ({error}).") from error


def format_config(config: ModelConfig, **more: Mapping[str, Any]) -> str:
    """The JSON that `parse_config` reads; `more` are further tables, for people."""
    return json.dumps({"format": FORMAT, **config.to_dict(), **more}, indent=2, ensure_ascii=False)


def write_config(path: Path, config: ModelConfig, **more: Mapping[str, Any]) -> None:
    """Write what `read_config` reads.

    Args:
        path: The file.
        config: Values to write.
        more: Further tables, for people; `export` is one.
    """
    path.write_text(format_config(config, **more) + "\n", encoding="utf-8")


def _from_format_1(values: dict[str, Any]) -> dict[str, Any]:
    """Format 1 did not store the number of classes, and called the maskige regions."""
    options = values.get("options", {})
    options = dict(options) if isinstance(options, Mapping) else options
    for table in (values, options):
        if isinstance(table, dict) and "regions" in table:
            table["maskige"] = table.pop("regions")
    classes = 71 if str(values.get("name")).startswith("avss_") else 1
    if isinstance(options, dict):
        classes = options.get("num_classes", classes)
    return {**values, "options": options, "num_classes": classes}


def check_config(values: Mapping[str, Any]) -> None:
    """Check the content of a `config.json`, each field by its rule in `RULES`.

    Raises:
        ValueError: A field is unknown, or its value has another type than it must have or is out of bounds.
    """
    unknown = sorted(map(str, set(values) - set(RULES)))
    _expect(not unknown, "config", ", ".join(unknown), f"fields among {', '.join(RULES)}")
    for key, value in values.items():
        expected, holds = RULES[key]
        if key == "options":
            check_options(value)
        _expect(holds(value), key, value, expected)


def check_options(options: Any) -> None:
    """Check the arguments of a network.

    Raises:
        ValueError: One is no plain and bounded value, or names a file, an address or a class.
    """
    _expect(isinstance(options, Mapping), "options", options, "a table")
    _plain(options, "options", 0)


def check_source(name: str) -> None:
    """Check the name of one of timm's networks.

    Raises:
        ValueError: It would be fetched from somewhere.
    """
    _expect(bool(NETWORK.fullmatch(name)) and ".." not in name, "backbone", name, "the plain name of a network of timm")


def _is_number(value: Any, low: float, high: float, *, whole: bool = False) -> bool:
    kinds: Any = int if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high


def _number(low: float, high: float, *, whole: bool = False) -> tuple[str, Callable[[Any], bool]]:
    """The rule of a number (NaN is in no range)."""
    expected = f"{'an integer' if whole else 'a number'} from {low:g} to {high:g}"
    return expected, lambda value: _is_number(value, low, high, whole=whole)


def _numbers(
    count: int, low: float, high: float, *, whole: bool = False, null: bool = False
) -> tuple[str, Callable[[Any], bool]]:
    """The rule of a list of so many numbers, or null."""

    def holds(value: Any) -> bool:
        if value is None:
            return null
        several = isinstance(value, list | tuple) and len(value) == count
        return several and all(_is_number(v, low, high, whole=whole) for v in value)

    kind = "integers" if whole else "numbers"
    return f"{count} {kind} from {low:g} to {high:g}{', or null' if null else ''}", holds


def _text(longest: int, pattern: re.Pattern[str] | None = None) -> tuple[str, Callable[[Any], bool]]:
    def holds(value: Any) -> bool:
        return isinstance(value, str) and len(value) <= longest and (pattern is None or bool(pattern.fullmatch(value)))

    return f"a {'plain name' if pattern else 'text'} of at most {longest} characters", holds


def _names(value: Any) -> bool:
    several = isinstance(value, list | tuple) and len(value) <= MOST_CLASSES
    return several and all(isinstance(v, str) and len(v) <= 200 for v in value)


MOST_CLASSES = 256  # a mask of classes is stored in bytes
FLAG = ("true or false", lambda value: isinstance(value, bool))
RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": _text(100, NETWORK),
    "options": ("a table", lambda value: isinstance(value, Mapping)),  # its content: `check_options`
    "image_size": _numbers(2, 8, 4096, whole=True),
    "score_size": _numbers(2, 8, 4096, whole=True, null=True),
    "sizing": ("exact or inside", lambda value: value in ("exact", "inside")),
    "mean": _numbers(3, -1000, 1000),
    "std": _numbers(3, 1e-6, 1000),
    "clip_length": _number(1, 600, whole=True),
    "pairing": (f"one of {', '.join(get_args(Pairing))}", lambda value: value in get_args(Pairing)),
    "threshold": _number(0, 1),
    "protocol": _text(100, NETWORK),
    "num_classes": _number(1, MOST_CLASSES, whole=True),
    "classes": (f"at most {MOST_CLASSES} names", _names),
    "things": (f"at most {MOST_CLASSES} names", _names),
    "listens": FLAG,
    "dense": FLAG,
    "recurrent": FLAG,
    "patches": _number(1, 16, whole=True),
    "maskige": FLAG,
    "presence": _numbers(2, -1e6, 1e6, null=True),
    "licence": _text(1000),
    "about": _text(100_000),
}
"""What each field of `ModelConfig` may be: in words, and as a check. Null is allowed only where the words say so."""


def _plain(value: Any, key: str, depth: int) -> None:
    if isinstance(value, Mapping):
        _expect(depth < DEEPEST and len(value) <= LONGEST, key, value, "a small table")
        for name, inner in value.items():
            allowed = isinstance(name, str) and name not in FORBIDDEN and WORD.fullmatch(name)
            _expect(bool(allowed), key, name, "a name of an argument that takes neither files nor classes")
            _plain(inner, f"{key}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        _expect(depth < DEEPEST and len(value) <= LONGEST, key, value, "a short list")
        for inner in value:
            _plain(inner, key, depth + 1)
    elif isinstance(value, str):
        _expect(bool(WORD.fullmatch(value)) and ".." not in value, key, value, "a word; it may name no file or address")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _expect(math.isfinite(value) and abs(value) <= LARGEST, key, value, f"a number up to {LARGEST}")
    else:
        _expect(value is None or isinstance(value, bool), key, value, "a plain value")


def _expect(fine: bool, key: str, value: Any, what: str) -> None:
    if not fine:
        raise ValueError(f"`{key}`: expected {what}, got {str(value)[:80]!r}.")
