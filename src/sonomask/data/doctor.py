"""`sonomask doctor`: what is wrong with a tree of AVSBench, per split, and what to do about it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from sonomask.avsbench.palette import palette
from sonomask.data.avsbench import SUBSETS, Item, find, items, semantic_mask
from sonomask.data.sound import patches_of
from sonomask.errors import DatasetError, MediaError
from sonomask.safe_reading.pictures import open_picture

__all__ = ["Diagnosis", "Finding", "examine"]

ADVICE = {
    "missing": "copy it from the download, or leave such clips out with --data.init_args.skip_missing true",
    "misnamed": "rename it as expected",
    "unreadable": "download it again",
    "duplicate row": "delete one of the rows",
    "in two splits": "delete it from all splits but one, or the test figures are too good",
    "same picture": "delete one of the clips; in two splits it makes figures too good",
    "picture size": "no harm: it is resized; the official frames are 224×224",
    "mask size": "make picture and mask of one size: a mask of another aspect shifts",
    "label value": "save masks as black and white, or in the palette's colours",
    "sound": "make the wav again from the raw video (`sonomask prepare`)",
    "split": "use train, val or test",
}
HARMLESS = {"picture size"}


@dataclass(frozen=True)
class Finding:
    """A problem with a data set.

    Attributes:
        kind: A key of `ADVICE`.
        split: Where.
        clip: Name.
        detail: File or values.
    """

    kind: str
    split: str
    clip: str
    detail: str


@dataclass
class Diagnosis:
    """The problems found in one subset.

    Attributes:
        subset: Its name.
        counts: Clips by split.
        whole: Number of complete clips.
        findings: All that is wrong.
    """

    subset: str
    counts: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether no problem is serious."""
        return all(finding.kind in HARMLESS for finding in self.findings)

    def markdown(self, most: int = 5) -> str:
        """A table of counts, then each kind of finding with the first few and what to do."""
        official = SUBSETS[self.subset].counts
        lines = [f"## {self.subset}", "", "| split | clips | whole | official |", "|---|--:|--:|--:|"]
        for split in dict.fromkeys([*official, *self.counts]):
            counts = (self.counts[split], self.whole[split], official.get(split, 0))
            lines += [f"| {split} | {counts[0]} | {counts[1]} | {counts[2]} |"]
        kinds: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            kinds[finding.kind].append(finding)
        for kind, found in kinds.items():
            lines += ["", f"{kind}: {len(found)} — {ADVICE[kind]}"]
            lines += [f"- {f.split}, {f.clip}: {f.detail}" for f in found[:most]]
            lines += [f"- … and {len(found) - most} more"] if len(found) > most else []
        return "\n".join([*lines, "", "healthy" if self.healthy else "NOT healthy"])


def examine(root: str | Path, subsets: Iterable[str] = tuple(SUBSETS), *, deep: bool = True) -> list[Diagnosis]:
    """Check every subset that is there.

    Args:
        root: A folder somewhere above the data.
        subsets: Names of the subsets to check.
        deep: Open each file; else only look whether it is there.

    Raises:
        DatasetError: None of the subsets is there, or a csv is broken.
    """
    found, reasons = [], []
    for subset in subsets:
        try:
            find(root, subset)
        except DatasetError as error:
            reasons.append(str(error))
            continue
        found.append(_examine(subset, items(root, subset), deep=deep))
    if not found:
        raise DatasetError(" ".join(dict.fromkeys(reasons)))
    return found


def _examine(subset: str, rows: list[Item], *, deep: bool) -> Diagnosis:
    result = Diagnosis(subset)
    result.findings += _doubles(rows)
    pictures: dict[str, Item] = {}
    for item in rows:
        result.counts[item.split] += 1
        problems = [("split", item.split)] if item.split not in SUBSETS[subset].counts else []
        gone = item.missing()
        problems += [_gone(path) for path in gone]
        result.whole[item.split] += not gone
        if deep:
            problems += _contents(item)
            problems += _seen_before(item, pictures)
        result.findings += [Finding(kind, item.split, item.name, detail) for kind, detail in problems]
    return result


def _doubles(rows: list[Item]) -> Iterator[Finding]:
    splits: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in rows:
        splits[item.label, item.name].append(item.split)
    for (_, name), where in splits.items():
        if len(set(where)) > 1:
            yield Finding("in two splits", where[0], name, " and ".join(sorted(set(where))))
        elif len(where) > 1:
            yield Finding("duplicate row", where[0], name, f"{len(where)} times in the csv")


def _gone(path: Path) -> tuple[str, str]:
    """Report a file as missing, or as present under another name (letter case, suffix, spaces)."""
    plain = path.stem.casefold().strip()
    if path.parent.is_dir():
        for other in path.parent.iterdir():
            if other.stem.casefold().strip() == plain:
                return "misnamed", f"{other} should be {path.name}"
    return "missing", str(path)


def _contents(item: Item) -> Iterator[tuple[str, str]]:
    for index in range(item.seconds):
        picture, problem = _read(item, item.frame(index))
        if problem:
            yield "unreadable", problem
        if picture is not None and item.subset.name != "avss" and picture.size != (224, 224):
            yield "picture size", f"{item.frame(index)}: {picture.width}×{picture.height}"
        if index >= item.labelled:
            continue
        mask, problem = _read(item, item.mask(index))
        if problem:
            yield "unreadable", problem
        if mask is not None:
            yield from _mask(item, index, mask, picture)
    sound = item.sound()
    try:
        if sound is not None and not len(patches_of(item.within(sound))):
            yield "sound", f"{sound}: shorter than one log-mel patch (0.975 s)"
    except (DatasetError, MediaError) as error:
        yield "sound", str(error)


def _mask(item: Item, index: int, mask: Image.Image, picture: Image.Image | None) -> Iterator[tuple[str, str]]:
    path = item.mask(index)
    if picture is not None and mask.size != picture.size:
        yield "mask size", f"{path}: {mask.width}×{mask.height}, its picture {picture.width}×{picture.height}"
    if item.subset.classes > 1:
        colours = palette(71)[semantic_mask(mask)]
        strange = (colours != np.asarray(mask.convert("RGB"))).any(-1)
        if strange.any():
            yield "label value", f"{path}: {int(strange.sum())} pixels of no class's colour"
        return
    values = set(np.unique(np.asarray(mask)).tolist())
    if not (values <= {0, 255} or values <= {0, 1}):
        yield "label value", f"{path}: values {sorted(values)[:5]}… where 0 and 255 are expected"


def _read(item: Item, path: Path) -> tuple[Image.Image | None, str]:
    if not path.is_file():
        return None, ""  # counted as missing
    try:
        return open_picture(item.within(path)), ""
    except DatasetError as error:
        return None, str(error)


def _seen_before(item: Item, pictures: dict[str, Item]) -> Iterator[tuple[str, str]]:
    """Report if another clip has exactly the same first frame and sound."""
    sound = item.sound()
    if sound is None or not item.frame(0).is_file():
        return
    digest = hashlib.sha256(item.frame(0).read_bytes() + sound.read_bytes()).hexdigest()
    first = pictures.setdefault(digest, item)
    if first is not item and first.name != item.name:
        yield "same picture", f"the same first frame and sound as {first.name} ({first.split})"
