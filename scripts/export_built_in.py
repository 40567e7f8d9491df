"""Writes `model.onnx` beside the weights of the built-in models, for the core that runs without torch.

python scripts/export_built_in.py [NAME …]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import safe_open

from sonomask.checkpoints.folder import SCALE, load
from sonomask.checkpoints.places import BUILT_IN, GRAPH, WEIGHTS, built_in
from sonomask.export.write import export

LARGEST = 20e6  # bytes of a file


def main(names: list[str]) -> None:
    """Export these models, or all."""
    for name in names or built_in():
        with TemporaryDirectory() as folder:
            made = export(load(name), Path(folder) / "model", attention=True, bits=8 if eighth(name) else 16)
            assert made.megabytes * 1e6 < LARGEST, f"{name}: {made.megabytes:.1f} MB are too large for the package"  # noqa: S101
            shutil.copy(made.folder / GRAPH, BUILT_IN / name / GRAPH)
        print(f"{name}: {made.megabytes:.1f} MB, {', '.join(made.free)} free, differs by {made.difference:.1e}")


def eighth(name: str) -> bool:
    """Whether the weights are stored in 8 bits."""
    with safe_open(BUILT_IN / name / WEIGHTS, "np") as file:
        return any(key.endswith(SCALE) for key in file.keys())  # noqa: SIM118 - no mapping


if __name__ == "__main__":
    main(sys.argv[1:])
