"""Feeds broken and hostile media to the reader and the segmenter, and looks how each ends.

    python benchmarks/hostile.py --count 2000 --seed 0 [--sandbox]

Every file must end in a result or in a one-line error of `sonomask.errors`, within --seconds and --megabytes, and leave
whole outputs or none. The work is done by a child, so that a crash or a hang is seen and counted. With --sandbox, as
`serve` and `batch` do it, the decoder is a child of that one: its seconds and its memory count too.
"""

import argparse
import collections
import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import corpus

from sonomask.errors import SonomaskError


def feed(path: Path, *, sandbox: bool = False) -> str:
    """Everything that the package does with a file from outside; gives how it ended."""
    endings = [_segment(path, sandbox=sandbox)]
    if path.suffix in (".png", ".jpeg"):
        endings.append(_try(lambda: _picture(path)))
    else:
        endings.append(_try(lambda: _sound(path)))
    return "; ".join(endings)


def _segment(path, *, sandbox):
    from sonomask.api import segment
    from sonomask.media.opening import Limits

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        listens = hash_of(path.name) % 2 == 0 and path.suffix not in (".png", ".jpeg")
        limits = Limits(seconds=600, gap=60)
        ending = _try(
            lambda: segment(
                path, out, _stub(listens), rate=2.0, formats=("overlay", "masks", "npz"), sandbox=sandbox, limits=limits
            )
        )
        found = sorted(p.name for p in out.iterdir()) if out.exists() else []
        if len(found) != (3 if ending == "result" else 0):
            ending += f" BUT LEFT {found}"
    return ending


def hash_of(name):
    return sum(name.encode())


def _picture(path):
    from sonomask.safe_reading.pictures import open_picture

    open_picture(path, "RGB")


def _sound(path):
    from sonomask.data.sound import read_wav

    track = read_wav(path)
    assert track.ndim == 1
    assert len(track) <= 60 * 16_000


def _stub(listens):
    import torch
    from torch import nn

    from sonomask.batches import Output
    from sonomask.structures import ModelConfig

    class Stub(nn.Module):
        config = ModelConfig("stub", image_size=(24, 32), clip_length=3, listens=listens)

        def forward(self, images, logmel, valid=None):  # noqa: ARG002
            heard = 0 if logmel is None else logmel.mean((2, 3, 4))[..., None, None]
            return Output((images.mean(2) + heard)[:, :, None].to(torch.float32))

    return Stub()


def _try(call):
    try:
        call()
        return "result"
    except SonomaskError as error:
        text = str(error)
        return f"UNCLEAR {text!r}" if "\n" in text.strip() or not text else f"known: {text}"
    except Exception as error:
        import traceback

        place = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)][-4:]
        return f"TRACEBACK {type(error).__name__}: {str(error)[:200]} at {' '.join(place)}"


def child(sandbox):
    """Reads paths, writes a JSON line for each."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("error")
    feed(Path("nothing.mp4"), sandbox=False)  # imports
    print("ready", flush=True)
    for line in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")
        before, largest, began = _peak(), _guarded().ru_maxrss, _seconds()
        ending = feed(Path(line.strip()), sandbox=sandbox)
        grown = _guarded().ru_maxrss  # of the largest so far: this file's if it is larger than before
        megabytes = max(_peak() - before, grown / 1024 if grown > largest else 0)
        print(json.dumps({"ending": ending, "cpu": _seconds() - began, "megabytes": megabytes}), flush=True)


def _guarded():
    """What the decoders in the sandbox took that have ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN)


def _seconds():
    """Of computing, here and in the sandbox."""
    return time.process_time() + _guarded().ru_utime + _guarded().ru_stime


def _peak():
    """Largest resident size since it was reset, in MB."""
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


class Child:
    """A process that is given files, and replaced when it dies or takes too long."""

    def __init__(self, seconds, *, sandbox=False):
        self.seconds, self.sandbox, self.process = seconds, sandbox, None

    def run(self, path):
        """How a file ended."""
        if self.process is None or self.process.poll() is not None:
            words = [sys.executable, str(Path(__file__)), "--child", *(["--sandbox"] if self.sandbox else [])]
            self.process = subprocess.Popen(  # noqa: S603 - ourselves
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            self.process.stdout.readline()  # it is ready
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        if not self._ready():
            self.process.kill()
            self.process.wait()
            return {"ending": f"HANG over {self.seconds:.0f} s", "cpu": self.seconds, "megabytes": 0}
        line = self.process.stdout.readline()
        if not line:
            return {"ending": f"CRASH {self.process.wait()}", "cpu": 0, "megabytes": 0}
        return json.loads(line)

    def _ready(self):
        """Whether an answer comes within so many seconds of computing, or ten times as many if it only waits."""
        began, first = time.monotonic(), self._cpu()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not selector.select(1.0):
                if self._cpu() - first > self.seconds or time.monotonic() - began > 10 * self.seconds:
                    return False
        return True

    def _cpu(self):
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        """Let it end."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()


def run(files, *, seconds=60.0, megabytes=1500.0, sandbox=False):
    """(name, row) of each file; a row whose "bad" is set broke a promise."""
    runner = Child(seconds, sandbox=sandbox)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files:
            path = Path(folder, name)
            path.write_bytes(data)
            row = runner.run(path)
            parts = row["ending"].split("; ")
            fine = all(part == "result" or part.startswith("known: ") for part in parts if part)
            row["bad"] = not fine or row["megabytes"] > megabytes
            path.unlink()
            yield name, row
    runner.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--megabytes", type=float, default=1500)
    parser.add_argument("--keep", type=Path, help="folder for the files that break a promise")
    parser.add_argument("--sandbox", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.sandbox)
    began, counts, slowest, largest, bad = time.monotonic(), collections.Counter(), (0, ""), (0, ""), 0
    files = dict(corpus.corpus(options.count, options.seed))
    for name, row in run(files.items(), seconds=options.seconds, megabytes=options.megabytes, sandbox=options.sandbox):
        first = row["ending"].split("; ")[0]
        counts["result" if first == "result" else "known error" if first.startswith("known") else "bad"] += 1
        slowest, largest = max(slowest, (row["cpu"], name)), max(largest, (row["megabytes"], name))
        if sum(counts.values()) % 100 == 0:
            print(f"{sum(counts.values())} files: {dict(counts)}, {time.monotonic() - began:.0f} s", flush=True)
        if row["bad"]:
            bad += 1
            print(name, json.dumps(row), flush=True)
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / name).write_bytes(files[name])
    print(f"{len(files)} files, seed {options.seed}: {dict(counts)}, {bad} broke a promise")
    print(f"slowest {slowest[0]:.1f} s of CPU ({slowest[1]}), most memory {largest[0]:.0f} MB ({largest[1]})")
    print(f"{time.monotonic() - began:.0f} s, {os.cpu_count()} cores")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
