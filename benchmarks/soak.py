"""`sonomask live` for hours: memory at each minute, masks made, pictures left out, delay.

    python benchmarks/soak.py --minutes 120 --rate 2 --csv soak.csv

This process sends MPEG-TS over HTTP on loopback in real time, 64×48, a bright square that moves and sounds for five seconds out
of ten; it breaks the connection off every `--break_minutes`, so that the reader has to come back. `sonomask live` runs as a
process of its own and writes JSON lines; what is measured is that process alone.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

HEIGHT, WIDTH, FPS, RATE = 48, 64, 5, 16_000


class Broadcast(BaseHTTPRequestHandler):
    """One stream for each who asks; it ends after `seconds`."""

    seconds = 1800.0

    def do_GET(self):
        """Send it."""
        self.send_response(200)
        self.end_headers()
        with av.open(self, "w", format="mpegts") as out:
            video = out.add_stream(
                "libx264", rate=FPS, options={"tune": "zerolatency", "preset": "ultrafast", "g": "5"}
            )
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            audio = out.add_stream("aac", rate=RATE, layout="mono")
            begun = time.monotonic()
            for index in range(round(self.seconds * FPS)):
                loud, image = index // FPS % 10 < 5, np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
                left = index % (WIDTH - 16)
                image[16:32, left : left + 16] = 255 if loud else 80
                frame = av.VideoFrame.from_ndarray(image)
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                wave = np.sin(np.arange(RATE // FPS) * 0.2).astype(np.float32)[None] * (0.5 if loud else 0)
                sound = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                sound.sample_rate, sound.time_base, sound.pts = RATE, Fraction(1, RATE), index * RATE // FPS
                out.mux([*video.encode(frame), *audio.encode(sound)])
                time.sleep(max(0.0, begun + (index + 1) / FPS - time.monotonic()))

    def write(self, data):
        """What the muxer calls."""
        return self.wfile.write(data)

    def log_message(self, *args):
        """Say nothing."""


def usage(pid):
    """MB resident and seconds of CPU of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--break_minutes", type=float, default=30)
    parser.add_argument("--rate", default="2")
    parser.add_argument("--model", default="avs_mini.synthetic")
    parser.add_argument("--csv", default="soak.csv")
    options = parser.parse_args()
    Broadcast.seconds = options.break_minutes * 60
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broadcast)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, Path(options.csv).open("w") as table:
        lines, said = Path(folder, "masks.jsonl"), Path(folder, "said.txt")
        words = [f"http://127.0.0.1:{server.server_address[1]}/live.ts", "--json", str(lines), "--device", "cpu"]
        command = [
            sys.executable,
            "-m",
            "sonomask.cli.main",
            "live",
            *words,
            "--model",
            options.model,
            "--rate",
            options.rate,
        ]
        with said.open("w") as file:
            process = subprocess.Popen(command, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"})  # noqa: S603
        print("minute,mb,cpu_seconds,said", file=table, flush=True)
        memory = []
        for minute in range(1, options.minutes + 1):
            time.sleep(60)
            assert process.poll() is None, said.read_text()[-2000:]
            megabytes, cpu = usage(process.pid)
            memory.append(megabytes)
            last = said.read_text().splitlines()[-1:] or [""]
            print(f'{minute},{megabytes:.0f},{cpu:.0f},"{last[0]}"', file=table, flush=True)
        process.send_signal(signal.SIGTERM)  # who is started in the background is deaf to Ctrl-C
        code = process.wait(60)
        rows = [json.loads(line) for line in lines.read_text().splitlines()]
        print(said.read_text().splitlines()[-1])
    forward = all(a["time"] < b["time"] for a, b in pairwise(rows))
    print(f"exit {code}, {len(rows)} rows, whole and in order: {forward}, {cpu:.0f} s of CPU")
    print(
        "MB resident:", ", ".join(f"{m} min {memory[m - 1]:.0f}" for m in (1, 10, 30, 60, 90, 120) if m <= len(memory))
    )
    print(f"last minute {memory[-1]:.0f}, most {max(memory):.0f}")
    return int(code != 128 + signal.SIGTERM or not forward)


if __name__ == "__main__":
    sys.exit(main())
