"""Runs from a broadcast on loopback to what is written; the broadcast stalls, breaks off and comes back."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import av
import pytest

from sonomask import api
from sonomask.errors import MediaError
from sonomask.live.run import LiveRun, Outputs
from sonomask.live.segmenter import LiveSegmenter
from sonomask.media.live.source import parse_source
from sonomask.media.reader import VideoReader
from sonomask.monitoring import served
from sonomask.server.live import LivePage


@pytest.fixture
def start(broadcast, stub, tmp_path):
    """Starts a run in a thread; it ends with the test."""
    runs = []

    def begin(outputs=None, model=None, **options):
        said = []
        outputs = outputs or Outputs(json=str(tmp_path / "masks.jsonl"), overwrite=True)
        segmenter, source = LiveSegmenter(model or stub(), device="cpu"), parse_source(broadcast.url)
        run = LiveRun(segmenter, source, outputs=outputs, say=said.append, **options)
        run.errors, run.said = [], said

        def body():
            try:
                run.run()
            except MediaError as error:
                run.errors.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        runs.append((run, thread))
        return run, thread

    yield begin
    for run, thread in runs:
        run.seconds = 0.0
        thread.join(30)
        assert not thread.is_alive()


def until(condition, seconds=60.0):
    """Wait for something that takes as long as it takes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_masks_of_a_broadcast_are_written_as_they_come(start, tmp_path):
    run, thread = start()
    until(lambda: run.masks > 5)
    run.seconds = 0.0
    thread.join(30)
    rows = [json.loads(line) for line in (tmp_path / "masks.jsonl").read_text().splitlines()]
    assert len(rows) == run.masks
    assert all(a["time"] < b["time"] for a, b in pairwise(rows))
    assert all(abs(row["areas"][0]["share"] - 0.5) < 0.1 for row in rows)


@pytest.mark.skipif(os.name == "nt", reason="named pipes of POSIX systems")
def test_events_and_pictures_with_alpha_are_told_to_other_programs(start, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    run, thread = start(Outputs(events=(str(tmp_path / "events.jsonl"),), pipe=str(tmp_path / "pipe")))
    with av.open(str(tmp_path / "pipe"), format="nut") as container:
        alpha = next(container.decode(video=0)).to_ndarray(format="rgba")[..., 3]
    assert abs((alpha == 255).mean() - 0.5) < 0.1  # the left half is bright
    run.seconds = 0.0
    thread.join(30)
    onset, end = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (onset["event"], end["event"], onset["id"], end["id"]) == ("onset", "end", 1, 1)
    assert onset["box"] == pytest.approx([0, 0, 0.5, 1], abs=0.05)


def test_the_delay_is_measured_and_told(start):
    run, _ = start()
    until(lambda: run.masks > 5)
    assert 0 <= run.segmenter.delays.quantile(0.5) < 30
    assert "capture to mask" in run.report()


def test_prometheus_reads_delays_and_counts(start):
    pytest.importorskip("prometheus_client")
    run, _ = start()
    until(lambda: run.masks > 5)
    with served(run.figures(), "0", "live") as address, urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310
        rows = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
    assert float(rows["sonomask_live_masks"]) > 5
    assert float(rows['sonomask_live_capture_to_mask_seconds{quantile="0.5"}']) == pytest.approx(
        run.segmenter.delays.quantile(0.5), abs=0.2
    )
    assert float(rows['sonomask_live_stage_seconds{stage="model"}']) > 0
    assert float(rows["sonomask_live_pictures"]) >= float(rows["sonomask_live_masks"])


def test_a_stalled_source_is_lost_and_comes_back(start, broadcast):
    run, _ = start(timeout=0.5)
    until(lambda: run.masks > 2)
    broadcast.stalled.set()
    until(lambda: any("silent for 0.5 s" in line for line in run.said))
    broadcast.stalled.clear()
    before = run.masks
    until(lambda: run.masks > before + 2)
    assert broadcast.connections >= 2


def test_a_source_that_breaks_off_and_is_started_again_goes_on_in_time(start, broadcast):
    run, _ = start()
    until(lambda: run.masks > 2)
    broadcast.off.set()
    broadcast.broken.set()
    until(lambda: any("trying again" in line for line in run.said))
    then = run.segmenter.scorer.model.times[-1]
    broadcast.broken.clear()
    broadcast.off.clear()
    until(lambda: any("back" in line for line in run.said))
    before = run.masks
    until(lambda: run.masks > before + 2)
    assert run.segmenter.scorer.model.times[-1] > then
    assert "source lost" in run.report()


def test_a_source_that_stays_away_ends_the_run_with_its_reason(start, broadcast, tmp_path):
    run, thread = start(patience=1.0)
    until(lambda: run.masks > 2)
    broadcast.off.set()
    broadcast.broken.set()
    thread.join(30)
    assert "did not come back in 1 s" in str(run.errors[0])
    assert len((tmp_path / "masks.jsonl").read_text().splitlines()) == run.masks


def test_a_source_that_can_not_be_opened_leaves_no_file(broadcast, stub, tmp_path):
    broadcast.off.set()
    outputs = Outputs(json=str(tmp_path / "a.jsonl"), out=str(tmp_path / "a.mp4"))
    run = LiveRun(LiveSegmenter(stub(), device="cpu"), parse_source(broadcast.url), outputs=outputs, say=str)
    with pytest.raises(MediaError, match="can't be opened"):
        run.run()
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_come_too_fast_are_left_out_and_that_is_told(start):
    slow = threading.Event()
    run, _ = start()
    step = run.segmenter.scorer.model.step
    run.segmenter.scorer.model.step = lambda *a, **k: (slow.wait(0.3), step(*a, **k))[1]
    until(lambda: run.masks > 3)
    left_out = run.feed.came - run.feed.taken
    assert left_out > 3
    assert "pictures left out" in run.report()


def test_a_page_serves_what_comes(start):
    run, _ = start(Outputs(page="0", make_page=LivePage))
    until(lambda: run.masks > 1)
    url = run.said[0].removeprefix("watch at ")
    with urllib.request.urlopen(f"{url}v1/live", timeout=10) as answer:  # noqa: S310
        assert json.load(answer)["pictures"] > 0


def test_pictures_and_sound_can_come_from_two_sources(broadcast, stub, make_tone):
    source, sound = parse_source(broadcast.url), parse_source(str(make_tone))
    run = LiveRun(
        LiveSegmenter(stub(), device="cpu"),
        source,
        sound=sound,
        seconds=2.0,
        outputs=Outputs(page="0", make_page=LivePage),
        say=str,
    )
    run.run()
    assert run.masks > 0
    assert max(float(patch.max()) for patch in run.segmenter.scorer.model.heard) > -4  # not silence


@pytest.fixture
def make_tone(tmp_path):
    import av
    import numpy as np

    path = tmp_path / "tone.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        wave = (8000 * np.sin(np.arange(160_000) * 0.3)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate = 16_000
        out.mux([*stream.encode(frame), *stream.encode()])
    return path


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopping_exits_with_128_and_the_signal_and_leaves_whole_what_was_written(broadcast, tmp_path, stop):
    out, lines = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    listening = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background jobs ignore it
    )
    program = f"{listening}; import sys; from sonomask.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "live", broadcast.url, "--model", "avs_mini.synthetic"]
    process = subprocess.Popen(
        [*command, "--out", str(out), "--json", str(lines), "--device", "cpu"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        until(lambda: lines.exists() and len(lines.read_text().splitlines()) > 5, 300)
        process.send_signal(stop)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + stop, said
    assert "capture to mask" in said
    count = len([json.loads(line) for line in lines.read_text().splitlines()])
    with VideoReader(out) as reader:
        assert 0 < len(list(reader.frames())) <= count


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_ten_minutes_take_no_more_memory_than_the_first(start, broadcast, tmp_path):
    seconds = float(os.environ.get("SONOMASK_LIVE_SECONDS", "600"))
    model = api.load_fast("avs_mini.synthetic", "cpu")
    run, _ = start(
        Outputs(json=str(tmp_path / "a.jsonl"), out=str(tmp_path / "a.mp4"), page="0", make_page=LivePage), model
    )
    memory = []
    for part in range(10):  # with a restart and a stall on the way
        time.sleep(seconds / 10)
        memory.append(resident() >> 20)
        sys.stderr.write(f"{run.report()}; {memory[-1]} MiB resident\n")
        fault = {3: broadcast.broken, 6: broadcast.stalled}.get(part)
        if fault is not None:
            fault.set()
            time.sleep(12)
            fault.clear()
    assert memory[-1] - memory[7] < 10  # after the last fault; the broadcast's own encoders are in this process too
    assert memory[-1] - memory[0] < 64
    assert run.feed.latest > 0.9 * seconds
