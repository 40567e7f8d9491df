"""The readers of what people said of a result: corrections, known masks, the tracks of instances; values or a known error."""

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sonomask"]):
    from sonomask.data.avis import AVISeg
    from sonomask.data.known_masks import read_masks
    from sonomask.errors import DatasetError, MediaError
    from sonomask.safe_reading.corrections import parse_corrections
    from sonomask.schemas import schema

ROOT = Path(tempfile.mkdtemp())
SHAPES = [
    [[2, 2, 20, 2, 20, 12]],
    {"size": [16, 24], "counts": [50, 100, 234]},
    {"size": [16, 24], "counts": "b13T4d:"},
]
POINTED = {"kind": "never", "time": 3.2, "x": 0.41, "y": 0.63, "id": 2, "trail": [[3, 0.1, 0.1, 0.5, 0.9]]}
CORRECTIONS = {
    "schema": schema("corrections"),
    "video": {"name": "talk.mp4", "duration": 12.4, "width": 640, "height": 360},
    "corrections": [POINTED, {"kind": "nothing", "start": 5, "end": 6}],
}
MASKS = {
    "images": [{"id": 1, "file_name": "1.5.png", "height": 16, "width": 24}],
    "annotations": [{"image_id": 1, "segmentation": shape} for shape in SHAPES],
}
TRACKS = {
    "videos": [{"id": 1, "height": 16, "width": 24, "file_names": ["a/0.jpg", "a/1.jpg", "a/2.jpg"]}],
    "categories": [{"id": 1, "name": "dog"}],
    "annotations": [{"video_id": 1, "category_id": 1, "segmentations": SHAPES}],
}
WHOLE = tuple(json.dumps(table).encode() for table in (CORRECTIONS, MASKS, TRACKS))


def one(data):
    """One of the files, some of whose bytes are replaced or put in."""
    provider = atheris.FuzzedDataProvider(data)
    which = provider.ConsumeIntInRange(0, 2)
    content = bytearray(WHOLE[which])
    for _ in range(provider.ConsumeIntInRange(1, 4)):
        place = provider.ConsumeIntInRange(0, len(content))
        fresh = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 24))
        content[place : place + (len(fresh) if provider.ConsumeBool() else 0)] = fresh
    file = ROOT / "train.json"
    file.write_bytes(bytes(content))
    try:
        if which == 0:
            again = parse_corrections(bytes(content), source="x")
            assert parse_corrections(again.to_json().encode(), source="y") == again
        elif which == 1:
            assert all(mask.ndim == 2 for _, mask in read_masks(file))
        else:
            assert all(ROOT in frame.parents for video in AVISeg(ROOT, "train") for frame in video.frames)
    except (DatasetError, MediaError):
        pass
    except ValueError as error:  # AVISeg's own, which names the file
        if not str(error).startswith(f"{file}: "):
            raise


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
