"""What the child gives equals what the reader gives; what happens to the child does not happen to us."""

import os
import sys

import numpy as np
import pytest

from sonomask.errors import MediaError
from sonomask.media.opening import Limits
from sonomask.media.reader import VideoReader
from sonomask.media.sandbox.confine import Strength
from sonomask.media.sandbox.reader import START, ChildLimits, SandboxedReader, open_reader

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux keeps a process from files and network")


@pytest.fixture(scope="module")
def video(make_video):
    return make_video("guarded.mp4", seconds=3)


def test_frames_sound_and_facts_are_those_of_the_reader(video):
    with VideoReader(video) as plain, SandboxedReader(video) as guarded:
        assert guarded.info == plain.info
        for rate, size in (("native", None), (2.0, (24, 32)), ("avsbench", (24, 32))):
            ours, theirs = list(guarded.frames(rate, size=size)), list(plain.frames(rate, size=size))
            assert [f.time for f in ours] == [f.time for f in theirs]
            assert all(np.array_equal(a.image, b.image) for a, b in zip(ours, theirs, strict=True))
        for mine, own in ((guarded.waveform(0.3), plain.waveform(0.3)), (guarded.track(), plain.track())):
            np.testing.assert_array_equal(np.concatenate(list(mine), -1), np.concatenate(list(own), -1))


def test_streams_can_be_read_in_turns(video):
    with SandboxedReader(video) as reader:
        pairs = list(zip(reader.frames(5.0), reader.frames(5.0), reader.waveform(0.2), strict=False))
    assert len(pairs) == 15
    assert all(np.array_equal(a.image, b.image) for a, b, _ in pairs)


def test_an_error_of_the_reader_is_one_here(tmp_path):
    (tmp_path / "text.mp4").write_text("hello " * 1000)
    with pytest.raises(MediaError, match="can't be opened"):
        SandboxedReader(tmp_path / "text.mp4")


def test_a_killed_child_is_an_error_and_the_next_file_is_read(video):
    with SandboxedReader(video) as reader:
        reader._child.process.kill()
        with pytest.raises(MediaError, match="crashed"):
            list(reader.frames())
    with open_reader(video, sandbox=True) as reader:
        assert sum(1 for _ in reader.frames()) == 75


def test_a_child_that_falls_silent_is_stopped(video):
    with SandboxedReader(video, child_limits=ChildLimits(silence=60)) as reader:
        reader._child.child_limits = ChildLimits(silence=0.5)
        os.kill(reader._child.process.pid, 19)  # SIGSTOP
        with pytest.raises(MediaError, match="gave nothing"):
            list(reader.frames())


@linux
def test_a_file_that_needs_too_much_memory_is_an_error(video):
    with pytest.raises(MediaError), SandboxedReader(video, child_limits=ChildLimits(memory=2**27)) as reader:
        list(reader.frames())


def test_limits_hold_in_the_child(video):
    with pytest.raises(MediaError, match="limit"):
        SandboxedReader(video, Limits(pixels=1000))


def test_no_child_is_left(video):
    with SandboxedReader(video) as reader:
        process = reader._child.process
    assert process.poll() is not None


def test_a_machine_that_keeps_less_says_so(video, monkeypatch):
    monkeypatch.setattr(
        "sonomask.media.sandbox.reader.sandbox_strength", lambda: Strength(files=False, calls=True, memory=True)
    )
    with SandboxedReader(video) as reader:
        assert sum(1 for _ in reader.frames()) == 75
        assert "does not keep the decoder from reading other files" in reader.warnings[0]


@linux
def test_a_sandbox_that_does_not_close_is_an_error(video, monkeypatch):
    broken = (
        "from sonomask.media.sandbox import child, confine; "
        "child.confine = lambda *_, **__: confine.Strength(files=True, calls=False, memory=True)"
    )
    monkeypatch.setattr("sonomask.media.sandbox.reader.START", START.replace("main()", f"{broken}; main()"))
    monkeypatch.setattr(
        "sonomask.media.sandbox.reader.sandbox_strength", lambda: Strength(files=True, calls=True, memory=True)
    )
    with pytest.raises(MediaError, match="could not be closed"):
        SandboxedReader(video)
