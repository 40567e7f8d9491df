"""The tables of a corpus: their columns, and rows to bytes that depend on the rows alone.

contents  a row for each shard
masks     a row for each mask: `counts` is the run-length code of COCO (pycocotools' `decode` takes it with `size`)
manifest  a row for each video
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from sonomask.batch.job import digest
from sonomask.errors import DatasetError, MissingExtraError
from sonomask.schemas import schema

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("A corpus", "batch") from error

__all__ = ["CONTENTS", "MANIFEST", "MASKS", "json_lines", "parquet", "read", "webdataset"]

SOUND = pa.struct([("name", pa.string()), ("score", pa.float32())])
THING = pa.struct([("name", pa.string()), ("area", pa.uint64()), ("sound", pa.string()), ("score", pa.float32())])
MASKS = pa.schema(
    [
        ("video", pa.string()),
        ("time", pa.float64()),  # seconds
        ("label", pa.uint8()),  # 1, or a semantic model's class, or 0 where it found none
        ("height", pa.uint32()),
        ("width", pa.uint32()),
        ("counts", pa.binary()),
        ("area", pa.uint64()),  # pixels
        ("max_probability", pa.float32()),
        ("presence", pa.float32()),  # null where the model has no such score
        ("things", pa.list_(THING)),  # what of it is marked, the largest first; null of a model that knows no names
        ("heard", pa.list_(SOUND)),  # what is heard in the frame, the surest first; the same
    ]
)
MANIFEST = pa.schema(
    [
        ("video", pa.string()),
        ("status", pa.string()),  # "done" or "failed"
        ("reason", pa.string()),
        ("seconds", pa.float64()),
        ("frames", pa.uint32()),  # that have a mask
        ("area", pa.float64()),  # mean share of the picture, 0 to 1
        ("presence", pa.float32()),  # of the frame that has most
        ("things", pa.list_(pa.string())),  # that are marked, the one with most pixels first
        ("heard", pa.list_(pa.string())),  # the one with the highest sum of scores first
        ("width", pa.uint32()),
        ("height", pa.uint32()),
        ("bytes", pa.uint64()),
        ("sha256", pa.string()),  # of the file
        ("warnings", pa.list_(pa.string())),
        ("model", pa.string()),  # hash of its weights
        ("options", pa.string()),  # hash of what was asked
        ("shard", pa.string()),  # its masks lie in masks/part=…/SHARD.parquet
    ]
)
CONTENTS = pa.schema(
    [
        ("shard", pa.string()),
        ("part", pa.string()),  # folder of its tables
        ("videos", pa.uint32()),
        ("failed", pa.uint32()),
        ("frames", pa.uint64()),
        ("seconds", pa.float64()),  # of video
        ("first", pa.string()),  # of its videos, by name
        ("last", pa.string()),
    ]
)


def parquet(rows: Sequence[Mapping[str, Any]], schema: Any) -> bytes:
    """The same rows give the same bytes, with one release of pyarrow."""
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(list(rows), schema), sink, version="2.6", compression="zstd", compression_level=3,
        use_dictionary=["video"] if "video" in schema.names else False, row_group_size=65_536, data_page_size=1 << 20,
        write_statistics=True,
    )  # fmt: skip
    return sink.getvalue()


def read(data: bytes, name: str, columns: Sequence[str]) -> Any:
    """Columns of a table.

    Raises:
        DatasetError: It is no such table.
    """
    try:
        return pq.read_table(io.BytesIO(data), columns=list(columns))
    except (pa.ArrowException, KeyError) as error:
        raise DatasetError(f"{name}: is no table of this program ({error}). Move it away.") from error


def webdataset(rows: Sequence[Mapping[str, Any]], masks: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """A tar with `KEY.json` of each video that is done: its row, and its `masks` with COCO's run lengths."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for row in rows:
            if row["status"] == "done":
                entry = tarfile.TarInfo(f"{digest(row['video'])}.json")
                entry.size = len(data := _line(row, masks[row["video"]]).encode())
                archive.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


def json_lines(rows: Sequence[Mapping[str, Any]], masks: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """A line for each video: its row, and its `masks` with COCO's run lengths."""
    return "".join(f"{_line(row, masks[row['video']])}\n" for row in rows).encode()


def _line(row: Mapping[str, Any], masks: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"schema": schema("video"), **row, "masks": [_coco(m) for m in masks]}, ensure_ascii=False)


def _coco(mask: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: mask[key] for key in ("time", "label", "area", "max_probability", "presence")}
    kept |= {key: mask[key] for key in ("things", "heard") if mask.get(key) is not None}
    return {**kept, "size": [mask["height"], mask["width"]], "counts": mask["counts"].decode()}
