"""Puts page, REST service and guard together and runs them."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn

from sonomask.server import page, rest
from sonomask.server.guard import Guard
from sonomask.server.jobs import Limits, Runner
from sonomask.server.patience import Patient
from sonomask.server.work import Segment

__all__ = ["application", "example", "serve"]

LOCAL = ("localhost", "127.0.0.1", "::1")


def example() -> Path | None:
    """The clip that came with the package, or lies beside it in a checkout."""
    places = (Path(__file__).with_name("three_things.mp4"), Path(__file__).parents[3] / "examples" / "three_things.mp4")
    return next((place for place in places if place.is_file()), None)


def application(runner: Runner, models: Mapping[str, str], hosts: tuple[str, ...] | None = LOCAL) -> Any:
    """The whole as an ASGI application.

    Args:
        runner: Does the jobs.
        models: What `load` takes, by the name that is offered.
        hosts: Names under which it is reached; None for any.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(runner.folder / "page")
    clip, drawn = example(), "avs_mini.synthetic"
    examples = [[str(clip), drawn, "5"]] if clip is not None and drawn in models else []
    blocks = page.build(runner, list(models), examples)
    blocks.queue(max_size=4 * runner.limits.queue)
    app = gr.mount_gradio_app(
        rest.build(runner, list(models)), blocks, path="/", max_file_size=runner.limits.bytes, footer_links=[],
        theme=page.theme(), css=page.CSS, ssr_mode=False, show_error=False, enable_monitoring=False,
    )  # fmt: skip
    return Guard(app, hosts)


def serve(
    models: Mapping[str, str], *, host: str, port: int, device: str, limits: Limits, told: Callable[[str], None]
) -> None:
    """Serve until stopped; `told` gets the address once the model is loaded.

    Raises:
        ValueError: There is no such model or device, or the address is not free.
    """
    work = Segment(models, device)
    work.model(next(iter(models)))  # a wrong name is told now, and the first visitor need not wait
    everywhere = _is_everywhere(host)
    told(f"http://{'127.0.0.1' if everywhere else host}:{port}")
    with Runner(work, limits) as runner:
        app = application(runner, models, None if everywhere else (*LOCAL, host))
        uvicorn.run(app, host=host, port=port, http=Patient, log_level="warning", timeout_graceful_shutdown=3)


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
