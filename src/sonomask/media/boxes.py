"""Read what FFmpeg does not report about a container: the crop of its pictures, and whether another file follows.

Only heads are read, some bytes of each, and nothing that a file claims is believed beyond its own size.

Sources: RFC 8794 and RFC 9559 (EBML, Matroska), ISO/IEC 14496-12 (boxes, `clap`), Microsoft's RIFF (AVI).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

__all__ = ["Crop", "crop_of", "is_followed"]

MOST = 2000  # elements of a file that are looked at
EBML, SEGMENT, TRACKS, CLUSTER, ENTRY, KIND, VIDEO = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0x1F43B675, 0xAE, 0x83, 0xE0
PICTURES = 1  # the kind of a track of pictures
CROPPED = {0x54CC: "left", 0x54BB: "top", 0x54DD: "right", 0x54AA: "bottom"}
ON_THE_WAY = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
HEAD_OF_ENTRY = 86  # bytes of a picture's sample entry before its boxes


@dataclass(frozen=True)
class Crop:
    """Columns and rows of a stored picture that are not shown."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def size(self, height: int, width: int) -> tuple[int, int] | None:
        """Height and width of what is shown; None where nothing is cut away, or nothing would be left."""
        rows, columns = height - self.top - self.bottom, width - self.left - self.right
        return None if (rows, columns) == (height, width) or rows < 2 or columns < 2 else (rows, columns)


def crop_of(path: str | Path, place: int) -> Crop:
    """Read the crop of a track's pictures from the container; no crop if it has none.

    Args:
        path: A file.
        place: Number of the track of pictures, from 0.
    """
    try:
        with Path(path).open("rb") as file:
            begin = file.read(8)
            if begin[:4] == EBML.to_bytes(4, "big"):
                return _of_matroska(file, place)
            return (
                _of_boxes(file, place)
                if begin[4:] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
                else Crop()
            )
    except (OSError, ValueError, struct.error, ZeroDivisionError, OverflowError):
        return Crop()


def is_followed(path: str | Path) -> bool:
    """Whether a Matroska or AVI file is followed by another one, as after joining with `cat`."""
    try:
        with Path(path).open("rb") as file:
            begin = file.read(12)
            if begin[:4] == b"RIFF" and begin[8:] == b"AVI ":
                return _riff_is_followed(file)
            if begin[:4] != EBML.to_bytes(4, "big"):
                return False
            for name, start, size in _elements(file, 0, None):
                if name == SEGMENT:
                    file.seek(start + size if size is not None else 0)
                    return size is not None and file.read(4) == begin[:4]
    except (OSError, ValueError, struct.error, OverflowError):
        pass
    return False


def _riff_is_followed(file: IO[bytes]) -> bool:
    """Parts of one large AVI file are called AVIX, another file AVI."""
    place = 0
    for _ in range(MOST):
        file.seek(place)
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF":
            return False
        if place and head[8:] == b"AVI ":
            return True
        size = int.from_bytes(head[4:8], "little")
        place += 8 + size + size % 2
    return False


# ---- Matroska -------------------------------------------------------------------------------------------------------


def _of_matroska(file: IO[bytes], place: int) -> Crop:
    for name, start, size in _elements(file, 0, None):
        if name != SEGMENT:
            continue
        for part, begin, length in _elements(file, start, None if size is None else start + size):
            if part == CLUSTER or length is None:
                return Crop()
            if part == TRACKS:
                return _of_tracks(file, begin, begin + length, place)
        break
    return Crop()


def _of_tracks(file: IO[bytes], start: int, end: int, place: int) -> Crop:
    crops = []
    for name, begin, size in _elements(file, start, end):
        if name != ENTRY or size is None:
            continue
        kind, crop = 0, Crop()
        for part, at, length in _elements(file, begin, begin + size):
            if part == KIND:
                kind = _number(file, at, length)
            elif part == VIDEO and length is not None:
                sides = {
                    CROPPED[side]: _number(file, where, count)
                    for side, where, count in _elements(file, at, at + length)
                    if side in CROPPED
                }
                crop = Crop(**sides)
        if kind == PICTURES:
            crops.append(crop)
    return crops[place] if place < len(crops) else Crop()


def _elements(file: IO[bytes], start: int, end: int | None) -> Iterator[tuple[int, int, int | None]]:
    """(id, where its content begins, bytes of that or None if unknown) of the elements in a stretch of a file."""
    place = start
    for _ in range(MOST):
        if end is not None and place >= end:
            return
        file.seek(place)
        head = file.read(12)
        if len(head) < 2 or not head[0] or head[0] < 0x10:
            return
        wide = 9 - head[0].bit_length()
        rest = head[wide:]
        if not rest or not rest[0]:
            return
        long = 9 - rest[0].bit_length()
        if len(rest) < long:
            return
        size: int | None = int.from_bytes(rest[:long], "big") & ((1 << 7 * long) - 1)
        if size == (1 << 7 * long) - 1:
            size = None
        yield int.from_bytes(head[:wide], "big"), place + wide + long, size
        if size is None:
            return
        place += wide + long + size


def _number(file: IO[bytes], start: int, size: int | None) -> int:
    if size is None or size > 8:
        raise ValueError("no number")
    file.seek(start)
    return int.from_bytes(file.read(size), "big")


# ---- boxes of MP4 and QuickTime -------------------------------------------------------------------------------------


def _of_boxes(file: IO[bytes], place: int) -> Crop:
    size, crops = file.seek(0, 2), []
    for name, start, end in _boxes(file, 0, size):
        if name == b"moov":
            for part, begin, stop in _boxes(file, start, end):
                if part == b"trak" and _handler(file, begin, stop) == b"vide":
                    crops.append(_of_track(file, begin, stop))
            break
    return crops[place] if place < len(crops) else Crop()


def _handler(file: IO[bytes], start: int, end: int) -> bytes:
    """The kind of a track."""
    for name, begin, stop in _boxes(file, start, end):
        if name == b"mdia":
            for part, at, _ in _boxes(file, begin, stop):
                if part == b"hdlr":
                    file.seek(at + 8)
                    return file.read(4)
    return b""


def _of_track(file: IO[bytes], start: int, end: int) -> Crop:
    for name, begin, stop in _boxes(file, start, end):
        if name in ON_THE_WAY:
            return _of_track(file, begin, stop) if name != b"stbl" else _of_description(file, begin, stop)
    return Crop()


def _of_description(file: IO[bytes], start: int, end: int) -> Crop:
    for name, begin, stop in _boxes(file, start, end):
        if name != b"stsd":
            continue
        for _, at, last in _boxes(file, begin + 8, stop):  # sample entries; the first one is that of all pictures
            file.seek(at + 24)
            width, height = struct.unpack(">HH", file.read(4))
            for part, where, _ in _boxes(file, at - 8 + HEAD_OF_ENTRY, last):
                if part == b"clap":
                    file.seek(where)
                    return _of_aperture(struct.unpack(">IIIIiIiI", file.read(32)), height, width)
            return Crop()
    return Crop()


def _of_aperture(values: tuple[int, ...], height: int, width: int) -> Crop:
    """The clean aperture: width, height, and how far its middle is from that of the picture, each as a fraction."""
    wide, high, right, down = (Fraction(values[i], values[i + 1]) for i in range(0, 8, 2))
    left, top = round((width - wide) / 2 + right), round((height - high) / 2 + down)
    sides = (left, top, width - left - round(wide), height - top - round(high))
    return Crop(*sides) if min(sides) >= 0 else Crop()


def _boxes(file: IO[bytes], start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, where it ends) of the boxes in a stretch of a file."""
    place = start
    for _ in range(MOST):
        if place + 8 > end:
            return
        file.seek(place)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = int.from_bytes(file.read(8), "big"), 16
        stop = end if size == 0 else place + size
        if stop < place + head or stop > end:
            return
        yield name, place + head, stop
        place = stop
