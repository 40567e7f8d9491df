"""The import of COCO's annotations: a table or a `DatasetError`, and nothing from outside of the folder."""

import contextlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sonomask"]):
    from PIL import Image

    from sonomask.data.composed.annotated import table_from_coco
    from sonomask.errors import DatasetError

ROOT = Path(tempfile.mkdtemp())
PICTURES = ROOT / "pictures"
PICTURES.mkdir()
Image.new("RGB", (24, 16), (200, 60, 40)).save(PICTURES / "a.png")
WHOLE = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.png", "height": 16, "width": 24}],
        "categories": [{"id": 7, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[2, 2, 20, 2, 20, 12, 2, 12]]},
            {"id": 2, "image_id": 1, "category_id": 7, "segmentation": {"size": [16, 24], "counts": [50, 100, 234]}},
            {"id": 3, "image_id": 1, "category_id": 7, "segmentation": {"size": [16, 24], "counts": "b13T4d:"}},
        ],
    }
).encode()


def one(data):
    """A whole file some of whose bytes are replaced, or the bytes as they are."""
    provider = atheris.FuzzedDataProvider(data)
    content = bytearray(WHOLE) if provider.ConsumeBool() else bytearray()
    for _ in range(provider.ConsumeIntInRange(1, 4)):
        place = provider.ConsumeIntInRange(0, len(content))
        fresh = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 32))
        content[place : place + (len(fresh) if provider.ConsumeBool() else 0)] = fresh
    (ROOT / "instances.json").write_bytes(bytes(content))
    out = ROOT / "out"
    with contextlib.suppress(DatasetError):
        table_from_coco(ROOT / "instances.json", PICTURES, out)
    shutil.rmtree(out, ignore_errors=True)
    assert sorted(path.name for path in ROOT.iterdir()) == ["instances.json", "pictures"]


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
