"""Where masks go, and what is there when a run ends early."""

import json
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.live.feed import SoundRing
from sonomask.live.sinks import video
from sonomask.live.sinks.base import QUEUE
from sonomask.live.sinks.lines import JsonLines
from sonomask.live.sinks.video import VideoSink
from sonomask.live.sinks.window import DesktopWindow
from sonomask.media.live.reader import LiveSound
from sonomask.media.reader import VideoReader
from sonomask.structures import Names


def result(time=0.0, labels=None, size=(24, 32), names=None):
    labels = np.zeros(size, np.uint8) if labels is None else labels
    masks = SimpleNamespace(presence=(0.75,), names=names)
    drawn = np.full((*labels.shape, 3), 90, np.uint8)
    return SimpleNamespace(time=time, delay=0.1, labels=labels, masks=masks, drawn=drawn)


def test_each_class_that_sounds_is_an_area_of_its_line(tmp_path):
    labels = np.zeros((4, 4), np.uint8)
    labels[:, 1], labels[0, 3] = 1, 2
    with JsonLines(str(tmp_path / "a.jsonl"), ("ground", "dog", "cat")) as lines:
        lines.write(result(0.5, labels))
        lines.write(result(0.6))
    first, second = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    assert [(a["label"], a["counts"]) for a in first["areas"]] == [("dog", [4, 4, 8]), ("cat", [12, 1, 3])]
    assert (first["time"], first["size"], first["presence"], second["areas"]) == (0.5, [4, 4], 0.75, [])


def test_a_line_tells_the_names_of_what_is_heard_and_marked(tmp_path, conforms):
    labels = np.zeros((4, 4), np.uint8)
    labels[:, :2] = 1
    names = Names((("Bark", 0.9),), np.eye(4, dtype=np.uint8), ("person", "dog"), ("", "Bark"), (0.0, 0.9))
    with JsonLines(str(tmp_path / "a.jsonl")) as lines:
        lines.write(result(0.5, labels, names=(names,)))
    (line,) = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    conforms("live", line)
    assert line["heard"] == {"Bark": 0.9}
    assert line["things"] == {"person": 0.375, "dog": 0.125}


def test_a_line_is_there_as_soon_as_it_is_written_and_an_existing_file_stays(tmp_path):
    path = tmp_path / "a.jsonl"
    with JsonLines(str(path)) as lines:
        lines.write(result())
        assert len(path.read_text().splitlines()) == 1
    with pytest.raises(MediaError, match="exists"):
        JsonLines(str(path))


def test_standard_output_takes_lines_too_and_stays_open(capsys):
    with JsonLines("-") as lines:
        lines.write(result())
    sys.stdout.write("after\n")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_run_that_is_stopped_leaves_a_whole_video_with_sound(tmp_path):
    path, ring = tmp_path / "a.mp4", SoundRing()
    ring.put(LiveSound(0.0, np.full(32_000, 0.1, np.float32)))
    sink = VideoSink(str(path), ring)
    sink.__enter__()
    for i in range(6):
        sink.write(result(i / 4))
    sink.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with VideoReader(path) as reader:
        assert len(list(reader.frames())) == 6
        assert sum(map(len, reader.waveform())) > 16_000


def test_a_source_that_comes_back_with_another_size_is_fitted_in(tmp_path):
    path = tmp_path / "a.mkv"
    with VideoSink(str(path), None) as sink:
        sink.write(result(0.0))
        sink.write(result(0.5, size=(48, 48)))
    with VideoReader(path) as reader:
        assert [frame.image.shape for frame in reader.frames()] == [(24, 32, 3)] * 2


def test_a_slow_server_costs_pictures_and_not_time(monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(VideoSink, "_write", lambda *_: gate.wait(20))
    said = []
    with VideoSink("rtmp://nowhere/a", None, say=said.append) as sink:
        for i in range(50):
            sink.write(result(i / 10))
        assert sink.waiting == QUEUE
        gate.set()
    assert sink.left_out >= 50 - QUEUE - 1
    assert "left out" in said[-1]


def test_a_server_that_goes_away_is_tried_again(monkeypatch):
    tries, said = [], []

    def fail(_sink, one):
        tries.append(one.time)
        if len(tries) < 3:
            raise MediaError("refused.")

    monkeypatch.setattr(VideoSink, "_write", fail)
    monkeypatch.setattr(video, "FIRST_WAIT", 0.0)
    sink = VideoSink("rtmp://nowhere/a", None, say=said.append)
    for i in range(4):
        sink._bring(result(float(i)))
    assert tries == [0, 1, 2, 3]
    assert ["trying again" in line for line in said] == [True, True]


def test_a_file_that_can_not_be_written_to_stops_the_run(tmp_path):
    sink = VideoSink(str(tmp_path / "a.mp4"), None)
    (tmp_path / "a.mp4").mkdir()
    sink.__enter__()
    sink.write(result())
    until = time.monotonic() + 20
    while sink.worker.error is None and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(MediaError, match=r"a\.mp4"):
        sink.write(result(1.0))


@pytest.mark.parametrize("name", ["a.avi", "here.mp4"])
def test_a_target_that_will_not_do_is_refused_before_the_run(tmp_path, name):
    (tmp_path / "here.mp4").touch()
    with pytest.raises((ValueError, MediaError), match="out"):
        VideoSink(str(tmp_path / name), None)


def test_a_window_without_a_display_is_told_in_a_line(monkeypatch):
    pytest.importorskip("tkinter")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(MediaError, match="--page"):
        DesktopWindow()
