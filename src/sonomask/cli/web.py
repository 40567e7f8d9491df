"""Verbs for someone with a browser, or with a program that speaks HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from sonomask.cli.shared import needs


def serve(
    models: Annotated[
        Sequence[str], "built-in names, folders or hub repositories to offer; all built-in ones unless given"
    ] = (),
    host: Annotated[str, "address to listen at; 0.0.0.0 lets everyone in who reaches this machine"] = "127.0.0.1",
    port: Annotated[int, "port"] = 7860,
    device: Annotated[str, "auto, cpu, cuda or mps"] = "auto",
    max_mb: Annotated[int, "largest upload, in MB"] = 200,
    max_seconds: Annotated[float, "longest video"] = 300.0,
    queue: Annotated[int, "videos that may upload, wait or run at once"] = 8,
    keep_minutes: Annotated[float, "results are removed after so long"] = 60.0,
) -> int:
    """Serve the page and the REST service on this machine."""
    with needs("The page", "demo"):
        from sonomask.server.jobs import Limits
        from sonomask.server.serve import serve as run
    from sonomask.api import DEFAULT_MODEL
    from sonomask.checkpoints.folder import built_in

    names = list(models) or sorted(built_in(), key=lambda name: name != DEFAULT_MODEL)
    limits = Limits(bytes=max_mb << 20, seconds=max_seconds, queue=queue, keep=60 * keep_minutes)
    offered = {Path(name).name: name for name in names}
    run(offered, host=host, port=port, device=device, limits=limits, told=_tell)
    return 0


def _tell(address: str) -> None:
    print(f"sonomask: {address}  (Ctrl-C stops it)", flush=True)


VERBS = (serve,)
