"""Behind real nginx and Caddy, under a path, with the lines of the guide; on Debian: apt-get install nginx-light caddy."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")
import httpx

from sonomask.server.guard import Access
from sonomask.server.jobs import Runner
from sonomask.server.serve import application

GUIDE = (Path(__file__).parents[2] / "docs" / "trips" / "serve.md").read_text(encoding="utf-8")
TOKEN, HOST = "a-token-of-some-length", "media.example.org"
NGINX = (
    "proxy_buffering off; proxy_request_buffering off; client_max_body_size 200m;",
    "proxy_set_header Host $host;",
    "proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto",
)
CADDY = ("flush_interval -1", "handle_path /sonomask/*")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nginx(folder, port, behind):
    """Leaves the path on; says that TLS ends at it."""
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    words = " ".join((*NGINX[:2], f"{NGINX[2]} https;"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/log; events {{}} http {{ access_log off; {temporary}"
        f" server {{ listen 127.0.0.1:{port}; location /sonomask/ {{ proxy_pass http://127.0.0.1:{behind}; {words} }} }} }}"
    )
    return ["nginx", "-p", str(folder), "-e", str(folder / "log"), "-c", str(folder / "nginx.conf")]


def caddy(folder, port, behind):
    """Cuts the path off."""
    forward = f"reverse_proxy 127.0.0.1:{behind} {{\n {CADDY[0]}\n header_up X-Forwarded-Proto https\n }}"
    (folder / "Caddyfile").write_text(
        f"{{\n admin off\n storage file_system {folder}\n}}\n"
        f"http://:{port} {{\n bind 127.0.0.1\n {CADDY[1]} {{\n {forward}\n }}\n}}\n"
    )
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def work(job):
    """Takes long enough for several events."""
    for tenth in range(10):
        job.report(tenth, 10)
        time.sleep(0.25)
    job.files["overlay"] = job.folder / "result.overlay.mp4"
    job.files["overlay"].write_bytes(job.source.read_bytes())


@pytest.fixture(params=[nginx, caddy])
def site(request, tmp_path, serve_app):
    """The address at which a proxy shows a server."""
    make = request.param
    if shutil.which(make.__name__) is None:
        pytest.skip(f"no {make.__name__} here")
    (tmp_path / "server").mkdir()
    access = Access(("127.0.0.1", HOST), token=TOKEN, origins=(HOST,), root="/sonomask")
    with (
        Runner(work, tmp_path / "server") as runner,
        serve_app(application(runner, {"any": ""}, access), proxies=("127.0.0.1",)) as own,
    ):
        port, behind = free_port(), int(own.rstrip("/").rsplit(":", 1)[1])
        environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
        process = subprocess.Popen(make(tmp_path, port, behind), stderr=subprocess.DEVNULL, env=environment)
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def test_the_guide_has_these_lines():
    for line in (*NGINX, *CADDY):
        assert line in GUIDE


def test_a_video_goes_through_a_proxy_under_a_path(site, clip):
    headers = {"Host": HOST, "Origin": f"https://{HOST}"}
    with httpx.Client(headers=headers, timeout=60) as client:
        assert client.get(f"{site}/sonomask/v1/about").status_code == 401
        page = client.get(f"{site}/sonomask/", params={"token": TOKEN}, headers={"Accept": "text/html"})
        (cookie,) = page.headers.get_list("set-cookie")
        assert "Path=/sonomask;" in cookie
        assert "Secure" in cookie  # it believes the proxy that TLS is in front
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        video = {"Content-Type": "video/mp4"}
        upload = client.post(f"{site}/sonomask/v1/uploads", content=clip.read_bytes(), headers=video).json()
        answer = client.post(f"{site}/sonomask/v1/jobs", json={"upload": upload["id"]})
        assert answer.headers["location"] == f"/sonomask/v1/jobs/{answer.json()['id']}"
        came, events = [], []
        with client.stream("GET", f"{site}{answer.headers['location']}/events") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    came.append(time.monotonic())
                    events.append(json.loads(line[6:]))
        assert events[-1]["state"] == "done"
        assert len(events) > 3
        assert came[-1] - came[0] > 1  # they come as they happen, not together at the end
        assert client.get(site + events[-1]["files"]["overlay"]).content == clip.read_bytes()
        assert client.get(site + events[-1]["page"]).status_code == 200
        refused = client.post(f"{site}/sonomask/v1/session", headers={"Origin": "https://evil.example.org"})
        assert refused.status_code == 403
