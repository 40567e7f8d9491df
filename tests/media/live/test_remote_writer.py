"""Servers: one that is there, one that is not, one that is silent."""

import contextlib
import socket
import subprocess
import sys
import threading
import time

import av
import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.media.live.remote_writer import RemoteWriter

GREY, HISS = np.full((48, 64, 3), 128, np.uint8), np.full(1600, 0.25, np.float32)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_pictures_and_sound_are_streamed_over_rtmp():
    address, frames = f"rtmp://127.0.0.1:{free_port()}/live/a", []

    def serve():
        server = av.open(address, format="flv", options={"listen": "1"}, timeout=60)
        with server, contextlib.suppress(OSError):  # so FFmpeg's server takes the end of a broadcast
            frames.extend(frame.time for frame in server.decode(video=0))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    time.sleep(0.5)  # until it listens; the writer's process takes longer to start
    with RemoteWriter(address, size=(48, 64), sound=True) as out:
        for i in range(20):
            out.write(GREY, i / 10, HISS)
    thread.join(60)
    assert len(frames) == 20


def test_a_server_that_is_not_there_is_told_in_a_line():
    with pytest.raises(MediaError, match="written"):
        RemoteWriter(f"rtmp://127.0.0.1:{free_port()}/live/a", size=(48, 64), sound=False)


def test_a_server_that_says_nothing_is_given_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/a"
        with pytest.raises(MediaError, match=r"did not answer in 0\.5 s"):
            RemoteWriter(address, size=(48, 64), sound=False, timeout=0.5)


def test_the_process_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    for name in ("av", "numpy", "json", "pickle"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MediaError), RemoteWriter("rtmp://127.0.0.1:9/x", size=(32, 32), sound=False, timeout=5):
        pass
    assert not (tmp_path / "taken").exists()


def test_processes_that_a_command_starts_import_nothing_from_the_current_folder(tmp_path):
    (tmp_path / "multiprocessing.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'w')\n")
    code = (
        "import sys; sys.path = [p for p in sys.path if p]\n"
        "import multiprocessing, os\n"
        "from sonomask.cli.main import main\n"
        "if __name__ == '__main__':\n"
        "    main(['version'])\n"
        "    child = multiprocessing.get_context('spawn').Process(target=os.getpid)\n"
        "    child.start(); child.join(); raise SystemExit(child.exitcode)\n"
    )
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "run.py").write_text(code)
    assert subprocess.run([sys.executable, "elsewhere/run.py"], check=False, cwd=tmp_path).returncode == 0
    assert not (tmp_path / "taken").exists()
