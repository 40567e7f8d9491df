"""Measure the delay of masks after the onset and the end of a sound."""

from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True)
class Delays:
    """Changes of the truth over time, and how the masks followed.

    Attributes:
        seconds: Delay of each change that was followed, 0 or more.
        missed: Changes that were not followed before the next one (or the end).
        standing: Changes to a state in which the mask was already.
    """

    seconds: tuple[float, ...] = ()
    missed: int = 0
    standing: int = 0

    def __add__(self, other: "Delays") -> "Delays":
        return Delays(self.seconds + other.seconds, self.missed + other.missed, self.standing + other.standing)


def delays(found: Bool[Tensor, " T"], truth: Bool[Tensor, " T"], *, onset: bool, step: float = 1.0) -> Delays:
    """Delays of one clip.

    Args:
        found: Whether anything is marked, frame by frame.
        truth: Whether anything should be.
        onset: Changes to "sounds" if true, to "silent" if not.
        step: Seconds between frames.
    """
    mine, theirs = [bool(x) == onset for x in found], [bool(x) == onset for x in truth]
    total = Delays()
    for i in range(1, len(theirs)):
        if not theirs[i] or theirs[i - 1]:
            continue
        end = next((j for j in range(i, len(theirs)) if not theirs[j]), len(theirs))
        reached = next((j for j in range(i, end) if mine[j]), None)
        if reached is None:
            total += Delays(missed=1)
        elif mine[i - 1]:
            total += Delays(standing=1)
        else:
            total += Delays(((reached - i) * step,))
    return total
