"""What decoding in a guarded child costs: CPU seconds of both processes together, beside the reader's in the same run.

python benchmarks/sandbox.py VIDEO
"""

import resource
import sys

import numpy as np

from sonomask.media.reader import VideoReader
from sonomask.media.sandbox.reader import SandboxedReader

TASKS = {
    "open": lambda reader: reader.info,
    "1 frame a second at 224×224": lambda reader: [f.time for f in reader.frames(1.0, size=(224, 224))],
    "every frame at 224×224": lambda reader: [f.time for f in reader.frames(size=(224, 224))],
    "every frame at full size": lambda reader: [f.time for f in reader.frames()],
    "the sound": lambda reader: sum(float(np.abs(b).sum()) for b in reader.waveform()),
}


def spent():
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def cost(kind, video, task):
    """CPU seconds of a task; the second of two runs, so that imports don't count."""
    for _ in range(2):
        began = spent()
        with kind(video) as reader:
            task(reader)
        used = spent() - began
    return used


def main():
    print("| task | reader | guarded | more |\n|---|--:|--:|--:|")
    for name, task in TASKS.items():
        plain, guarded = (cost(kind, sys.argv[1], task) for kind in (VideoReader, SandboxedReader))
        print(f"| {name} | {plain:.2f} s | {guarded:.2f} s | {guarded - plain:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
