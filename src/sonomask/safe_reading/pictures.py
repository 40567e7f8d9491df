"""The one reader of picture files: known formats only, of bounded size, with one kind of error."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from sonomask.errors import DatasetError

__all__ = ["decode_picture", "open_picture"]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # Pillow's others may start programs, as EPS does
MOST_PIXELS = 2**26
MOST_SCANS = 100  # of a progressive JPEG; encoders write ten. Each goes through all of the picture, however short it is


def open_picture(path: str | Path, mode: str | None = None, *, pixels: int = MOST_PIXELS) -> Image.Image:
    """A picture, decoded.

    Args:
        path: PNG, JPEG, BMP, GIF, TIFF, WebP or PPM, whatever the ending says.
        mode: Pillow's name of a mode to convert to; as in the file unless given.
        pixels: The most that it may have.

    Raises:
        DatasetError: There is none, it is damaged, of another kind, or has more pixels.
    """
    return _decode(path, str(path), mode, pixels, FORMATS)


def decode_picture(
    data: bytes, name: str, mode: str | None = None, *, pixels: int = MOST_PIXELS, formats: Sequence[str] = FORMATS
) -> Image.Image:
    """A picture from its bytes, such as a part of an archive.

    Args:
        data: The file's content.
        name: Name in error messages.
        mode: Mode, as for `open_picture`.
        pixels: Limit, as for `open_picture`.
        formats: Pillow's names of the formats that it may have.

    Raises:
        DatasetError: Any error of `open_picture`.
    """
    return _decode(io.BytesIO(data), name, mode, pixels, formats)


def _decode(
    source: str | Path | io.BytesIO, path: str, mode: str | None, pixels: int, formats: Sequence[str]
) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata, and sizes that are checked here
            with Image.open(source, formats=list(formats)) as picture:
                if picture.width * picture.height > pixels:
                    raise DatasetError(
                        f"{path}: {picture.width}×{picture.height} pixels, the limit is {pixels}. Scale it down first."
                    )
                if picture.format in ("JPEG", "MPO") and (scans := _scans(picture)) > MOST_SCANS:
                    raise DatasetError(f"{path}: a JPEG in {scans} scans, the limit is {MOST_SCANS}. Save it anew.")
                picture.load()
                return picture.convert(mode) if mode else picture.copy()
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file.") from error
    except DatasetError:
        raise
    except Exception as error:  # Pillow's decoders can raise any error on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{path}: can't be read as a picture ({reason}). Restore it from its source.") from error


def _scans(picture: Image.Image) -> int:
    """How often a JPEG goes through its pixels: its markers are followed up to the end of the first picture.

    Source: ITU-T T.81, B.1.
    """
    file: Any = picture.fp  # type: ignore[attr-defined] # Pillow's types lack it
    before = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(before)
    place, scans = 2, 0
    while 0 <= (place := data.find(b"\xff", place)) < len(data) - 3 and (marker := data[place + 1]) != 0xD9:
        scans += marker == 0xDA
        alone = marker in (0, 1, 0xFF) or 0xD0 <= marker <= 0xD8  # without a length; 0xFF is followed by the marker
        place += 1 + (marker != 0xFF) if alone else 2 + int.from_bytes(data[place + 2 : place + 4])
    return scans
