"""Two days of `sonomask serve` in well under an hour: jobs, cancels, abandoned uploads, full disks and clocks that jump.

    python benchmarks/days.py --jobs 576 --seed 0

576 jobs are one each five minutes of two days, here one right after the other. Of every twelve, one is cancelled while it runs,
one upload is broken off, one file is no video, and one job's results are left until their time is over; the others are fetched,
half of them deleted. Every 24 jobs the server's disk (an image of 1 GB that is mounted: Linux and root are needed) is full for
a while, before a job is sent and while one runs. Every 36 the system's clock jumps by up to a day, ahead or back (libfaketime,
Debian's package `faketime`; left out where it is missing).

What must hold: each answer is the right one, a job works right after each fault, and after the first sixth neither the server's
memory nor its open files, threads, child processes or kept files grow.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import load
import numpy as np

from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
SOURCE = "127.0.0.1"
DISK = 1024 * load.MEGABYTE
KEEP = 90.0  # seconds that results stay
WHAT = {"MB": 40, "open files": 8, "threads": 4, "children": 2, "kept files": 60}  # what may come and go


class Days:
    """The server, its disk and clock, and what went wrong."""

    def __init__(self, site, disk, clock, seed):
        self.site, self.disk, self.clock, self.rng = site, disk, clock, random.Random(seed)
        self.fetched = []

    def upload(self, body, name="a.mp4"):
        """Status and answer."""
        status, _, said = self.site.ask(SOURCE, "POST", f"/v1/uploads?name={name}", body)
        return status, json.loads(said)

    def submit(self, body):
        """A job's status and answer."""
        status, about = self.upload(body)
        if status != 201:
            return status, about
        options = json.dumps({"upload": about["id"], "rate": 2, "formats": ["overlay", "jsonl"]})
        status, _, said = self.site.ask(SOURCE, "POST", "/v1/jobs", options, load.JSON)
        return status, json.loads(said)

    def wait(self, job):
        """The job once it has ended."""
        end = time.monotonic() + 120
        while job["state"] in ("queued", "running") and time.monotonic() < end:
            time.sleep(0.1)
            job = json.loads(self.site.ask(SOURCE, "GET", f"/v1/jobs/{job['id']}")[2])
        return job

    def whole(self, number, *, delete, fetch=True):
        """A job that must succeed."""
        status, job = self.submit(self.site.videos[number % len(self.site.videos)])
        job = self.wait(job) if status == 202 else {"state": f"refused: {status} {job}"}
        if job["state"] != "done":
            self.site.fault(f"job {number}: {job}")
            return
        self.site.count("done")
        if fetch:
            for file in job["files"].values():
                if self.site.ask(SOURCE, "GET", file)[0] != 200:
                    self.site.fault(f"job {number}: {file} can't be fetched")
        if delete and self.site.ask(SOURCE, "DELETE", f"/v1/jobs/{job['id']}")[0] != 204:
            self.site.fault(f"job {number} can't be deleted")

    def cancelled(self, number):
        """A job that is given up while it waits or runs."""
        status, job = self.submit(self.site.videos[number % len(self.site.videos)])
        if status != 202:
            self.site.fault(f"job {number}: refused: {status} {job}")
            return
        time.sleep(self.rng.uniform(0, 1.0))
        status = self.site.ask(SOURCE, "DELETE", f"/v1/jobs/{job['id']}")[0]
        self.site.count("cancelled")
        if status not in (202, 204):
            self.site.fault(f"cancel of job {number}: {status}")

    def broken_off(self):
        """An upload whose client goes away halfway."""
        with self.site.connect(SOURCE) as line:
            head = f"POST /v1/uploads?name=a.mp4 HTTP/1.1\r\nHost: 127.0.0.1:{self.site.port}\r\n"
            line.sendall(f"{head}Content-Type: video/mp4\r\nContent-Length: 900000\r\n\r\n".encode() + bytes(50_000))
        self.site.count("broken off")

    def no_video(self, number):
        """A file that is none; the upload or the job must say so."""
        status, job = self.submit(self.rng.randbytes(20_000))
        job = self.wait(job) if status == 202 else job
        self.site.count("no video")
        if status == 202 and (job["state"] != "failed" or not job["error"]):
            self.site.fault(f"job {number} of no video: {job}")

    def full_disk(self, number):
        """A job while the disk is full must end with a reason, one after it must work."""
        filler = self.disk / "filler"
        running = self.submit(self.site.videos[0])[1] if number % 48 == 20 else None
        with filler.open("wb") as file:
            free = os.statvfs(self.disk)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_bsize - load.MEGABYTE // 16)
        status, job = self.submit(self.site.videos[0])
        self.site.count("disk full")
        if status != 503 or "disk is full" not in job.get("detail", ""):
            self.site.fault(f"job {number} on a full disk: {status} {job}")
        if running:
            running = self.wait(running)
            self.site.count(f"running while the disk became full: {running['state']}")
            if running["state"] not in ("done", "failed") or (running["state"] == "failed" and not running["error"]):
                self.site.fault(f"a job while the disk became full: {running}")
        filler.unlink()
        self.whole(number, delete=True)

    def clock_jump(self, number):
        """The system's clock is set by up to a day; a job then must work."""
        self.clock.write_text(f"{self.rng.uniform(-86_400, 86_400):+.0f}s\n")
        self.site.count("clock jumped")
        self.whole(number, delete=True)

    def usage(self, pid):
        """MB resident, open files, threads, child processes and kept files."""
        children = Path(f"/proc/{pid}/task").glob("*/children")
        count = sum(len(path.read_text().split()) for path in children)
        return (*load.usage(pid), count, sum(path.is_file() for path in self.disk.rglob("*")))

    def run(self, jobs, process):
        """All jobs; gives a row of usage for each 24."""
        rows = []
        for number in range(jobs):
            kind = number % 12
            if kind == 3:
                self.cancelled(number)
            elif kind == 6:
                self.broken_off()
            elif kind == 8:
                self.no_video(number)
            else:
                self.whole(number, delete=kind % 2 == 0, fetch=kind != 10)
            if number % 24 == 20:
                self.full_disk(number)
            if self.clock and number % 36 == 30:
                self.clock_jump(number)
            if number % 24 == 23:
                rows.append((number + 1, *self.usage(process.pid)))
                used = ", ".join(f"{value:.0f} {what}" for value, what in zip(rows[-1][1:], WHAT, strict=True))
                print(f"after {number + 1} jobs: {used}", flush=True)
        return rows


def growth(site, rows):
    """Compare what is used after the first sixth with what is used at the end."""
    settled = rows[len(rows) // 6 :]
    half = len(settled) // 2
    for column, (what, least) in enumerate(
        [("MB", 40), ("open files", 8), ("threads", 4), ("children", 2), ("kept files", 60)], 1
    ):
        early, late = (float(np.median([row[column] for row in part])) for part in (settled[:half], settled[half:]))
        print(f"{what}: {early:.0f}, then {late:.0f}")
        if late > early + max(least, 0.05 * early):
            site.fault(f"{what} grow from {early:.0f} to {late:.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=576)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=7871)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        disk, clock = Path(folder, "disk"), Path(folder, "clock") if FAKETIME.exists() else None
        disk.mkdir()
        videos = []
        for seed in range(4):
            write_video(Path(folder, f"{seed}.mp4"), scene(seed, size=(64, 96), seconds=2), 8)
            videos.append(Path(folder, f"{seed}.mp4").read_bytes())
        image = Path(folder, "image")
        with image.open("wb") as file:
            file.truncate(DISK)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)  # noqa: S603, S607
        subprocess.run(["mount", "-o", "loop", image, disk], check=True)  # noqa: S603, S607
        try:
            more = {}
            if clock:
                clock.write_text("+0s\n")
                more = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1",
                        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1"}  # fmt: skip
            site = load.Site(args.port, videos, 1e9)
            words = ["--keep-hours", str(KEEP / 3600)]
            began, process = time.monotonic(), load.serve(disk, args.port, words, more)
            rows = Days(site, disk, clock, args.seed).run(args.jobs, process)
            for what, count in sorted(site.counts.items()):
                print(f"{count:6d} {what}")
            growth(site, rows)
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
            left = [str(path.relative_to(disk)) for path in disk.rglob("*sonomask*")]
            print(f"ended with {code} after {time.monotonic() - began:.0f} s, {len(left)} files left", *left[:5])
            if left:
                site.fault(f"{len(left)} files left")
        finally:
            with contextlib.suppress(NameError, ProcessLookupError):
                process.kill()
                process.wait()
            subprocess.run(["umount", disk], check=False)  # noqa: S603, S607
    print(f"{len(site.broken)} broken promises", *sorted(set(site.broken))[:20], sep="\n  ")
    return bool(site.broken)


if __name__ == "__main__":
    sys.exit(main())
