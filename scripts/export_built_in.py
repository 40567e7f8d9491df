"""Writes `model.onnx` beside the weights of the built-in models, for the core that runs without torch.

python scripts/export_built_in.py [NAME …]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sonomask.checkpoints.folder import load
from sonomask.checkpoints.places import BUILT_IN, GRAPH, built_in
from sonomask.export.write import export

LARGEST = 20e6  # bytes of a file


def main(names: list[str]) -> None:
    """Export these models, or all."""
    for name in names or built_in():
        with TemporaryDirectory() as folder:
            made = export(load(name), Path(folder) / "model", attention=True, half=True)
            assert made.megabytes * 1e6 < LARGEST, f"{name}: {made.megabytes:.1f} MB are too large for the package"  # noqa: S101
            shutil.copy(made.folder / GRAPH, BUILT_IN / name / GRAPH)
        print(f"{name}: {made.megabytes:.1f} MB, {', '.join(made.free)} free, differs by {made.difference:.1e}")


if __name__ == "__main__":
    main(sys.argv[1:])
