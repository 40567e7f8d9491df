"""The reader of AVSBench's log-mel pickles: patches or a `DatasetError`, never a call, never much memory."""

import contextlib
import io
import pickle
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sonomask", "pickletools"]):
    import torch

    from sonomask.errors import DatasetError
    from sonomask.safe_reading.pickled_logmel import read_logmel

PLACE = Path(tempfile.mkdtemp(), "x.pkl")
WHOLE = io.BytesIO()
pickle.dump(torch.zeros(2, 1, 96, 64), WHOLE)


def one(data):
    """A whole file some of whose bytes are replaced, or the bytes as they are."""
    provider = atheris.FuzzedDataProvider(data)
    content = bytearray(WHOLE.getvalue()) if provider.ConsumeBool() else bytearray()
    place = provider.ConsumeIntInRange(0, len(content))
    fresh = provider.ConsumeBytes(provider.remaining_bytes())
    content[place : place + len(fresh)] = fresh
    PLACE.write_bytes(bytes(content))
    with contextlib.suppress(DatasetError):
        assert read_logmel(PLACE).shape[1:] == (1, 96, 64)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
