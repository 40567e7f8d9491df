"""The readers of a model folder: a config and tensors, or a `WeightsError`."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sonomask"]):
    from sonomask.checkpoints.folder import read_tensors
    from sonomask.checkpoints.places import BUILT_IN, CONFIG
    from sonomask.errors import WeightsError
    from sonomask.safe_reading.config import read_config

PLACE = Path(tempfile.mkdtemp())
WHOLE = (BUILT_IN / "avs_mini.synthetic" / CONFIG).read_bytes()


def one(data):
    """A whole config some of whose bytes are replaced, or the bytes as they are; and the bytes as safetensors."""
    provider = atheris.FuzzedDataProvider(data)
    content = bytearray(WHOLE) if provider.ConsumeBool() else bytearray()
    place = provider.ConsumeIntInRange(0, len(content))
    fresh = provider.ConsumeBytes(provider.remaining_bytes())
    content[place : place + len(fresh)] = fresh
    (PLACE / CONFIG).write_bytes(bytes(content))
    (PLACE / "model.safetensors").write_bytes(len(fresh).to_bytes(8, "little") + fresh + bytes(64))
    for read in (lambda: read_config(PLACE / CONFIG), lambda: read_tensors(PLACE / "model.safetensors")):
        try:
            read()
        except WeightsError:
            continue


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
