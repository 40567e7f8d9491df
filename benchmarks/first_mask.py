"""How long a user waits for the first mask of a clip, from Enter on, and where the time goes.

    python benchmarks/first_mask.py examples/friday.mp4 [--rounds 7]

Each round starts fresh processes, their files warm in memory, and takes the wall time that they need:

    libraries    imports ONNX Runtime, PyAV, OpenCV and NumPy, decodes the clip's first picture: the least there could be
    first mask   `next(Segmenter()(CLIP))` in Python, to the line that says the mask is there
    command      `sonomask segment CLIP --end 1 --rate 1 --format jsonl`, to its end: one mask, written

Printed are the medians, the quickest, and the ratio of medians to the first row, since a machine with other work is slower in
all three.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

LIBRARIES = """
import sys, av, cv2, numpy, onnxruntime
with av.open(sys.argv[1]) as file:
    next(file.decode(video=0)).to_ndarray(format="rgb24")
print("there", flush=True)
"""
FIRST = """
import sys
from sonomask import Segmenter
masks = Segmenter()(sys.argv[1])
next(masks)
print("there", flush=True)
"""


def until_line(words: list[str]) -> float:
    """Seconds until a process prints its first line."""
    began = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own words
        assert process.stdout is not None
        assert process.stdout.readline(), words
        return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    clip = str(Path(given.clip).absolute())
    with TemporaryDirectory() as folder:
        command = [
            "-m", "sonomask", "segment", clip, "--end", "1", "--rate", "1", "--format", "jsonl", "--out", folder, "--overwrite",
        ]  # fmt: skip
        rows = {"libraries": ["-c", LIBRARIES, clip], "first mask": ["-c", FIRST, clip], "command": command}
        walls: dict[str, list[float]] = {name: [] for name in rows}
        for turn in range(given.rounds + 1):
            for name, words in rows.items():
                wall = until_line([sys.executable, *words])
                if turn:  # the first one warms up
                    walls[name].append(wall)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| | median s | quickest s | of the libraries |\n|---|--:|--:|--:|")
    for name, found in walls.items():
        print(f"| {name} | {median(found):.2f} | {min(found):.2f} | {median(found) / median(walls['libraries']):.1f} |")


if __name__ == "__main__":
    main()
