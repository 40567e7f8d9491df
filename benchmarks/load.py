"""`sonomask serve` under many clients at once, some of them slow, cut off or hostile, on loopback and for a bounded time.

    python benchmarks/load.py --minutes 10 --clients 200 --seed 0

Each client has an address of its own (127.1.0.1 and on, as Linux allows). Of every ten, seven send small videos, submit, poll
and fetch. The other three have a vice: to send a byte a second, to send too much (with its length in the head, or in chunks
without one), to begin a request and not end it, to hang up halfway, to hold more connections than they may, or to ask for paths
of the machine. Another asks for `/v1/health` each second. A refused client comes back after some seconds.

What must hold: every job that was accepted ends as done, with the same bytes as any other of its kind; every refusal has its
status and reason in the one form; the bad are cut off; health always answers; memory stays flat; when all have gone no place in
the queue is taken, and when the server has ended no file is left.
"""

import argparse
import collections
import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video

KINDS = ("trickle", "oversized", "half a head", "hang up", "many connections", "paths")
WAIT = 300.0  # seconds after the end in which what was accepted must be done
PATIENCE = 100.0  # seconds that a bad client waits to be cut off
VIDEO, JSON = {"Content-Type": "video/mp4"}, {"Content-Type": "application/json"}
MEGABYTE = 2**20
PATHS = ("/dev/zero", "/proc/self/fd/3", "../../etc/shadow", "http://127.0.0.1:9/x.mp4")


class Site:
    """The server's address, and what was seen there."""

    def __init__(self, port, videos, seconds):
        self.port, self.videos, self.end = port, videos, time.monotonic() + seconds
        self.counts, self.lock = collections.Counter(), threading.Lock()
        self.health, self.waits, self.broken = [], [], []
        self.cuts, self.digests = collections.defaultdict(list), collections.defaultdict(set)

    def count(self, what):
        """One more of these."""
        with self.lock:
            self.counts[what] += 1

    def fault(self, text):
        """Something that must not be."""
        with self.lock:
            self.broken.append(text)

    @property
    def over(self):
        """Whether the time is over."""
        return time.monotonic() > self.end

    def connect(self, source, timeout=60.0):
        """A connection from an address."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout, source_address=(source, 0))

    def ask(self, source, method, path, body=None, headers=VIDEO, timeout=180.0):
        """Status, headers and body of an answer; a connection for each."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout, source_address=(source, 0))
        try:
            connection.request(method, path, body, headers if body is not None else {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


def refused(site, status, headers, body, what):
    """Note a refusal, which must say why and in the one form."""
    try:
        problem = json.loads(body)
        fine = (
            problem["status"] == status and problem["detail"] and headers["Content-Type"] == "application/problem+json"
        )
    except (ValueError, KeyError):
        fine = False
    if not fine or status not in (429, 503):
        site.fault(f"{what}: {status} {body[:150]!r}")
    site.count(f"{what} refused: {status}")


def ordinary(site, source, rng):
    """Upload, submit, poll, fetch."""
    kind, index = rng.choice(("overlay", "jsonl")), rng.randrange(len(site.videos))
    at = "/v1/uploads?" + urlencode({"name": f"{index}.mp4"})
    status, headers, body = site.ask(source, "POST", at, site.videos[index])
    if status != 201:
        refused(site, status, headers, body, "upload")
        time.sleep(rng.uniform(2, 8))
        return
    options = json.dumps({"upload": json.loads(body)["id"], "rate": 2, "formats": [kind]})
    while True:
        status, headers, body = site.ask(source, "POST", "/v1/jobs", options, JSON)
        if status == 202 or site.over:
            break
        refused(site, status, headers, body, "job")
        time.sleep(rng.uniform(5, 15))
    if status == 202:
        site.count("accepted")
        follow(site, source, rng, json.loads(body), (kind, index))


def follow(site, source, rng, job, key):
    """Poll a job that was accepted until it is done, then fetch its result."""
    began = time.monotonic()
    while job["state"] in ("queued", "running") and time.monotonic() < max(site.end, began) + WAIT:
        time.sleep(rng.uniform(1, 3))
        status, body = patiently(site, source, rng, "GET", f"/v1/jobs/{job['id']}")
        if status != 200:
            break
        job = json.loads(body)
    if job["state"] != "done":
        site.count("lost")
        site.fault(f"accepted, then {job['state']}: {job['error']}")
        return
    status, body = patiently(site, source, rng, "GET", job["files"][key[0]])
    site.count("done and fetched" if status == 200 and body else "lost")
    with site.lock:
        site.waits.append(time.monotonic() - began)
        site.digests[key].add(hashlib.sha256(body).hexdigest())
    if rng.random() < 0.5 and patiently(site, source, rng, "DELETE", f"/v1/jobs/{job['id']}")[0] != 204:
        site.fault("a job can't be deleted")


def patiently(site, source, rng, method, path):
    """Status and body of an answer, asked for again as long as no connection is free."""
    while True:
        status, _, body = site.ask(source, method, path)
        if status not in (429, 503):
            return status, body
        time.sleep(rng.uniform(1, 3))


def bad(site, source, kind, turn):
    """One attempt of a bad client; it must be refused or cut off."""
    if kind == "oversized":
        whole = bytes(MEGABYTE * 3 // 2)
        body = whole if turn % 2 else (whole[i : i + 65536] for i in range(0, len(whole), 65536))
        status = None
        with contextlib.suppress(ConnectionError):  # cut off before all was sent
            status = site.ask(source, "POST", "/v1/uploads", body)[0]
        site.count(f"oversized: {'cut off' if status is None else status}")
        if status not in (None, 413, 429, 503):
            site.fault(f"oversized: {status}")
    elif kind == "paths":
        options = json.dumps({"upload": PATHS[turn % len(PATHS)]})
        status = site.ask(source, "POST", "/v1/jobs", options, JSON)[0]
        site.count(f"paths: {status}")
        if status not in (404, 429, 503):
            site.fault(f"a path was taken: {status}")
    elif kind == "many connections":
        with contextlib.ExitStack() as stack, contextlib.suppress(ConnectionError):
            lines = [stack.enter_context(site.connect(source)) for _ in range(20)]
            lines[-1].settimeout(20)
            answer = lines[-1].recv(100)
            site.count(f"many connections: {answer[9:12].decode() or 'closed'}")
            if b" 429 " not in answer[:16] and b" 503 " not in answer[:16]:
                site.fault(f"the 20th connection of a client: {answer[:40]!r}")
            time.sleep(3)
    else:
        slow(site, source, kind)
    time.sleep(4)


def slow(site, source, kind):
    """One attempt of a client that is slow, or hangs up halfway."""
    with site.connect(source, PATIENCE) as line:
        head = f"POST /v1/uploads HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n"
        whole = f"{head}Content-Type: video/mp4\r\nContent-Length: 900000\r\n\r\n"
        line.sendall((head if kind == "half a head" else whole).encode())
        if kind == "hang up":
            line.sendall(bytes(5000))
            time.sleep(1)
            site.count("hung up")
            return
        seconds, answer = endure(line, kind, time.monotonic())
    full = answer[9:12] in (b"503", b"429")
    site.count(f"{kind}: turned away" if full else f"{kind}: {'NOT ' if seconds is None else ''}cut off")
    if seconds is None:
        site.fault(f"{kind}: not cut off after {PATIENCE:.0f} s")
    elif not full:
        site.cuts[kind].append(seconds)


def endure(line, kind, began):
    """Send a byte a second if that is the kind, until the server has had enough: after how many seconds, and its answer."""
    line.settimeout(1.0)
    while time.monotonic() < began + PATIENCE:
        try:
            answer = line.recv(4096)
        except TimeoutError:
            with contextlib.suppress(ConnectionError):
                line.sendall(b"x" if kind == "trickle" else b"")
            continue
        except ConnectionError:
            answer = b""
        return time.monotonic() - began, answer
    return None, b""


def client(site, number, seed):
    """One client until the end."""
    rng, place = random.Random(f"{seed}/{number}"), number % 10
    source = f"127.1.{number // 200}.{number % 200 + 1}"
    kind = KINDS[(3 * (number // 10) + place) % len(KINDS)] if place >= 7 else None
    time.sleep(rng.uniform(0, 10))
    turn = 0
    while not site.over:
        try:
            bad(site, source, kind, turn) if kind else ordinary(site, source, rng)
        except (OSError, http.client.HTTPException) as error:
            site.count("connections that failed")
            if kind != "many connections":
                site.fault(f"{kind or 'ordinary'}: {type(error).__name__}: {error}")
            time.sleep(1)
        turn += 1


def ask_health(site):
    """Each second."""
    while not site.over:
        began = time.monotonic()
        try:
            status, _, body = site.ask("127.0.0.1", "GET", "/v1/health", timeout=20)
            about = json.loads(body)
            if status == 503:
                site.count("health: no connection was free")
            elif status != 200 or about["busy"] > about["queue"]:
                site.fault(f"health: {status} {about}")
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            site.fault(f"health: {type(error).__name__}: {error}")
        site.health.append(time.monotonic() - began)
        time.sleep(max(0.0, began + 1 - time.monotonic()))


def usage(pid):
    """MB resident, open files and threads of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status["Threads"])


def serve(folder, port, words=(), environment=None):
    """The server as a process, once it answers."""
    words = ["serve", "--models", "avs_mini.synthetic", "--port", str(port), "--max-mb", "1", "--device", "cpu", *words]
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", **(environment or {})}
    with (folder.parent / "said.txt").open("w") as file:
        command = [sys.executable, "-m", "sonomask.cli.main", *words]
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)  # noqa: S603
    end = time.monotonic() + 300
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(b"GET /v1/health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            if line.recv(20):
                return process
        time.sleep(0.5)
    process.kill()
    raise SystemExit((folder.parent / "said.txt").read_text())


def load(site, process, clients, seed):
    """All clients at once; gives (minute, MB, files, threads) at the start and at each minute."""
    threads = [threading.Thread(target=client, args=(site, number, seed)) for number in range(clients)]
    threads.append(threading.Thread(target=ask_health, args=(site,)))
    began, rows = time.monotonic(), [(0, *usage(process.pid))]
    for thread in threads:
        thread.start()
    while not site.over:
        time.sleep(max(0.0, min(began + 60 * len(rows), site.end + 0.1) - time.monotonic()))
        rows.append((len(rows), *usage(process.pid)))
    for thread in threads:
        thread.join()
    return rows


def rest(site, process, folder):
    """What is left when all have gone, and when the server has ended."""
    end = time.monotonic() + 60
    while (busy := json.loads(site.ask("127.0.0.1", "GET", "/v1/health")[2])["busy"]) and time.monotonic() < end:
        time.sleep(1)
    kept = len(list(folder.glob("*/*/files/jobs/*")))
    print(
        f"when all have gone: {busy} places taken, {kept} folders kept, %.0f MB, %d files, %d threads"
        % usage(process.pid)
    )
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)  # a program that was started in the background is deaf to Ctrl-C
    code = process.wait(60)
    took, left = time.monotonic() - began, [str(path.relative_to(folder)) for path in folder.rglob("*sonomask*")]
    print(f"when the server has ended (exit {code}, after {took:.1f} s): {len(left)} files left", *left[:10])
    if busy or left or took > 10:
        site.fault(f"{busy} places taken, {len(left)} files left, {took:.1f} s to end")


def report(site, rows):
    """What was seen."""
    for what, count in sorted(site.counts.items()):
        print(f"{count:6d} {what}")
    if site.waits:
        print(f"accepted to fetched: median {statistics.median(site.waits):.1f} s, most {max(site.waits):.1f} s")
    for kind, seconds in site.cuts.items():
        print(f"{kind}: cut off after {min(seconds):.0f} to {max(seconds):.0f} s")
    times = sorted(site.health)
    print(f"health: {len(times)} answers, median {1e3 * statistics.median(times):.0f} ms, "
          f"95 %: {1e3 * times[len(times) * 95 // 100]:.0f} ms, most {1e3 * times[-1]:.0f} ms")  # fmt: skip
    for minute, megabytes, files, threads in rows:
        print(f"minute {minute}: {megabytes:.0f} MB, {files} open files, {threads} threads")
    for key, digests in site.digests.items():
        if len(digests) > 1:
            site.fault(f"{key}: {len(digests)} different results")
    print(f"{len(site.broken)} broken promises", *sorted(set(site.broken))[:20], sep="\n  ")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        temporary, videos = Path(folder, "tmp"), []
        temporary.mkdir()
        for index in range(4):
            write_video(Path(folder, f"{index}.mp4"), scene(index, size=(48, 64), seconds=2), 8)
            videos.append(Path(folder, f"{index}.mp4").read_bytes())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = serve(temporary, port)
        try:
            site = Site(port, videos, 60 * options.minutes)
            rows = load(site, process, options.clients, options.seed)
            rest(site, process, temporary)
        finally:
            process.kill()
        report(site, rows)
        print(*Path(folder, "said.txt").read_text().splitlines()[:20], sep="\n| ")
    return int(bool(site.broken))


if __name__ == "__main__":
    sys.exit(main())
