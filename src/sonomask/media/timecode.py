"""Timecodes of SMPTE ST 12, by which editors address frames."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["has_timecodes", "shifted"]

RATES = (24, 25, 30, 48, 50, 60)  # frames per second, or 1000/1001 of it


def has_timecodes(rate: Fraction) -> bool:
    """Whether timecodes exist for that frame rate."""
    return any(
        abs(rate / (base * slower) - 1) < 1e-4 for base in RATES for slower in (Fraction(1), Fraction(1000, 1001))
    )


def shifted(timecode: str, seconds: float, rate: Fraction) -> str:
    """The timecode of the frame so many seconds later; "" for a text that is none.

    Drop-frame timecodes (with ";"), which skip numbers to stay in step with the clock, remain drop-frame.

    Args:
        timecode: Timecode of the first frame, such as "01:00:00:00".
        seconds: Seconds from there on, 0 or more.
        rate: Frames per second.
    """
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)", timecode)
    if found is None:
        return ""
    hours, minutes, whole, frames = (int(found[i]) for i in (1, 2, 3, 5))
    base, dropping = max(1, round(rate)), found[4] != ":"
    drop = round(base / 15) if dropping else 0  # numbers left out at the beginning of a minute, but for each tenth
    total = 60 * hours + minutes
    number = base * (60 * total + whole) + frames - drop * (total - total // 10)
    number = (number + round(seconds * rate)) % (base * 86_400 - drop * (1440 - 144))
    if drop:
        tens, rest = divmod(number, base * 600 - 9 * drop)
        number += 9 * drop * tens + drop * max(0, (rest - drop) // (base * 60 - drop))
    hours, rest = divmod(number, base * 3600)
    minutes, rest = divmod(rest, base * 60)
    whole, frames = divmod(rest, base)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{found[4]}{frames:02d}"
