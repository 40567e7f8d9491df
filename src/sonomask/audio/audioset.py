"""The names of AudioSet's sounds, in the order of the scores of `sonomask.audio.tagger`.

Source: Gemmeke et al., "Audio Set", ICASSP 2017 (the ontology is CC BY 4.0); the choice of 521 is YAMNet's.
"""

from functools import cache
from pathlib import Path

__all__ = ["names"]


@cache
def names() -> tuple[str, ...]:
    """All 521, most general first within a family, as AudioSet spells them."""
    text = Path(__file__).with_name("audioset_names.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
