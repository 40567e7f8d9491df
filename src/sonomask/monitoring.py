"""Figures of a long run, which Prometheus reads while it lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sonomask.errors import MissingExtraError

__all__ = ["Figure", "served"]

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Figure:
    """A figure for Prometheus.

    Attributes:
        name: Name in Prometheus's form, such as "sonomask_live_masks".
        about: Description for people.
        read: Function that returns the current value: a number, or numbers by the values of `label`. It is called from
            another thread.
        label: Name of the label; "" without.
        fixed: Further labels and their values; figures of one name have the same ones.
    """

    name: str
    about: str
    read: Callable[[], float | Mapping[str, float]]
    label: str = ""
    fixed: tuple[tuple[str, str], ...] = ()


@contextmanager
def served(figures: Sequence[Figure], address: str | None, extra: str) -> Iterator[str | None]:
    """Let Prometheus read figures at "[HOST:]PORT", for as long as the block lasts; gives the address.

    Args:
        figures: All gauges.
        address: Loopback unless a host is given; None serves nothing.
        extra: Extra that provides prometheus-client, for the error message without it.

    Raises:
        MissingExtraError: prometheus-client is not installed.
        ValueError: It is no address.
        OSError: The port is taken.
    """
    if address is None:
        yield None
        return
    try:
        import prometheus_client
        from prometheus_client.core import GaugeMetricFamily
    except ImportError as error:
        raise MissingExtraError("Metrics", extra) from error
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not int(port) < 65536:
        raise ValueError(f"`metrics`: expected PORT or HOST:PORT, got {address!r}.")

    class Reader:
        def collect(self) -> Iterator[Any]:
            families: dict[str, Any] = {}
            for figure in figures:
                names, values = [name for name, _ in figure.fixed], [value for _, value in figure.fixed]
                if figure.name not in families:
                    labels = [*names, figure.label] if figure.label else names
                    families[figure.name] = GaugeMetricFamily(figure.name, figure.about, labels=labels)
                found = figure.read()
                if isinstance(found, Mapping):
                    for value, number in found.items():
                        families[figure.name].add_metric([*values, value], number)
                else:
                    families[figure.name].add_metric(values, found)
            yield from families.values()

    registry: Any = prometheus_client.CollectorRegistry()
    registry.register(Reader())
    host = host.strip("[]") or LOOPBACK
    server, thread = prometheus_client.start_http_server(int(port), host, registry)
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
