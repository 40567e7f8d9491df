"""Verbs for someone with a browser, or with a program that speaks HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from sonomask.cli.shared import needs

GIB = 2**30


def serve(
    models: Annotated[
        Sequence[str], "built-in names, folders or hub repositories to offer; all built-in ones unless given"
    ] = (),
    host: Annotated[str, "address to listen at; others than loopback ask for a token"] = "127.0.0.1",
    port: Annotated[int, "port; 0 for a free one"] = 7860,
    token: Annotated[
        str | None, "what each request must bring; a random one is made and printed for addresses other than loopback"
    ] = None,
    allowed_hosts: Annotated[Sequence[str], "names under which a proxy or a name server shows it"] = (),
    root_path: Annotated[str, "path under which a proxy shows it, such as /sonomask"] = "",
    proxies: Annotated[Sequence[str], "addresses of proxies whose X-Forwarded headers are believed"] = (),
    unsafe_decoding: Annotated[
        bool, "serve other addresses than loopback even where the decoder's sandbox is missing"
    ] = False,
    folder: Annotated[
        str | None,
        "where videos and results are kept when the server is stopped, until their time is over; nothing is kept unless given",
    ] = None,
    device: Annotated[str, "auto, cpu, cuda or mps"] = "auto",
    max_mb: Annotated[int, "largest upload, in MB"] = 200,
    max_seconds: Annotated[float, "longest part of a video that a job reads"] = 300.0,
    max_rate: Annotated[float, "masks per second at most"] = 120.0,
    max_masks: Annotated[int, "masks of a job at most"] = 100_000,
    queue: Annotated[int, "videos that may wait or run at once"] = 32,
    queue_client: Annotated[int, "the same, of one client"] = 8,
    client_gib: Annotated[float, "uploads of one client, in GiB"] = 2.0,
    total_gib: Annotated[float, "all uploads, in GiB"] = 20.0,
    keep_hours: Annotated[float, "uploads and results are removed after so long"] = 48.0,
    connections: Annotated[int, "connections at once"] = 256,
    connections_client: Annotated[int, "the same, of one client"] = 16,
    metrics: Annotated[str | None, "[HOST:]PORT at which Prometheus reads counts of jobs"] = None,
) -> int:
    """Serve the page and the REST service on this machine."""
    with needs("The server", "serve"):
        from sonomask.server.limits import ServerLimits
        from sonomask.server.serve import ListenOptions
        from sonomask.server.serve import serve as run
    from sonomask.checkpoints.places import built_in
    from sonomask.inference.loading import DEFAULT_MODEL

    limits = ServerLimits(
        bytes=max_mb << 20, seconds=max_seconds, rate=max_rate, masks=max_masks, queue=queue, queue_client=queue_client,
        uploads_client=round(client_gib * GIB), uploads=round(total_gib * GIB), keep=3600 * keep_hours,
        connections=connections, connections_client=connections_client,
    )  # fmt: skip
    options = ListenOptions(host, port, token, tuple(allowed_hosts), root_path, tuple(proxies), unsafe_decoding,
                            None if folder is None else Path(folder))  # fmt: skip
    names = list(models) or sorted(built_in(), key=lambda name: name != DEFAULT_MODEL)
    run(
        {Path(name).name: name for name in names},
        options,
        device=device,
        limits=limits,
        announce=_announce,
        metrics=metrics,
    )
    return 0


def _announce(line: str) -> None:
    print(f"sonomask: {line}{'  (Ctrl-C stops it)' if line.startswith('http') else ''}", flush=True)


VERBS = (serve,)
