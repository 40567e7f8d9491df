"""Who holds a connection to the server and does nothing with it is cut off.

What an upload may cost is limited in `rest`, which sees a request once its head is there. Two things can't be seen from there:
a client that never ends the head (or sends on after it was refused), and one that asks for a file and does not take it.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Patient"]


class Patient(H11Protocol):
    """HTTP with a limit on waiting."""

    asking = 20.0  # seconds until a request's head is there, from the connection or the answer before
    taking = 60.0  # seconds in which a client takes nothing of an answer

    _asking: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._await_head()

    def on_response_complete(self) -> None:
        """An answer has gone, and another request may come."""
        self._await_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client takes less than is there for it."""
        super().pause_writing()
        self._taking = self.loop.call_later(self.taking, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken it."""
        super().resume_writing()
        self._stop(self._taking)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop(self._asking, self._taking)
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._stop(self._asking)
        self._asking = self.loop.call_later(self.asking, self._give_up)

    def _give_up(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        if not busy and self.transport.get_protocol() is self:  # a web socket has taken over otherwise
            self.transport.abort()

    @staticmethod
    def _stop(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()
