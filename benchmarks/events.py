"""How long an event takes from the capture of its picture to those who are told: a web address, an MQTT broker, a page.

    python benchmarks/events.py CLIPS [--model world_duo.real] [--onsets 30] [--format flv] [--stream FILE.mkv]

The stream is that of `benchmarks/pairing.py delay`. Each time is the median over the onsets that `sonomask live` told:

    told       from the capture of the picture until the event is handed to its targets (`delay` in the event)
    web, mqtt, page     from there until a server on loopback has the body, a client of mosquitto the message, a reader of
                        `/v1/live/events` the line

MQTT is left out where mosquitto is not in the path.
"""
# ruff: noqa: S603, S607 - programs from the path

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

from pairing import make, sent

from sonomask.inference.loading import load_fast
from sonomask.live.run import LiveRun, Outputs
from sonomask.live.segmenter import LiveSegmenter
from sonomask.live.sinks.events import EventHub, EventSink
from sonomask.media.live.source import parse_source
from sonomask.server.live import LivePage

Seen = dict[str, dict[int, float]]  # by place, then id of the event: when it was there


def note(seen: Seen, place: str, event: dict) -> None:
    """An onset has come there."""
    if event["event"] == "onset":
        seen[place][event["id"]] = time.monotonic()


@contextmanager
def web(seen: Seen):
    """A server that takes events; its address."""

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            note(seen, "web", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


@contextmanager
def mqtt(seen: Seen):
    """A broker with a client that takes events; the topic's address, or None."""
    if shutil.which("mosquitto") is None:
        yield None
        return
    import paho.mqtt.client as paho

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        setting = Path(folder) / "m.conf"
        setting.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        broker = subprocess.Popen(["mosquitto", "-c", setting], stderr=subprocess.DEVNULL)
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.on_message = lambda _client, _data, message: note(seen, "mqtt", json.loads(message.payload))
        client.on_connect = lambda client, *_: client.subscribe("events", 1)
        client.connect_async("127.0.0.1", port)
        client.loop_start()
        try:
            yield f"mqtt://127.0.0.1:{port}/events"
        finally:
            client.loop_stop()
            broker.terminate()
            broker.wait()


def watch(seen: Seen, url: str) -> None:
    """Read a page's events until it ends."""
    with suppress(OSError), urllib.request.urlopen(f"{url}v1/live/events") as lines:  # noqa: S310 - our own page
        for line in lines:
            if line.startswith(b"data:"):
                note(seen, "page", json.loads(line[5:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--model", default="world_duo.real")
    parser.add_argument("--onsets", type=int, default=30)
    parser.add_argument("--format", default="flv", choices=["flv", "mpegts"])
    parser.add_argument("--stream", type=Path, help="keep the stream in this .mkv, or take it from there")
    args = parser.parse_args()
    print(platform.machine(), os.cpu_count(), "cores; load", os.getloadavg()[0])
    seen: Seen = defaultdict(dict)
    delays: dict[int, float] = {}
    deliver = EventSink._deliver

    def told(sink: EventSink, event: dict) -> None:
        paged = isinstance(getattr(sink.sends[0], "__self__", None), EventHub)  # the page has a sink of its own
        if event["event"] == "onset" and not paged:
            delays[event["id"]] = event["delay"]
        note(seen, "told page" if paged else "told", event)
        deliver(sink, event)

    def page(address: str) -> LivePage:
        made = LivePage(address)
        threading.Timer(3, watch, (seen, made.url)).start()  # once it serves
        return made

    with ExitStack() as stack:
        stream = args.stream or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "stream.mkv"
        if not stream.exists():
            print(f"{make(args.clips, args.onsets, stream)} onsets", flush=True)
        targets = [stack.enter_context(web(seen)), stack.enter_context(mqtt(seen))]
        address = stack.enter_context(sent(stream, args.format, 3.5 * args.onsets))
        stack.enter_context(mock.patch.object(EventSink, "_deliver", told))
        segmenter = LiveSegmenter(load_fast(args.model, "cpu"), pairing="end")
        outputs = Outputs(json=os.devnull, overwrite=True, page="127.0.0.1:0", make_page=page,
                          events=tuple(target for target in targets if target))  # fmt: skip
        run = LiveRun(segmenter, parse_source(address), outputs=outputs, patience=0.1)
        with suppress(Exception):  # the stream is over
            run.run()
        print(run.report())
        time.sleep(1)
    print(f"{len(delays)} onsets of things; told after {statistics.median(delays.values()):.3f} s")
    for place in ("web", "mqtt", "page"):
        begun = seen["told page" if place == "page" else "told"]
        more = [moment - begun[number] for number, moment in seen[place].items() if number in begun]
        if more:
            print(
                f"{place}: {len(more)} came, {1000 * statistics.median(more):.1f} ms later, at most {1000 * max(more):.0f}"
            )


if __name__ == "__main__":
    main()
