"""Probabilities for NumPy."""

from __future__ import annotations

import shutil
import zipfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from sonomask.outputs.moment import Moment, OutputContext, Take
from sonomask.workspace import atomic_path

__all__ = ["write_npz"]


@contextmanager
def write_npz(path: Path, context: OutputContext) -> Iterator[Take]:
    """`times` (N,) float64, `probability` (N, H, W) float16 and, of a semantic model, `labels` (N, H, W) uint8.

    Of a model with a presence score also `presence` (N,). The number of frames stands at the head of such a file and is
    known at the end, so the values wait in a raw file.
    """
    with atomic_path(path, overwrite=context.overwrite) as fresh, ExitStack() as stack:
        columns = {"times": array("d"), "presence": array("d")}
        raw: dict[str, tuple[Any, tuple[int, ...], np.dtype]] = {}

        def take(moment: Moment) -> None:
            columns["times"].append(moment.source_time)
            if moment.presence is not None:
                columns["presence"].append(moment.presence)
            arrays = {"probability": moment.probability.astype(np.float16)}
            if context.classes:
                arrays["labels"] = moment.labels
            for name, values in arrays.items():
                if name not in raw:
                    file = stack.enter_context(fresh.with_name(f"{name}.raw").open("wb+"))
                    raw[name] = (file, values.shape, values.dtype)
                raw[name][0].write(values.tobytes())

        yield take
        with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, column in columns.items():
                if name == "times" or column:
                    with archive.open(f"{name}.npy", "w") as entry:
                        npy.write_array(entry, np.array(column))
            for name, (file, shape, dtype) in raw.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    count = len(columns["times"])
                    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (count, *shape)}
                    npy.write_array_header_1_0(entry, header)
                    file.seek(0)
                    shutil.copyfileobj(file, entry, 1 << 20)
