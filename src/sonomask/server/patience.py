"""Limits on the number of connections and on how long an idle one is kept.

The cost of uploads is limited in `rest`, which sees a request once its head has arrived. This module handles what can't be seen
there: many connections at once, a client that never completes the head (or continues after a refusal), and one that requests a
file but does not read it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from sonomask.server.guard import client_of
from sonomask.server.limits import ServerLimits
from sonomask.server.problems import MEDIA_TYPE, as_json

__all__ = ["Patient", "patient"]


class Patient(H11Protocol):
    """HTTP with limits on connections and on waiting; a subclass for each server (`patient`), which counts its own."""

    limits = ServerLimits()
    proxies: frozenset[str] = frozenset()
    counts: ClassVar[Counter[str]] = Counter()

    _client: str | None = None
    _asking: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        client = client_of({"client": self.client})
        if self.counts.total() >= self.limits.connections:
            self._turn_away(503, "Too many connections. Try again in a minute.")
        elif client not in self.proxies and self.counts[client] >= self.limits.connections_client:
            self._turn_away(
                429, f"More than {self.limits.connections_client} connections from one address. Close some."
            )
        else:
            self._client = client
            self.counts[client] += 1
            self._await_head()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; of a client that was turned away none are looked at."""
        if self._client is not None:
            super().data_received(data)

    def on_response_complete(self) -> None:
        """Note that an answer has been sent, and another request may come."""
        self._await_head()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """The request is not HTTP."""
        self._answer(400, msg)

    def pause_writing(self) -> None:
        """The client takes less than is there for it."""
        super().pause_writing()
        self._taking = self.loop.call_later(self.limits.taking, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client has taken the answer."""
        super().resume_writing()
        self._stop(self._taking)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client has gone."""
        self._stop(self._asking, self._taking)
        if self._client is not None:
            self.counts[self._client] -= 1
            if self.counts[self._client] <= 0:
                del self.counts[self._client]
            self._client = None
        super().connection_lost(exc)

    def _turn_away(self, status: int, detail: str) -> None:
        self._answer(status, detail)
        self.loop.call_later(1.0, self.transport.abort)  # one that does not read its answer

    def _answer(self, status: int, detail: str) -> None:
        """A whole answer, past the application."""
        body = json.dumps(as_json(status, detail)).encode()
        head = (
            f"HTTP/1.1 {status} {as_json(status, '')['title']}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
            "Retry-After: 30\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _await_head(self) -> None:
        self._stop(self._asking)
        self._asking = self.loop.call_later(self.limits.head, self._give_up)

    def _give_up(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        if not busy:
            self.transport.abort()

    @staticmethod
    def _stop(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()


def patient(limits: ServerLimits, proxies: Sequence[str] = ()) -> type[Patient]:
    """The protocol of one server.

    Args:
        limits: On connections and waiting.
        proxies: Addresses whose connections are those of many clients, and are not counted as those of one.
    """
    own: dict[str, Any] = {"limits": limits, "proxies": frozenset(proxies), "counts": Counter()}
    return type("Patient", (Patient,), own)
