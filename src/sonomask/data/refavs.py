"""Ref-AVS: sentences about what is heard and seen in a video, each with the masks of the one thing that it means.

Source: Wang et al., "Ref-AVS: refer and segment objects in audio-visual scenes", ECCV 2024; the layout as its code (MIT)
reads it. Below the root lie `metadata.csv` (vid, uid, split, fid, exp), `media/VIDEO/audio.wav`,
`media/VIDEO/frames/0.jpg` … `9.jpg`, one a second, and `gt_mask/VIDEO/fid_FID/00000.png` …, where VIDEO is the uid without its
last two parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from sonomask.data.sound import read_wav
from sonomask.errors import DatasetError
from sonomask.safe_reading.pictures import open_picture
from sonomask.safe_reading.tables import inside, read_table

__all__ = ["NULL", "SPLITS", "Expression", "RefAVS"]

SECONDS = 10
SIZE = 256  # pixels of a side at which masks are scored
NULL = "test_n"  # its sentences mean nothing that is there
SPLITS = ("train", "val", "test_s", "test_u", NULL)


@dataclass(frozen=True)
class Expression:
    """A sentence about a video.

    Attributes:
        uid: Id of the row.
        text: The sentence.
        frames: The video's pictures, one a second.
        sound: Its wav file.
        masks: A PNG for each picture; none where the sentence means nothing that is there.
    """

    uid: str
    text: str
    frames: tuple[Path, ...]
    sound: Path
    masks: tuple[Path, ...]

    def pictures(self) -> list[UInt8[np.ndarray, "H W 3"]]:
        """The video's pictures, RGB.

        Raises:
            DatasetError: One is missing or damaged.
        """
        return [np.asarray(open_picture(file, "RGB")) for file in self.frames]

    def waveform(self) -> np.ndarray:
        """The sound, 16 kHz mono."""
        return read_wav(self.sound)

    def truth(self) -> Bool[np.ndarray, "T 256 256"]:
        """The masks at the size at which they are scored.

        Raises:
            DatasetError: One is missing or damaged.
        """
        if not self.masks:
            return np.zeros((len(self.frames), SIZE, SIZE), bool)
        read = [np.asarray(open_picture(file, "L")) for file in self.masks]
        return np.stack([cv2.resize(mask, (SIZE, SIZE)) > 0 for mask in read])


class RefAVS(Sequence[Expression]):
    """The sentences of a split, in the order of the table.

    Args:
        root: Folder with `metadata.csv`.
        split: "train", "val", "test_s" (seen categories), "test_u" (unseen ones) or "test_n" (nothing is meant).

    Raises:
        DatasetError: The table can't be read, or a row leads out of the folder.
        ValueError: There is no such split.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"`split`: expected one of {', '.join(SPLITS)}, got {split!r}.")
        self.root, self.split = Path(root), split
        rows = read_table(self.root / "metadata.csv", ("uid", "split", "fid", "exp"))
        self.rows = [row for row in rows if row["split"] == split]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Expression:  # type: ignore[override]
        row = self.rows[index]
        video = row["uid"].rsplit("_", 2)[0]
        if not video or not row["fid"].isdecimal():
            raise DatasetError(
                f"{self.root / 'metadata.csv'}: expected a uid VIDEO_CATEGORY_NUMBER and a number as fid, got {row}."
            )
        media = inside(self.root, self.root / "media" / video)
        folder = inside(self.root, self.root / "gt_mask" / video / f"fid_{int(row['fid'])}")
        masks = () if self.split == NULL else tuple(folder / f"{second:05d}.png" for second in range(SECONDS))
        frames = tuple(media / "frames" / f"{second}.jpg" for second in range(SECONDS))
        return Expression(row["uid"], row["exp"], frames, media / "audio.wav", masks)
