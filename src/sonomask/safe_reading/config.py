"""Checks of what a stranger may have written into a model's `config.json`: plain, bounded values that name nothing on disk.

Every value reaches a network's constructor, and some reach timm's, which would take addresses and files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["FORBIDDEN", "check_config", "check_options", "check_source"]

FORBIDDEN = {  # arguments by which timm would fetch or read weights, and words by which configs name classes
    "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "checkpoint_path", "cache_dir",
    "class_path", "init_args", "_target_", "__class__", "weights", "weights_backbone",
}  # fmt: skip
NETWORK = re.compile(r"[A-Za-z0-9_.\-]{1,100}")
WORD = re.compile(r"[^/\\:\x00-\x1f]{0,200}")
LARGEST, LONGEST, DEEPEST = 2048, 256, 4
RANGES: dict[str, tuple[float, float]] = {  # of numbers and of each number of a list
    "image_size": (8, 4096), "clip_length": (1, 600), "mean": (-1000, 1000), "std": (1e-6, 1000), "threshold": (0, 1),
    "presence": (-1e6, 1e6), "fold": (1, 600),
}  # fmt: skip
LENGTHS = {"image_size": 2, "mean": 3, "std": 3, "presence": 2}
TEXTS = {"about": 100_000, "name": 100, "protocol": 100, "pairing": 100}
FLAGS = {"listens", "dense"}


def check_config(values: Mapping[str, Any]) -> None:
    """Check the content of a `config.json`.

    Raises:
        ValueError: A value has another type than it must have, or is out of all bounds.
    """
    for key, value in values.items():
        if key == "options":
            check_options(value)
        elif key in TEXTS:
            _expect(isinstance(value, str) and len(value) <= TEXTS[key], key, value, "a text")
        elif key in FLAGS:
            _expect(isinstance(value, bool), key, value, "true or false")
        elif key == "classes":
            names = isinstance(value, list | tuple) and len(value) <= 10_000
            _expect(names and all(isinstance(v, str) and len(v) <= 200 for v in value), key, value, "names")
        elif key in RANGES and value is not None:
            _numbers(key, value)
        else:
            _plain(value, key, 0)


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


def _numbers(key: str, value: Any) -> None:
    several = isinstance(value, list | tuple)
    numbers = list(value) if several else [value]
    low, high = RANGES[key]
    fine = all(isinstance(n, int | float) and not isinstance(n, bool) and low <= n <= high for n in numbers)
    fine &= several == (key in LENGTHS) and len(numbers) == LENGTHS.get(key, 1)
    if key in ("image_size", "clip_length", "fold"):
        fine &= all(isinstance(n, int) for n in numbers)
    _expect(fine, key, value, f"{LENGTHS.get(key, 1)} of {low:g} to {high:g}")


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
