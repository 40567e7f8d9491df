"""Outputs for events: JSON lines, webhooks, an MQTT broker, and viewers of a page."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import urlsplit

from sonomask.errors import MediaError, MissingExtraError
from sonomask.live.events import EventFinder
from sonomask.live.segmenter import LiveMasks
from sonomask.live.sinks.base import Sink
from sonomask.threads import WorkerThread

__all__ = ["EventHub", "EventSink", "open_target"]

MOST = 256  # events that wait for a server
TRIES = 8  # after which an event is given up: 64 s
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds
TIMEOUT = 10.0  # seconds that a server may take
FAREWELL = 5.0  # seconds for what waits when the run ends
Send = Callable[[dict[str, Any]], None]
Say = Callable[[str], None]


class EventSink(Sink):
    """Finds events in live masks and hands each to every target; use it in a `with` block.

    Args:
        targets: Files, "-" for standard output, `http(s)://` to post to, `mqtt://HOST[:PORT]/TOPIC`.
        hub: Hub that serves the page's viewers.
        overwrite: Replace an existing file.
        say: Function called with each problem, a line at a time.

    Raises:
        MediaError: A file exists.
        MissingExtraError: MQTT's package is missing.
        ValueError: A target is none of these.
    """

    def __init__(
        self, targets: tuple[str, ...], hub: EventHub | None = None, *, overwrite: bool = False, say: Say = print
    ) -> None:
        self.finder, self.stack = EventFinder(), ExitStack()
        self.sends: list[Send] = [] if hub is None else [hub.send]
        with ExitStack() as opened:
            self.sends += [opened.enter_context(open_target(text, overwrite=overwrite, say=say)) for text in targets]
            self.stack = opened.pop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.stack:
            for event in self.finder.finish():
                self._deliver(event.to_dict())

    def write(self, result: LiveMasks) -> None:
        """Look for events in a picture's masks."""
        for event in self.finder.see(result):
            self._deliver(event.to_dict())

    def _deliver(self, event: dict[str, Any]) -> None:
        for send in self.sends:
            send(event)


class EventHub:
    """Hands events to those who watch, such as the connections of a page; one who does not take them loses the oldest."""

    def __init__(self) -> None:
        self.watchers: set[queue.Queue[dict[str, Any]]] = set()
        self.lock = threading.Lock()

    def send(self, event: dict[str, Any]) -> None:
        """Tell all."""
        with self.lock:
            for watcher in self.watchers:
                if watcher.full():
                    watcher.get_nowait()
                watcher.put_nowait(event)

    @contextmanager
    def watch(self) -> Iterator[queue.Queue[dict[str, Any]]]:
        """The events from now on."""
        mine: queue.Queue[dict[str, Any]] = queue.Queue(MOST)
        with self.lock:
            self.watchers.add(mine)
        try:
            yield mine
        finally:
            with self.lock:
                self.watchers.discard(mine)


@contextmanager
def open_target(text: str, *, overwrite: bool, say: Say) -> Iterator[Send]:
    """A function that takes events, for as long as the block lasts; see `EventSink`."""
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if not scheme:
        with _lines(text, overwrite=overwrite) as send:
            yield send
    elif scheme in ("http", "https"):
        with _Outbox(text, lambda data: _post(text, data), say) as outbox:
            yield outbox.put
    elif scheme == "mqtt":
        with _broker(text) as publish, _Outbox(text, publish, say) as outbox:
            yield outbox.put
    else:
        raise ValueError(f"`events`: expected a file, '-', http(s):// or mqtt://HOST/TOPIC, got {text!r}.")


@contextmanager
def _lines(path: str, *, overwrite: bool) -> Iterator[Send]:
    if path != "-" and Path(path).exists() and not overwrite:
        raise MediaError(f"{path} exists. Use --overwrite to replace it, or give another --events.")
    with ExitStack() as stack:
        file: TextIO = sys.stdout
        if path != "-":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(Path(path).open("w", encoding="utf-8"))

        def send(event: dict[str, Any]) -> None:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            file.flush()

        yield send


def _post(address: str, data: bytes) -> None:
    head = {"Content-Type": "application/json", "User-Agent": "sonomask"}
    request = urllib.request.Request(address, data, head, method="POST")  # noqa: S310 - http and https only
    with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310 - an address that the user gave
        return


@contextmanager
def _broker(address: str) -> Iterator[Callable[[bytes], None]]:
    """A connection to an MQTT broker, which is made anew where it breaks off."""
    try:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise MissingExtraError("MQTT", "live") from error
    parts = urlsplit(address)
    topic = parts.path.strip("/")
    if not parts.hostname or not topic:
        raise ValueError(f"`events`: expected mqtt://HOST[:PORT]/TOPIC, got {address!r}.")
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    if parts.username:
        client.username_pw_set(parts.username, parts.password)
    client.reconnect_delay_set(1, int(LONGEST_WAIT))
    client.connect_async(parts.hostname, parts.port or 1883)
    client.loop_start()

    def publish(data: bytes) -> None:
        message = client.publish(topic, data, qos=1)
        message.wait_for_publish(TIMEOUT)
        if not message.is_published():
            raise OSError("the broker does not answer")

    try:
        yield publish
    finally:
        client.disconnect()
        client.loop_stop()


class _Outbox:
    """Events that wait for a server, sent one after the other by a thread; the oldest go when there are too many."""

    def __init__(self, target: str, send: Callable[[bytes], None], say: Say) -> None:
        parts = urlsplit(target)
        self.name = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"  # without a password
        self.send, self.say = send, say
        self.lost, self.until = 0, float("inf")
        self.worker: WorkerThread[bytes] = WorkerThread(self._work, name=f"events to {self.name}", size=MOST)

    def __enter__(self) -> _Outbox:
        self.worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.until = time.monotonic() + FAREWELL
        self.worker.close(FAREWELL + 1)
        lost = self.lost + self.worker.dropped + self.worker.waiting
        if lost:
            self.say(f"{self.name}: {lost} events were not taken.")

    def put(self, event: dict[str, Any]) -> None:
        """Add an event; never waits."""
        self.worker.put(json.dumps(event, ensure_ascii=False).encode())

    def _work(self, data: bytes) -> None:
        self.lost += not self._sent(data)

    def _sent(self, data: bytes) -> bool:
        wait = FIRST_WAIT
        for left in range(TRIES - 1, -1, -1):
            try:
                self.send(data)
                return True
            except (OSError, ValueError, RuntimeError) as error:
                refused = (
                    isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)
                )
                if left == TRIES - 1 or refused:
                    self.say(f"{self.name}: an event was not taken ({error}){'' if refused else '; trying again'}.")
                if refused or not left or time.monotonic() + wait > self.until:
                    return False
                self.worker.pause(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        return False
