"""The reader of shards: clips or a `DatasetError`."""

import contextlib
import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sonomask", "tarfile"]):
    import numpy as np
    from PIL import Image

    from sonomask.data.shards import FORMAT, INDEX, ShardedClips
    from sonomask.errors import DatasetError

ROOT = Path(tempfile.mkdtemp())


def picture(height, mode):
    """A PNG of one second of 8 by 8 pixels."""
    file = io.BytesIO()
    Image.new(mode, (8, height), 1).save(file, "png")
    return file.getvalue()


def packed(parts):
    """A tar of these files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in parts.items():
            entry = tarfile.TarInfo(f"key.{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


ABOUT = {"name": "a", "category": "dog", "labelled": [True], "valid": [True]}
SOUND = io.BytesIO()
np.save(SOUND, np.zeros((1, 1, 96, 64), np.float32))
PARTS = {
    "clip.json": json.dumps(ABOUT).encode(),
    "frames.png": picture(8, "RGB"),
    "masks.png": picture(8, "L"),
    "logmel.npy": SOUND.getvalue(),
}


def change(provider, content):
    """Some bytes replaced or put in."""
    content = bytearray(content)
    for _ in range(provider.ConsumeIntInRange(1, 3)):
        place = provider.ConsumeIntInRange(0, len(content))
        fresh = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 24))
        content[place : place + (len(fresh) if provider.ConsumeBool() else 0)] = fresh
    return bytes(content)


def one(data):
    """A whole set of which the index, the archive or one of the files in it is changed."""
    provider = atheris.FuzzedDataProvider(data)
    what = provider.PickValueInList(["index", "tar", *PARTS])
    parts = {name: change(provider, part) if name == what else part for name, part in PARTS.items()}
    tar = packed(parts)
    tar = change(provider, tar) if what == "tar" else tar
    index = json.dumps({"format": FORMAT, "shards": [{"name": "shard-000000.tar", "clips": [[0, len(tar)]]}]}).encode()
    (ROOT / "shard-000000.tar").write_bytes(tar)
    (ROOT / INDEX).write_bytes(change(provider, index) if what == "index" else index)
    with contextlib.suppress(DatasetError):
        clips = ShardedClips(ROOT)
        for place in range(min(len(clips), 3)):
            clips[place]


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
