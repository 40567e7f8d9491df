"""What begins and ends is told once each, to whoever was named, and to a server that stumbles again."""

import json
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.live.events import SCHEMA, EventFinder
from sonomask.live.sinks import events as event_sinks
from sonomask.live.sinks.events import EventHub, EventSink, open_target
from sonomask.structures import Masks, Names

SIZE = (40, 50)


def result(time, *boxes, classes=("ground", "dog", "cat"), names=None):
    """Masks of a picture: boxes of (label, top, left, bottom, right)."""
    labels = np.zeros(SIZE, np.uint8)
    for label, top, left, bottom, right in boxes:
        labels[top:bottom, left:right] = label
    masks = Masks((time,), (labels > 0)[None] * np.float32(0.9), labels=labels[None], names=names)
    return SimpleNamespace(time=time, delay=0.1, labels=labels, classes=classes, masks=masks)


DOG = (1, 10, 20, 20, 45)


def test_a_thing_begins_and_ends_once_with_where_and_how_sure(conforms):
    finder, found = EventFinder(), []
    for i in range(20):
        found += finder.see(result(i / 10, *([DOG] if 3 <= i < 10 else [])))
    onset, end = (event.to_dict() for event in found)
    conforms("event", onset)
    conforms("event", end)
    assert onset == {
        "schema": SCHEMA, "event": "onset", "id": 1, "label": "dog", "sound": "", "time": 0.3,
        "box": [0.4, 0.25, 0.9, 0.5], "share": 0.125, "score": 0.9, "delay": 0.1,
    }  # fmt: skip
    assert (end["event"], end["id"], end["time"], end["duration"]) == ("end", 1, 0.9, 0.6)
    assert end["delay"] == pytest.approx(0.7)  # at least half a second of silence, and the picture's own


def test_flicker_in_size_and_time_is_no_event():
    finder, found = EventFinder(), []
    small = (1, 10, 20, 11, 22)  # too small to begin, enough to go on
    for i in range(40):
        found += finder.see(result(i / 10, *([DOG] if i % 4 == 0 else [small] if i % 4 == 1 else [])))
    assert [event.event for event in found] == ["onset"]
    assert EventFinder().see(result(0.0, small)) == []


def test_two_things_have_events_of_their_own_and_what_sounds_on_ends_with_the_run():
    finder = EventFinder()
    first = finder.see(result(0.0, DOG, (2, 0, 0, 10, 10)))
    assert [(event.label, event.id) for event in first] == [("dog", 1), ("cat", 2)]
    assert [event.event for event in finder.finish()] == ["end", "end"]
    assert finder.finish() == []


def test_named_things_say_what_they_are_heard_to_do():
    seen = np.zeros(SIZE, np.uint8)
    seen[:, 30:] = 1
    names = (Names((("Bark", 0.8),), seen, ("person", "dog"), ("", "Bark"), (0.0, 0.8)),)
    found = EventFinder().see(result(0.0, (1, 10, 32, 20, 45), names=names))
    assert [(event.label, event.sound) for event in found] == [("dog", "Bark")]


def test_lines_are_there_at_once_and_an_existing_file_stays(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventSink((str(path),)) as sink:
        sink.write(result(0.0, DOG))
        assert json.loads(path.read_text())["label"] == "dog"
    assert len(path.read_text().splitlines()) == 2
    with pytest.raises(MediaError, match="exists"):
        EventSink((str(path),))


@pytest.mark.parametrize("target", ["ftp://x/y", "mqtt://host", "mqtt:///topic"])
def test_a_strange_target_is_refused(target):
    if target.startswith("mqtt"):
        pytest.importorskip("paho.mqtt.client")
    with pytest.raises(ValueError, match="events"), open_target(target, overwrite=False, say=print):
        pass


@pytest.fixture
def hook(monkeypatch):
    """A web address that gives some answers, then 200; and what it was told."""
    monkeypatch.setattr(event_sinks, "FIRST_WAIT", 0.01)
    received, answers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            code = answers.pop(0) if answers else 200
            if code == 200:
                received.append((self.headers["Content-Type"], json.loads(body)))
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook?key=secret", received, answers
    server.shutdown()
    server.server_close()


def test_an_address_is_told_each_event_in_order_though_it_stumbles(hook):
    address, received, answers = hook
    answers += [503, 500, 200, 429]
    said = []
    with EventSink((address,), say=said.append) as sink:
        for i in range(5):
            sink.write(result(float(i), *([DOG] if i % 2 == 0 else [])))
    assert [event["event"] for _, event in received] == ["onset", "end"] * 3
    assert {kind for kind, _ in received} == {"application/json"}
    assert "trying again" in said[0]
    assert "secret" not in "".join(said)


def test_an_event_that_is_refused_is_not_sent_again(hook):
    address, received, answers = hook
    answers += [400]
    said = []
    with open_target(address, overwrite=False, say=said.append) as send:
        send({"a": 1})
        send({"a": 2})
    assert [event for _, event in received] == [{"a": 2}]
    assert "1 events were not taken" in said[-1]


def test_a_server_that_is_away_holds_up_nobody_and_costs_the_oldest(monkeypatch):
    monkeypatch.setattr(event_sinks, "FAREWELL", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = []
    with open_target(f"http://127.0.0.1:{port}/", overwrite=False, say=said.append) as send:
        for i in range(1000):
            send({"i": i})
    assert "1000 events were not taken" in said[-1]


def test_those_who_watch_get_what_comes_and_the_slow_lose_the_oldest():
    hub = EventHub()
    with hub.watch() as one, EventSink((), hub) as sink:
        sink.write(result(0.0, DOG))
        assert one.get_nowait()["label"] == "dog"
        for i in range(1000):
            hub.send({"i": i})
        assert one.qsize() == event_sinks.MOST
        assert one.get_nowait() == {"i": 1000 - event_sinks.MOST}
    assert hub.watchers == set()


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs mosquitto")
def test_a_broker_is_told_though_it_comes_late(tmp_path):
    mqtt = pytest.importorskip("paho.mqtt.client")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    got, ready = [], threading.Event()
    with open_target(f"mqtt://127.0.0.1:{port}/sonomask/sounds", overwrite=False, say=print) as send:
        send({"i": 1})  # nobody is there yet
        (tmp_path / "m.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        broker = subprocess.Popen(["mosquitto", "-c", str(tmp_path / "m.conf")], stderr=subprocess.DEVNULL)
        try:
            client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
            client.on_message = lambda _c, _u, message: got.append(json.loads(message.payload))
            client.on_subscribe = lambda *_: ready.set()
            client.on_connect = lambda c, *_: c.subscribe("sonomask/#", 1)
            client.connect_async("127.0.0.1", port)
            client.loop_start()
            assert ready.wait(30)
            send({"i": 2})
            deadline = time.monotonic() + 60
            while {"i": 2} not in got and time.monotonic() < deadline:
                time.sleep(0.05)
            client.loop_stop()
        finally:
            broker.terminate()
            broker.wait()
    assert {"i": 2} in got
