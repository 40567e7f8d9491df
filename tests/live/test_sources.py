"""Every kind of network source: it comes, breaks off, and comes back. FFmpeg (of Debian) is at the other end."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from socketserver import StreamRequestHandler, ThreadingTCPServer

import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.live.run import LiveRun, Outputs
from sonomask.live.segmenter import LiveSegmenter
from sonomask.media.live.remote_writer import RemoteWriter
from sonomask.media.live.source import parse_source
from sonomask.media.reader import VideoReader

FFMPEG = shutil.which("ffmpeg")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FFMPEG is None, reason="no ffmpeg program here; on Debian: apt-get install ffmpeg"),
]
PICTURES = "color=black:s=64x48:r=20,drawbox=x=0:y=0:w=32:h=48:color=white:t=fill"  # the left half is bright
ENCODED = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10", "-pix_fmt", "yuv420p",
           "-c:a", "aac", "-ar", "44100", "-ac", "1")  # fmt: skip


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def send(*target):
    """FFmpeg that sends a drawn stream in real time."""
    command = [FFMPEG, "-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", PICTURES,
               "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", *ENCODED, *target]  # fmt: skip
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def process(*target):
    """The same for as long as a block lasts; one that ended since its client left is started again."""
    over = threading.Event()
    running = [send(*target)]

    def watch():
        while not over.wait(0.1):
            if running[0].poll() is not None:
                running[0] = send(*target)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        running[0].send_signal(signal.SIGKILL)
        running[0].wait()


class UDP:
    def __init__(self, _folder):
        self.url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"

    def serve(self):
        return process("-f", "mpegts", f"{self.url}?pkt_size=1316")


class SRT:
    def __init__(self, _folder):
        self.url = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"

    def serve(self):
        return process("-f", "mpegts", f"{self.url}?mode=listener")


class RTMP:
    def __init__(self, _folder):
        self.url = f"rtmp://127.0.0.1:{free_port()}/live/key"

    def serve(self):
        return process("-f", "flv", "-listen", "1", self.url)


class HLS:
    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}/live.m3u8"

    @contextlib.contextmanager
    def serve(self):
        handler = partial(Quiet, directory=str(self.folder))
        with ThreadingHTTPServer(("127.0.0.1", self.port), handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            form = ("-f", "hls", "-hls_time", "1", "-hls_list_size", "4", "-hls_flags", "delete_segments")
            try:
                with process(*form, str(self.folder / "live.m3u8")):
                    yield
            finally:
                server.shutdown()
                for path in self.folder.iterdir():
                    path.unlink()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class RTSP:
    """A server of one stream, which sends FFmpeg's RTP packets within its TCP connections, as cameras do."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}/stream"

    @contextlib.contextmanager
    def serve(self):
        sdp, sockets = self.folder / "stream.sdp", []
        sdp.unlink(missing_ok=True)
        for _ in range(2):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind(("127.0.0.1", 0))
            sockets.append(one)
        video, audio = (f"rtp://127.0.0.1:{one.getsockname()[1]}?pkt_size=1200" for one in sockets)
        tracks = ("-map", "0:v", "-bsf:v", "dump_extra", "-f", "rtp", "-sdp_file", str(sdp), video)
        with process(*tracks, "-map", "1:a", *ENCODED[-6:], "-f", "rtp", audio):
            until(lambda: sdp.exists() and sdp.read_text().count("m=") == 2)
            text = re.sub(r"(m=\w+) \d+", r"\1 0", sdp.read_text())
            for track in (0, 1):  # a name for each
                text = re.sub(
                    r"(m=(?:video|audio)[^\0]*?a=rtpmap:[^\n]*\n)(?!a=control)",
                    rf"\1a=control:track{track}\n",
                    text,
                    count=1,
                )
            server = Camera(("127.0.0.1", self.port), text, sockets)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield
            finally:
                server.over.set()
                for thread in server.relays:
                    thread.join()
                server.shutdown()
                server.server_close()
                for one in sockets:
                    one.close()


class Camera(ThreadingTCPServer):
    """RTSP 1.0 with interleaved RTP: OPTIONS, DESCRIBE, SETUP, PLAY."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, address, description, sockets):
        self.description, self.over, self.watching = description, threading.Event(), []
        super().__init__(address, Session)
        self.relays = [
            threading.Thread(target=self.relay, args=(2 * channel, one), daemon=True)
            for channel, one in enumerate(sockets)
        ]
        for thread in self.relays:
            thread.start()

    def relay(self, channel, packets):
        packets.settimeout(0.1)
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                data = packets.recv(65536)
                for client in list(self.watching):
                    try:
                        client.sendall(b"$" + bytes([channel]) + len(data).to_bytes(2, "big") + data)
                    except OSError:
                        self.watching.remove(client)
        for client in list(self.watching):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


class Session(StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                if line[:1] == b"$":  # a report of what was received
                    continue
                words, head = line.split(), {}
                while (row := self.rfile.readline().strip()) not in (b"", b"\r\n"):
                    name, _, value = row.partition(b":")
                    head[name.lower()] = value.strip()
                if len(words) == 3:
                    self.answer(words[0], words[1], head)

    def answer(self, method, address, head):
        body, more = b"", {b"Session": b"1"}
        if method == b"OPTIONS":
            more[b"Public"] = b"OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
        elif method == b"DESCRIBE":
            body = self.server.description.encode()
            more |= {b"Content-Type": b"application/sdp", b"Content-Base": address + b"/"}
        elif method == b"SETUP":
            track = int(address[-1:])
            more[b"Transport"] = b"RTP/AVP/TCP;unicast;interleaved=%d-%d" % (2 * track, 2 * track + 1)
        lines = [b"RTSP/1.0 200 OK", b"CSeq: " + head[b"cseq"], b"Content-Length: %d" % len(body)]
        self.wfile.write(b"\r\n".join([*lines, *(b": ".join(pair) for pair in more.items()), b"", body]))
        if method == b"PLAY":
            self.server.watching.append(self.connection)


def until(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize("kind", [UDP, SRT, RTMP, HLS, RTSP])
def test_it_comes_breaks_off_and_comes_back(kind, stub, tmp_path):
    source, said, errors = kind(tmp_path), [], []
    model = stub()
    with source.serve():
        if kind is HLS:
            until((tmp_path / "live.m3u8").exists)
        else:
            time.sleep(3.0)  # until it listens
        run = LiveRun(
            LiveSegmenter(model, device="cpu"), parse_source(source.url), timeout=3.0, say=said.append,
            outputs=Outputs(json=os.devnull, overwrite=True),
        )  # fmt: skip

        def body():
            try:
                run.run()
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        try:
            until(lambda: run.masks > 5 or errors)
            assert not errors
        except BaseException:
            run.seconds = 0.0
            raise
    try:
        until(lambda: any("trying again" in line for line in said))
        before, then = run.masks, model.times[-1]
        with source.serve():
            until(lambda: run.masks > before + 5)
            run.seconds = 0.0
            thread.join(60)
    finally:
        run.seconds = 0.0
        thread.join(60)
    assert not thread.is_alive()
    assert any("back" in line for line in said)
    assert model.times[-1] > then
    assert all(a < b for a, b in pairwise(model.times))
    assert all(0.4 < float((image > 0).float().mean()) < 0.6 for image in model.seen)  # the left half is bright
    assert max(float(patch.max()) for patch in model.heard) > 0  # and a tone is heard


def test_an_srt_server_gets_the_pictures_and_the_sound(tmp_path):
    address, kept = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}", tmp_path / "got.ts"
    server = subprocess.Popen([FFMPEG, "-v", "error", "-nostdin", "-i", f"{address}?mode=listener", "-c", "copy", kept])
    try:
        time.sleep(2.0)  # until it listens
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, :32] = 255
        with RemoteWriter(address, size=(48, 64), sound=True, timeout=30.0) as out:
            for index in range(60):
                out.write(image, index / 20, np.full(800, 0.1, np.float32))
                time.sleep(0.05)
        server.wait(30)
    finally:
        server.kill()
        server.wait()
    with VideoReader(kept) as reader:
        assert reader.info.has_audio
        frames = [frame.image for frame in reader.frames()]
    assert len(frames) > 20
    assert abs((frames[-1] > 128).mean() - 0.5) < 0.1


def test_without_the_program_it_is_told_what_is_missing(monkeypatch, stub):
    monkeypatch.setattr("shutil.which", lambda _: None)
    run = LiveRun(LiveSegmenter(stub(), device="cpu"), parse_source("srt://127.0.0.1:9"), say=str)
    with pytest.raises(MediaError, match="ffmpeg"):
        run.run()
