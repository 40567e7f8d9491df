"""A stub model that streams, and a broadcast on loopback that can stall, break and come back."""

import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest
from torch import nn

from sonomask.batches import Output
from sonomask.structures import ModelConfig

SIZE, FPS, RATE = (48, 64), 20, 16_000


class Stub(nn.Module):
    """A pixel sounds if it is bright; remembers what it was given."""

    def __init__(self, **config):
        super().__init__()
        self.config = ModelConfig("stub", **{"image_size": (24, 32), "mean": (0.5,) * 3, "std": (1.0,) * 3, **config})
        self.heard, self.seen, self.times = [], [], []

    def start(self):
        return 0

    def step(self, images, logmel, past, time):
        self.seen.append(images)
        self.heard.append(logmel)
        self.times.append(time)
        return Output(10 * images.mean(1)[:, None, None]), past + 1


@pytest.fixture
def stub():
    return Stub


class Broadcast:
    """MPEG-TS over HTTP in real time, made anew for each who connects; the left half of the picture is bright."""

    def __init__(self):
        self.stalled, self.broken, self.off = (threading.Event() for _ in range(3))
        self.connections, self.open = 0, True
        broadcast = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                broadcast.connections += 1
                if broadcast.off.is_set():
                    self.send_error(503)
                    return
                self.send_response(200)
                self.end_headers()
                broadcast.send(self.wfile)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/live.ts"

    def send(self, file):
        with av.open(Unseekable(file), "w", format="mpegts") as out:
            video = out.add_stream(
                "libx264", rate=FPS, options={"tune": "zerolatency", "preset": "ultrafast", "g": "10"}
            )
            video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
            audio = out.add_stream("aac", rate=RATE, layout="mono")
            begun, image = time.monotonic(), np.zeros((*SIZE, 3), np.uint8)
            image[:, : SIZE[1] // 2] = 255
            samples = np.sin(np.arange(RATE // FPS) * 0.2).astype(np.float32)[None]
            index = 0
            while self.open and not self.broken.is_set():
                if self.stalled.is_set():
                    time.sleep(0.02)
                    continue
                frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                sound.sample_rate, sound.time_base, sound.pts = RATE, Fraction(1, RATE), index * RATE // FPS
                for packet in [*video.encode(frame), *audio.encode(sound)]:
                    out.mux(packet)
                file.flush()
                index += 1
                time.sleep(max(0.0, begun + index / FPS - time.monotonic()))

    def close(self):
        self.open = False
        self.server.shutdown()
        self.server.server_close()


class Unseekable:
    """What the muxer may do with a socket."""

    def __init__(self, file):
        self.write = file.write


@pytest.fixture
def broadcast():
    one = Broadcast()
    yield one
    one.close()


class FakeClock:
    """Goes only when somebody waits, or is told to."""

    def __init__(self):
        self.time, self.waits = 0.0, []

    def now(self):
        return self.time

    def wait(self, seconds, _stop):
        self.waits.append(seconds)
        self.time += seconds


@pytest.fixture
def clock():
    return FakeClock()
