"""The readers of csv files: rows or a `DatasetError`, and no name that leaves its folder."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sonomask"]):
    from sonomask.data.avsbench import items
    from sonomask.data.prepare import _rows
    from sonomask.errors import DatasetError
    from sonomask.safe_reading.tables import read_table

ROOT = Path(tempfile.mkdtemp())
(ROOT / "visual_frames").mkdir()


def one(data):
    """As a table of videos, and as the csv of each subset."""
    content = b"video,name,split,category\n" + data if data[:1] < b"\x80" else data
    for name in ("videos.csv", "s4_meta_data.csv", "ms3_meta_data.csv"):
        (ROOT / name).write_bytes(content)
    for read in (
        lambda: read_table(ROOT / "videos.csv"),
        lambda: list(_rows(ROOT / "videos.csv")),
        lambda: items(ROOT, "s4"),
        lambda: items(ROOT, "ms3"),
    ):
        try:
            found = read()
        except DatasetError:
            continue
        for item in found:
            if hasattr(item, "frame"):
                assert ROOT in item.frame(0).parents
                assert ".." not in item.frame(0).parts


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
