"""Things by their words: what finds them in pictures, whatever network that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

__all__ = ["PHRASES", "WINDOW", "Carried", "Concepts", "Ears", "Fitting", "Found", "Tracked", "Tracks", "phrase"]

PHRASES = {
    "other_animal": "animal", "big_cat": "lion", "object": "machine", "violin": "violin or cello", "tuba": "horn",
    "hand_drum": "drum", "harp": "harp or zither",
}  # fmt: skip
"""What some of the built-in names are called before a network that takes free words; the others as they are."""


WINDOW = 16  # pictures in which things are followed at once, at most


class Found(NamedTuple):
    """A thing in a picture.

    Attributes:
        word: Place of its word among those that were asked for.
        score: 0 to 1.
        mask: Its pixels.
    """

    word: int
    score: float
    mask: Bool[np.ndarray, "H W"]


@runtime_checkable
class Concepts(Protocol):
    """Interface of networks that find things by free words.

    Attributes:
        name: Name of the network or networks, for manifests.
        device: Device that it runs on.
    """

    name: str
    device: str

    def __call__(self, picture: UInt8[np.ndarray, "H W 3"], words: Sequence[str]) -> list[Found]:
        """The things of a picture that some of the words mean.

        Raises:
            MemoryError: The device has too little memory.
        """
        ...

    def to(self, device: str) -> Concepts:
        """The same on another device.

        Raises:
            ValueError: There is no such device here.
        """
        ...


class Tracked(NamedTuple):
    """A thing in one picture of several.

    Attributes:
        id: The same in all pictures.
        word: Word by which it was found.
        score: That of the find, 0 to 1.
        mask: Its pixels.
    """

    id: int
    word: str
    score: float
    mask: Bool[np.ndarray, "H W"]


class Carried(NamedTuple):
    """The state from which following continues.

    Attributes:
        picture: The last one; None at the start.
        things: Things that were followed in it.
        next_id: Id of the next new thing.
    """

    picture: UInt8[np.ndarray, "H W 3"] | None
    things: tuple[Tracked, ...]
    next_id: int


class Tracks(Protocol):
    """Interface of networks that find things by free words and track them.

    Attributes:
        name: Of the networks, for manifests.
        device: Where it runs.
    """

    name: str
    device: str

    def follow(
        self, pictures: UInt8[np.ndarray, "T H W 3"], words: Sequence[str], before: Carried | None = None
    ) -> tuple[list[list[Tracked]], Carried]:
        """The things of each picture, and what the next pictures need to go on from these.

        Raises:
            MemoryError: The device has too little memory.
        """
        ...

    def to(self, device: str) -> Tracks:
        """The same on another device."""
        ...


class Ears(Protocol):
    """Interface of networks that hear free words.

    Attributes:
        name: Of the network, for manifests.
    """

    name: str

    def __call__(self, sound: Float32[np.ndarray, " S"], words: Sequence[str]) -> Float32[np.ndarray, "W F"]:
        """How surely each word is heard in each 40 ms of sound at 16 kHz, 0 to 1.

        Raises:
            MemoryError: The device has too little memory.
        """
        ...

    def to(self, device: str) -> Ears:
        """The same on another device."""
        ...


class Fitting(Protocol):
    """Interface of networks that tell what of several things fits a sound.

    Attributes:
        name: Of the network, for manifests.
    """

    name: str

    def __call__(
        self, crops: Sequence[UInt8[np.ndarray, "T _h _w 3"]], sound: Float32[np.ndarray, " S"]
    ) -> Float32[np.ndarray, " N"]:
        """How well each cut-out of the same moments fits the sound at 16 kHz; only differences mean anything.

        Raises:
            MemoryError: The device has too little memory.
        """
        ...

    def to(self, device: str) -> Fitting:
        """The same on another device."""
        ...


def phrase(thing: str) -> str:
    """A built-in name in words."""
    return PHRASES.get(thing, thing.replace("_", " "))
