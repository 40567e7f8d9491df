"""Commands on a system that looks like Windows or macOS to Python: other modules, signals and rules for open files.

This shows that nothing which those systems lack is asked for, and that no open file is renamed or removed; not that FFmpeg,
ONNX Runtime or the file system work there.
"""

import json
import signal
import subprocess
import sys
import time

import httpx
import pytest

from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video

DISGUISE = """
import os, signal, stat, sys
import av, cv2, fsspec, numpy, onnxruntime, PIL.Image, pyarrow.parquet, pycocotools.mask  # they know where they run
import asyncio, http.client, multiprocessing.connection, multiprocessing.spawn, select, shutil, socket, subprocess, tempfile
import fastapi, urllib.request, uvicorn.lifespan.on, uvicorn.protocols.http.h11_impl, uvicorn.server

system, *words = sys.argv[1:]
if system == "win32":
    for name in ("fcntl", "resource", "pwd", "grp", "termios", "syslog"):
        sys.modules[name] = None
    for name in ("SIGHUP", "SIGPIPE", "SIGUSR1", "SIGALRM", "SIGCHLD", "pthread_sigmask", "sigwait"):
        delattr(signal, name)
    for name in ("fork", "killpg", "setsid", "getuid", "geteuid", "mkfifo", "O_NOFOLLOW", "O_NONBLOCK", "uname"):
        delattr(os, name)

    def refuse(path):
        for number in os.listdir("/proc/self/fd"):
            try:
                place = os.readlink(f"/proc/self/fd/{number}")
                whole = stat.S_ISREG(os.stat(place).st_mode)
            except OSError:
                continue
            if whole and (place == os.path.realpath(path) or place.startswith(os.path.realpath(path) + os.sep)):
                raise PermissionError(13, "The process cannot access the file because it is being used", str(path))

    def careful(function):
        def call(path, *more, **options):
            if not isinstance(path, int) and "dir_fd" not in options:
                refuse(path)
                if more and not isinstance(more[0], int):
                    refuse(more[0])
            return function(path, *more, **options)
        return call

    for name in ("rename", "replace", "remove", "unlink"):
        setattr(os, name, careful(getattr(os, name)))
else:
    for name in ("posix_fallocate", "sched_setaffinity", "pidfd_open", "memfd_create", "eventfd", "splice"):
        if hasattr(os, name):
            delattr(os, name)
delattr(os, "sched_getaffinity")
sys.modules["torch"] = None  # the core alone: torch knows where it runs, and does not believe this
asyncio.ProactorEventLoop = asyncio.SelectorEventLoop  # what uvicorn takes on Windows
sys.platform = system
from sonomask.cli.main import main
sys.exit(main(words))
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("Clip.mp4", "clip two.mp4")):
        write_video(folder / name, scene(seed, size=(64, 96), seconds=1), 8)
    return folder


def run(system, *words):
    ended = subprocess.run(
        [sys.executable, "-P", "-c", DISGUISE, system, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


@pytest.mark.parametrize("system", ["win32", "darwin"])
class TestCommands:
    def test_segment_writes_replaces_and_refuses(self, system, clips, tmp_path):
        words = ["segment", *sorted(clips.glob("*.mp4")), "--model", "avs_mini.synthetic", "--out", tmp_path]
        formats = ["--format", "overlay", "masks", "npz", "jsonl", "coco", "yolo", "hf", "srt", "alpha-webm", "sheet"]
        made = run(system, *words, *formats)
        assert made.returncode == 0, made.stderr
        first = sorted(path.name for path in tmp_path.iterdir())
        assert len(first) == 20, first
        assert run(system, *words, *formats).returncode == 2
        again = run(system, *words, *formats, "--overwrite")
        assert again.returncode == 0, again.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == first

    def test_batch_writes_and_goes_on(self, system, clips, tmp_path):
        words = ["batch", clips / "*.mp4", "--model", "avs_mini.synthetic", "--out", tmp_path / "out"]
        made = run(system, *words)
        assert made.returncode == 0, made.stderr
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
        assert before
        assert run(system, *words).returncode == 0
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == before
        assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix == ".part"]

    def test_serve_takes_a_video_gives_masks_and_removes_them(self, system, clips, tmp_path, monkeypatch):
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        words = [sys.executable, "-P", "-c", DISGUISE, system, "serve", "--port", "0", "--models", "avs_mini.synthetic"]
        with (tmp_path / "said.txt").open("w") as said:
            server = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT)
        try:
            address = spoken_address(server, tmp_path / "said.txt")

            def ask(method, path, body=None, kind="application/json"):
                headers = {"Content-Type": kind} if body is not None else {}
                answer = httpx.request(method, address + path, content=body, headers=headers, timeout=60)
                assert answer.is_success, answer.text
                return answer.content

            upload = json.loads(ask("POST", "/v1/uploads?name=a.mp4", (clips / "Clip.mp4").read_bytes(), "video/mp4"))
            options = json.dumps({"upload": upload["id"], "formats": ["overlay", "jsonl"]}).encode()
            job = json.loads(ask("POST", "/v1/jobs", options))
            end = time.monotonic() + 120
            while job["state"] in ("queued", "running") and time.monotonic() < end:
                time.sleep(0.2)
                job = json.loads(ask("GET", f"/v1/jobs/{job['id']}"))
            assert job["state"] == "done", job
            assert b'"time"' in ask("GET", job["files"]["jsonl"])
            ask("DELETE", f"/v1/jobs/{job['id']}")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        assert "Traceback" not in (tmp_path / "said.txt").read_text()
        assert not list(tmp_path.rglob("*.mp4"))


def spoken_address(server, said):
    """The address that a server prints once it listens."""
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        for word in said.read_text().split():
            if word.startswith("http://127.0.0.1:") and word.endswith("/"):
                return word.rstrip("/")
        time.sleep(0.2)
    raise AssertionError(said.read_text())
