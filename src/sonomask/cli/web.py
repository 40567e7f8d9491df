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
    host: Annotated[str, "address to listen on; addresses other than loopback require a token"] = "127.0.0.1",
    port: Annotated[int, "port to listen on; 0 for any free one"] = 7860,
    token: Annotated[
        str | None, "token that each request must carry; a random one is printed for addresses other than loopback"
    ] = None,
    allowed_hosts: Annotated[Sequence[str], "host names under which it can be reached"] = (),
    root_path: Annotated[str, "path under which a proxy serves it, such as /sonomask"] = "",
    proxies: Annotated[Sequence[str], "addresses of proxies whose X-Forwarded headers are trusted"] = (),
    unsafe_decoding: Annotated[
        bool, "listen on addresses other than loopback even if this system has no sandbox for the decoder"
    ] = False,
    folder: Annotated[
        str | None,
        "folder in which videos and results are kept over a restart, until they expire; nothing is kept unless given",
    ] = None,
    device: Annotated[str, "auto, cpu, cuda or mps"] = "auto",
    max_mb: Annotated[int, "largest upload, in MB"] = 200,
    max_seconds: Annotated[float, "longest part of a video that a job reads"] = 300.0,
    max_rate: Annotated[float, "most masks per second"] = 120.0,
    max_masks: Annotated[int, "most masks per job"] = 100_000,
    queue: Annotated[int, "most jobs waiting or running"] = 32,
    queue_client: Annotated[int, "most jobs waiting or running per client"] = 8,
    client_gib: Annotated[float, "most space for uploads per client, in GiB"] = 2.0,
    total_gib: Annotated[float, "most space for all uploads, in GiB"] = 20.0,
    keep_hours: Annotated[float, "hours after which uploads and results are removed"] = 48.0,
    connections: Annotated[int, "most connections at a time"] = 256,
    connections_client: Annotated[int, "most connections at a time per client"] = 16,
    metrics: Annotated[str | None, "[HOST:]PORT at which Prometheus can read counts of jobs"] = None,
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
