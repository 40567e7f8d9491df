"""`sonomask serve` as a process: how it starts, how it ends, what it leaves."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from sonomask.media.sandbox.confine import Strength
from sonomask.server import serve as room

PATIENCE = 180


@pytest.fixture
def start(tmp_path):
    """Starts servers with options; gives the process and the line that it printed."""
    made = []

    def begin(*words, ready=True):
        command = [
            sys.executable,
            "-m",
            "sonomask.cli.main",
            "serve",
            "--models",
            "avs_mini.synthetic",
            "--device",
            "cpu",
        ]
        environment = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*command, "--port", "0", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a shell's jobs ignore it
        )
        made.append(process)
        line = ""
        while ready and not line.startswith("sonomask: http"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
        return process, line

    yield begin
    for process in made:
        process.kill()
        process.communicate()


def port_of(line):
    return int(line.split("/?")[0].split("  ")[0].rstrip("/").rsplit(":", 1)[1])


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None


def failing(capsys, *words):
    """The exit code and the lines of standard error of a server that does not start."""
    from sonomask.cli import main as cli

    code = cli.main(["serve", *words])
    return code, capsys.readouterr().err.splitlines()


def test_a_port_that_is_taken_is_one_line_and_exit_code_2(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, lines = failing(capsys, "--port", str(other.getsockname()[1]))
    assert code == 2
    assert len(lines) == 1
    assert "Give another --host or --port" in lines[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "99999"], "`port`"), (["--host", "nowhere.invalid"], "Can't listen at nowhere.invalid"),
        (["--host", "203.0.113.7"], "Can't listen at"), (["--token", "short"], "`token`"),
        (["--models", "nonsense", "--port", "0"], "nonsense"), (["--max-mb", "0"], "`bytes`"),
        (["--root-path", "x"], "`root_path`"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_one_line_and_exit_code_2(capsys, words, says):
    code, lines = failing(capsys, *words)
    assert code == 2
    assert len(lines) == 1
    assert says in lines[0]


def test_without_a_sandbox_only_this_machine_is_served(capsys, monkeypatch):
    monkeypatch.setattr(room, "sandbox_strength", lambda: Strength(files=True, calls=False, memory=True))
    for words in (["--host", "0.0.0.0"], ["--allowed-hosts", "media.example.org"]):  # noqa: S104
        code, lines = failing(capsys, "--port", "0", *words)
        assert code == 2
        assert "--unsafe-decoding" in lines[0]


def test_without_a_sandbox_the_page_says_so(runner, monkeypatch):
    from fastapi.testclient import TestClient

    monkeypatch.setattr(room, "sandbox_strength", lambda: Strength(files=True, calls=False, memory=True))
    client = TestClient(room.application(runner, {"m": "A model."}), base_url="http://127.0.0.1")
    assert "without a full sandbox" in client.get("/v1/about").json()["warnings"][0]


def test_ctrl_c_is_quiet_and_leaves_nothing(start, tmp_path):
    process, _ = start()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines() == ["sonomask: stopped."]
    assert "Traceback" not in out
    assert list(tmp_path.glob("sonomask*")) == []


def test_sigterm_ends_it_in_time_while_it_works_and_leaves_nothing(start, tmp_path, clip):
    process, line = start()
    port = port_of(line)
    _, upload = ask(port, "POST", "/v1/uploads", clip.read_bytes(), **{"Content-Type": "video/mp4"})
    _, job = ask(
        port,
        "POST",
        "/v1/jobs",
        json.dumps({"upload": upload["id"], "rate": 60}),
        **{"Content-Type": "application/json"},
    )
    listener = socket.create_connection(("127.0.0.1", port))
    listener.sendall(f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=11)
    listener.close()
    assert process.returncode == 143
    assert not children.exists()
    assert list(tmp_path.glob("sonomask*")) == []


def test_what_a_killed_server_left_is_swept_by_the_next(start, tmp_path, clip):
    process, line = start()
    ask(port_of(line), "POST", "/v1/uploads", clip.read_bytes(), **{"Content-Type": "video/mp4"})
    process.kill()
    process.wait()
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 1000]
    assert left
    start()
    end = time.monotonic() + 10
    while any(path.exists() for path in left) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(path.exists() for path in left)


def test_results_and_videos_under_a_folder_outlive_the_server(start, clip, tmp_path):
    words = ("--folder", str(tmp_path / "kept"))
    process, line = start(*words)
    _, upload = ask(port_of(line), "POST", "/v1/uploads?name=a.mp4", clip.read_bytes(), **{"Content-Type": "video/mp4"})
    body = json.dumps({"upload": upload["id"], "rate": 1})
    _, job = ask(port_of(line), "POST", "/v1/jobs", body, **{"Content-Type": "application/json"})
    end = time.monotonic() + PATIENCE
    while job["state"] in ("queued", "running") and time.monotonic() < end:
        time.sleep(0.2)
        _, job = ask(port_of(line), "GET", f"/v1/jobs/{job['id']}")
    second, _ = start(*words, ready=False)
    assert "another server uses" in second.communicate(timeout=PATIENCE)[1]
    assert second.returncode == 2
    process.kill()
    process.wait()
    _, line = start(*words)
    _, again = ask(port_of(line), "GET", f"/v1/jobs/{job['id']}")
    assert again == job
    assert job["state"] == "done"
    assert ask(port_of(line), "GET", f"/v1/uploads/{upload['id']}") == (200, upload)
    _, sources = ask(port_of(line), "GET", f"/v1/jobs/{job['id']}/sources")
    alone = json.dumps({"sources": [source["id"] for source in sources]})
    assert (
        ask(port_of(line), "POST", f"/v1/jobs/{job['id']}/sources", alone, **{"Content-Type": "application/json"})[0]
        == 202
    )


def test_two_servers_do_not_sweep_one_another(start, clip):
    _, line = start()
    _, upload = ask(port_of(line), "POST", "/v1/uploads", clip.read_bytes(), **{"Content-Type": "video/mp4"})
    start()
    assert ask(port_of(line), "GET", f"/v1/uploads/{upload['id']}")[0] == 200


def test_a_folder_that_another_made_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(room.tempfile, "gettempdir", lambda: str(tmp_path))
    other = tmp_path / "elsewhere"
    other.mkdir()
    (tmp_path / f"sonomask-server-{os.getuid()}").symlink_to(other)
    assert room._own_folder() != tmp_path / f"sonomask-server-{os.getuid()}"


def test_other_addresses_get_a_link_with_a_token(start):
    _, line = start("--host", "0.0.0.0")  # noqa: S104
    port, token = port_of(line), line.split("token=")[1].split()[0]
    assert len(token) >= 32
    assert ask(port, "GET", "/v1/about", Host=f"127.0.0.1:{port}")[0] == 401
    assert ask(port, "GET", "/v1/about", Host=f"127.0.0.1:{port}", Authorization=f"Bearer {token}")[0] == 200
