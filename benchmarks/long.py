"""A video of hours through `sonomask segment`: how much memory, how long.

    python benchmarks/long.py --hours 3 --rate 0.2

The video is 96×64 at 1 frame a second with a tone, so that it is made in a minute; the model sees every second of it.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LIMIT = 2000  # MB


def make(path, seconds):
    """A grey square that wanders, and a tone in a cheap codec."""
    with av.open(str(path), "w") as file:
        picture, sound = file.add_stream("mpeg4", rate=1), file.add_stream("pcm_s16le", rate=16_000, layout="mono")
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        tone = (np.sin(np.arange(16_000) / 6) * 9000).astype(np.int16)[None]
        for second in range(seconds):
            image = np.full((64, 96, 3), 90, np.uint8)
            image[16:48, second % 64 : second % 64 + 32] = 200
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = second, Fraction(1, 1)
            file.mux(picture.encode(frame))
            part = av.AudioFrame.from_ndarray(tone, "s16", "mono")
            part.sample_rate, part.pts, part.time_base = 16_000, second * 16_000, Fraction(1, 16_000)
            file.mux(sound.encode(part))
        for stream in (picture, sound):
            file.mux(stream.encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3)
    parser.add_argument("--rate", default="0.2")
    parser.add_argument("--model", default="avs_mini.synthetic")
    parser.add_argument("--format", nargs="+", default=["overlay", "masks", "npz"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder, "long.mkv")
        make(video, round(options.hours * 3600))
        began = time.monotonic()
        words = ["--model", options.model, "--rate", options.rate, "--out", folder, "--format", *options.format]
        subprocess.run([sys.executable, "-m", "sonomask.cli.main", "segment", str(video), *words], check=True)  # noqa: S603
        peak = resource.getrusage(resource.RUSAGE_CHILDREN)
    megabytes = peak.ru_maxrss / 1024
    print(f"{options.hours:g} h, {options.rate} masks a second, {options.model}, {' '.join(options.format)}:")
    print(
        f"peak memory {megabytes:.0f} MB, {peak.ru_utime + peak.ru_stime:.0f} s of CPU, {time.monotonic() - began:.0f} s"
    )
    return int(megabytes > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
