"""All limits of the server in one place: what a stranger's upload, job or connection may cost."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["GIB", "MIB", "ServerLimits"]

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class ServerLimits:
    """Limits for clients. A client is an IPv4 address, or the /64 network of an IPv6 address.

    Attributes:
        bytes: Size of one upload.
        seconds: Length of the part of a video that a job reads.
        pixels: Size of a frame.
        rate: Masks per second.
        masks: Masks of one job.
        queue: Jobs that wait or run at once.
        queue_client: The same, of one client.
        work: Seconds that a job may run, and that an upload may take.
        grace: Seconds that a stopped job has to end before its place is taken from it.
        silence: Seconds that an upload may pause.
        pace: Bytes per second that an upload must reach on average, after the first `silence` seconds.
        job_bytes: Size of the results of one job.
        uploads: Bytes of all uploads.
        uploads_client: The same, of one client.
        results: Bytes of all results.
        results_client: The same, of one client; beyond it, the client's oldest results are removed.
        spare: Free bytes that must stay on the disk.
        keep: Seconds after which uploads and ended jobs are removed.
        kept: Ended jobs of one client; beyond it, the client's oldest one is removed.
        connections: Connections at once.
        connections_client: The same, of one client.
        head: Seconds within which the head of a request must arrive.
        taking: Seconds for which a client may take nothing of an answer.
        body: Bytes of a request's body other than an upload or a file of corrections.
        corrections: Bytes of a file of corrections.
    """

    bytes: int = 200 * MIB
    seconds: float = 300.0
    pixels: int = 4096 * 2304
    rate: float = 120.0
    masks: int = 100_000
    queue: int = 32
    queue_client: int = 8
    work: float = 1800.0
    grace: float = 5.0
    silence: float = 20.0
    pace: float = 16_384.0
    job_bytes: int = 4 * GIB
    uploads: int = 20 * GIB
    uploads_client: int = 2 * GIB
    results: int = 40 * GIB
    results_client: int = 8 * GIB
    spare: int = 256 * MIB
    keep: float = 48 * 3600.0
    kept: int = 50
    connections: int = 256
    connections_client: int = 16
    head: float = 10.0
    taking: float = 60.0
    body: int = 64 * 2**10
    corrections: int = 2 * MIB

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value >= 0 or (not value and field.name != "spare"):
                raise ValueError(f"`{field.name}`: expected a limit above 0, got {value}.")
