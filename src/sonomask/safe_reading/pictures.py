"""The one door for picture files: known formats only, of bounded size, and one kind of error."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from sonomask.errors import DatasetError

__all__ = ["open_picture"]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # Pillow's others may start programs, as EPS does
MOST_PIXELS = 2**26


def open_picture(path: str | Path, mode: str | None = None) -> Image.Image:
    """A picture, decoded.

    Args:
        path: PNG, JPEG, BMP, GIF, TIFF, WebP or PPM, whatever the ending says.
        mode: Pillow's name of a mode to convert to; as in the file unless given.

    Raises:
        DatasetError: There is none, it is damaged, of another kind, or larger than 67 million pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata, and sizes that are checked here
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise DatasetError(
                        f"{path}: {picture.width}×{picture.height} pixels, the limit is {MOST_PIXELS}. Scale it down first."
                    )
                picture.load()
                return picture.convert(mode) if mode else picture.copy()
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file.") from error
    except DatasetError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{path}: can't be read as a picture ({reason}). Restore it from its source.") from error
