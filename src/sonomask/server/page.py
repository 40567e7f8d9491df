"""The page: drop a video, choose, watch. It asks the same runner as the REST service, whose addresses show the result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from sonomask.errors import SonomaskError
from sonomask.outputs.formats import FORMATS
from sonomask.server.jobs import Job, Runner, Wish
from sonomask.server.work import check_wish

__all__ = ["CSS", "build", "theme"]

POLL = 0.25  # seconds between two looks at a job
RATES: list[tuple[str, str]] = [(f"{n} per second", n) for n in ("1", "2", "5", "10")] + [("every frame", "native")]
FONTS = ["system-ui", "sans-serif"]  # of the visitor's machine: nothing is fetched
CSS = """
.gradio-container { margin: 0 auto !important; }
.sonomask-player { display: block; width: 100%; height: 620px; border: 0; border-radius: 10px; background: #101216; }
.sonomask-note { padding: 2px 0; }
.sonomask-note progress { width: 100%; height: 10px; accent-color: #e69f00; }
.sonomask-fault { border-left: 4px solid #d55e00; padding: 8px 12px; overflow-wrap: anywhere; }
.sonomask-files { display: flex; flex-wrap: wrap; gap: 8px; }
.sonomask-files a { padding: 8px 14px; border: 1px solid var(--border-color-primary); border-radius: 8px; }
.gradio-container, .gradio-container .main { box-sizing: border-box; min-width: 0 !important; }
.gradio-container { max-width: min(1080px, 100vw) !important; overflow-x: clip; }
@media (max-width: 480px) { .gradio-container .main { padding: 12px !important; } }
footer { display: none !important; }
"""


def theme() -> gr.themes.Base:
    """A plain theme that loads no font from anywhere."""
    return gr.themes.Default(primary_hue="amber", font=FONTS, font_mono=["ui-monospace", "monospace"])


def build(runner: Runner, models: Sequence[str], examples: Sequence[Sequence[Any]] = ()) -> gr.Blocks:
    """The page.

    Args:
        runner: Does the jobs.
        models: Names that are offered, the first chosen.
        examples: Video, model and rate of each.
    """
    limits, desk = runner.limits, _Desk(runner, list(models))
    with gr.Blocks(
        title="sonomask", analytics_enabled=False, delete_cache=(int(limits.keep), int(limits.keep))
    ) as page:
        job_id = gr.State("")
        gr.Markdown(
            "# sonomask\nMarks the pixels of what makes the sound. Drop a video with sound or record one, then press "
            f"**Run**. Up to {limits.bytes >> 20} MB and {limits.seconds:.0f} s; removed after {limits.keep / 60:.0f} "
            "minutes."
        )
        with gr.Row():
            with gr.Column(scale=3, min_width=280):
                video = gr.Video(
                    label="Video", sources=["upload", "webcam"], include_audio=True, height=360, elem_id="video"
                )
            with gr.Column(scale=2, min_width=280):
                model = gr.Dropdown(list(models), value=models[0], label="Model", elem_id="model")
                rate = gr.Dropdown(RATES, value="5", label="Masks", elem_id="rate")
                own = gr.Checkbox(value=True, label="The model's own threshold", elem_id="own")
                threshold = gr.Slider(0, 1, 0.5, step=0.01, label="Threshold", visible=False, elem_id="threshold")
                formats = gr.CheckboxGroup(list(FORMATS), value=["overlay"], label="Files", elem_id="formats")
                with gr.Row():
                    run = gr.Button("Run", variant="primary", elem_id="run")
                    stop = gr.Button("Stop", elem_id="stop", interactive=False)
        if examples:
            gr.Examples(
                [list(example) for example in examples], [video, model, rate], cache_examples=False, label="Example"
            )
        note = gr.HTML(elem_id="note")
        player = gr.HTML(elem_id="player")
        files = gr.HTML(elem_id="files")
        own.change(lambda is_own: gr.Slider(visible=not is_own), own, threshold, api_visibility="private")
        run.click(
            desk.run, [video, model, rate, own, threshold, formats], [job_id, note, player, files, run, stop],
            concurrency_limit=None, show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        stop.click(desk.stop, [job_id], [], queue=False, api_visibility="private")
    _refuse_addresses(video)
    return page


def _refuse_addresses(video: gr.Video) -> None:
    """Take what was uploaded only: Gradio would also fetch an address that a request names."""
    move = video.async_move_resource_to_block_cache

    async def move_upload(path: Any) -> Any:
        if "://" in str(path):
            raise gr.Error("Addresses are not fetched. Upload the video.", print_exception=False)
        return await move(path)

    vars(video)["async_move_resource_to_block_cache"] = move_upload  # a subclass would need a front end of its own


class _Desk:
    """Takes what the page sends and tells what it shows."""

    def __init__(self, runner: Runner, models: list[str]) -> None:
        self.runner, self.models = runner, models

    async def run(
        self, video: str | None, model: str, rate: str, own: bool, threshold: float, formats: list[str]
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Submit a job and tell of it until it is over."""
        try:
            job = await asyncio.to_thread(self._submit, video, model, rate, None if own else threshold, formats)
        except (SonomaskError, ValueError, OSError) as error:
            yield _told("", _fault(str(error)))
            return
        while not job.over:
            yield _told(job.id, _progress(job, self.runner.ahead(job)), busy=True)
            await asyncio.sleep(POLL)
        yield _finished(job)

    def stop(self, job_id: str) -> None:
        """Cancel the job, if there is one."""
        job = self.runner.jobs.get(job_id)
        if job is not None:
            self.runner.cancel(job)

    def _submit(self, video: str | None, model: str, rate: str, threshold: float | None, formats: list[str]) -> Job:
        if video is None:
            raise ValueError("Give a video first: drop one above, record one, or choose the example.")
        wish = Wish(model, "native" if rate == "native" else float(rate), threshold, formats=tuple(formats))
        check_wish(wish, self.models)
        return self.runner.submit(Path(video), wish)


def _told(job_id: str, note: str, player: str = "", files: str = "", *, busy: bool = False) -> tuple[Any, ...]:
    return job_id, note, player, files, gr.Button(interactive=not busy), gr.Button(interactive=busy)


def _finished(job: Job) -> tuple[Any, ...]:
    if job.state != "done":
        return _told(job.id, "Stopped." if job.state == "cancelled" else _fault(job.error or "Failed."))
    here = f"v1/jobs/{job.id}"
    links = "".join(f'<a href="{here}/files/{escape(name)}" download>{escape(name)}</a>' for name in job.files)
    return _told(
        job.id,
        "".join(_fault(warning) for warning in job.warnings),
        f'<iframe class="sonomask-player" title="Result" src="{here}/view/player.html" allow="autoplay"></iframe>',
        f'<div class="sonomask-files">Download: {links}</div>',
    )


def _progress(job: Job, ahead: int) -> str:
    if job.state == "queued":
        text, value = f"Waiting, {ahead} before it.", ""
    else:
        text = f"Watching and listening: {job.done:.0%}" if job.done else "Watching and listening …"
        value = f' value="{job.done:.3f}"' if job.done else ""
    return f'<div class="sonomask-note" role="status">{text}<progress max="1"{value}></progress></div>'


def _fault(text: str) -> str:
    return f'<div class="sonomask-fault" role="alert">{escape(" ".join(text.split()))}</div>'
