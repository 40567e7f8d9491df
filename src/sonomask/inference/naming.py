"""Names of sounds and things, and selection of masks by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from sonomask.audio.aliases import meant_by
from sonomask.audio.audioset import names as sounds
from sonomask.audio.categories import CATEGORIES, INSTRUMENTS, MUSIC, sound_table
from sonomask.structures import ModelConfig, Names

__all__ = ["SPECK", "allowed", "check_words", "names_of"]

MOST, LEAST = 5, 0.1  # most names listed for a frame, and the least score of a name
SPECK = 0.0005  # share of the picture below which a thing is not listed
FAINT = 0.03  # score below which a thing is not said to make a sound
ANY_MUSIC = 0.13  # score of an instrument in plain music


def names_of(heard: Float32[np.ndarray, " names"], seen: UInt8[np.ndarray, "H W"], things: Sequence[str]) -> Names:
    """The names of a frame.

    Args:
        heard: Score of each of AudioSet's names.
        seen: Thing at each pixel, as an index into `things`.
        things: Names that the model knows.
    """
    order = [i for i in np.argsort(-heard, kind="stable")[:MOST].tolist() if heard[i] >= LEAST]
    table, instruments, music = _tables(tuple(things))
    own = heard * table
    own = np.maximum(own, ANY_MUSIC * np.outer(instruments, heard * music))
    making = [sounds()[i] if row[i] >= FAINT else "" for row, i in zip(own, own.argmax(1).tolist(), strict=True)]
    listed = tuple((sounds()[i], round(float(heard[i]), 4)) for i in order)
    return Names(listed, seen, tuple(things), tuple(making), tuple(own.max(1).tolist()))


def allowed(names: Names, only: Collection[str], without: Collection[str]) -> Bool[np.ndarray, "H W"]:
    """Pixels whose thing, or the sound that it makes, has a requested name.

    Args:
        names: Names of a frame.
        only: Words for what is wanted; everything if there is none.
        without: Words for what is not.
    """
    wanted = np.ones(len(names.things), bool)
    if only:
        wanted = _named(names, only)
    if without:
        wanted = wanted & ~_named(names, without)
    return wanted[names.seen]


def _named(names: Names, words: Collection[str]) -> Bool[np.ndarray, " things"]:
    found = np.zeros(len(names.things), bool)
    for word in words:
        thing = _plain(word) in map(_plain, names.things)
        for i, (name, sound) in enumerate(zip(names.things, names.sounds, strict=True)):
            found[i] |= _plain(word) == _plain(name) if thing else sound in _meant(word)
    return found


def check_words(words: Sequence[str], config: ModelConfig) -> None:
    """Make sure that a model knows these names.

    Raises:
        ValueError: It knows no names, or not that one; names of like meaning or spelling are listed.
    """
    if not words:
        return
    if not config.things:
        raise ValueError(
            f"`only`, `not`: the model {config.name} knows no names. Leave them out, or use a built-in one."
        )
    known = [*map(_plain, config.things), *map(str.lower, sounds())]
    parts = [part for name in sounds() for part in _parts(name)]
    for word in words:
        if _plain(word) not in known and not _meant(word):
            meant = [_plain(name) for name in meant_by(word) if name in config.things]
            alike = get_close_matches(_plain(word), [*known, *parts], n=5, cutoff=0.75 if meant else 0.5)
            near = dict.fromkeys([*meant, *alike])
            suggestion = (
                f" Near ones: {', '.join(near)}." if near else f" It knows {', '.join(map(_plain, config.things))}."
            )
            raise ValueError(f"{word!r}: neither a thing nor a sound that the model {config.name} knows.{suggestion}")


@lru_cache(maxsize=1024)  # words come from strangers
def _meant(word: str) -> frozenset[str]:
    """AudioSet's names that contain a word: "speech" also stands for child speech."""
    pattern = re.compile(rf"\b{re.escape(_plain(word))}\b")
    return frozenset(name for name in sounds() if pattern.search(name.lower()))


def _parts(name: str) -> list[str]:
    return [part.strip().lower() for part in name.split(",")]


def _plain(word: str) -> str:
    return word.strip().lower().replace("_", " ")


@cache
def _tables(
    things: tuple[str, ...],
) -> tuple[Float32[np.ndarray, "things names"], Bool[np.ndarray, " things"], Bool[np.ndarray, " names"]]:
    """The sounds that each thing makes, the things that are instruments, and the sounds that are music."""
    rows = dict(zip(CATEGORIES, sound_table(sounds()), strict=True))
    nothing = [0.0] * len(sounds())
    table = np.array([rows.get(thing, nothing) for thing in things], np.float32)
    return table, np.array([t in INSTRUMENTS for t in things]), np.array([name in MUSIC for name in sounds()])
