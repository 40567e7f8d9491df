"""The reader of training checkpoints, archives and the older form: plain tensors or a `WeightsError`."""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sonomask", "zipfile"]):
    import torch

    from sonomask.checkpoints.files import read_checkpoint
    from sonomask.errors import WeightsError

PLACE = Path(tempfile.mkdtemp(), "x.pth")
WHOLE = []
for archive in (True, False):
    file = io.BytesIO()
    content = {"state_dict": {"a.weight": torch.zeros(3, 2), "a.bias": torch.arange(3)}, "epoch": 3, "args": [1.5, "x"]}
    torch.save(content, file, _use_new_zipfile_serialization=archive)
    WHOLE.append(file.getvalue())


def one(data):
    """A whole file some of whose bytes are replaced, or the bytes as they are."""
    provider = atheris.FuzzedDataProvider(data)
    content = bytearray((*WHOLE, b"")[provider.ConsumeIntInRange(0, 2)])
    for _ in range(provider.ConsumeIntInRange(1, 4)):
        place = provider.ConsumeIntInRange(0, len(content))
        fresh = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 64))
        content[place : place + len(fresh)] = fresh
    content += provider.ConsumeBytes(provider.remaining_bytes())
    PLACE.write_bytes(bytes(content))
    with contextlib.suppress(WeightsError):
        tensors = read_checkpoint(PLACE)
        assert sum(value.numel() for value in tensors.values()) <= len(content)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
