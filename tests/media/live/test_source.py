"""What a live source may be."""

import os
import sys
import threading

import pytest

from sonomask.errors import MediaError
from sonomask.media.live.source import LiveSource, Pipe, open_source, parse_source
from sonomask.media.opening import Limits


@pytest.mark.parametrize("text", ["rtsp://a/b", "RTMP://a/b", "http://a/b.m3u8", "srt://a:1", "tcp://127.0.0.1:9"])
def test_an_address_is_an_address(text):
    assert parse_source(text) == LiveSource(text, text, "address")


def test_a_file_a_named_pipe_and_standard_input_are_told_apart(tmp_path):
    (tmp_path / "clip.mp4").touch()
    os.mkfifo(tmp_path / "fifo")
    kinds = [parse_source(str(source)).kind for source in (tmp_path / "clip.mp4", tmp_path / "fifo", "-")]
    assert kinds == ["file", "pipe", "pipe"]


@pytest.mark.parametrize(
    ("platform", "text", "expected"),
    [
        ("linux", "camera", ("video4linux2", "/dev/video0")),
        ("linux", "/dev/video2", ("video4linux2", "/dev/video2")),
        ("linux", "microphone:hw:1", ("alsa", "hw:1")),
        ("darwin", "camera:1:0", ("avfoundation", "1:0")),
        ("win32", "microphone:audio=Line", ("dshow", "audio=Line")),
    ],
)
def test_a_device_is_found_by_the_name_that_its_system_gives_it(platform, text, expected, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    source = parse_source(text)
    assert (source.kind, source.format, source.address) == ("device", *expected)


@pytest.mark.parametrize(("text", "word"), [("nowhere.mp4", "no such file"), (".", "folder")])
def test_what_is_no_source_is_refused(text, word):
    with pytest.raises(MediaError, match=word):
        parse_source(text)
    with pytest.raises(ValueError, match="source"):
        parse_source("")


def test_a_source_that_is_not_there_is_told_in_a_line():
    with pytest.raises(MediaError, match="can't be opened"):
        open_source(parse_source("tcp://127.0.0.1:9"), Limits(timeout=1))


def test_a_pipe_gives_bytes_as_they_come_and_complains_of_silence(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(
        target=lambda: (file := path.open("wb", buffering=0), file.write(b"abc")) and held.append(file)
    )
    held: list = []
    writer.start()
    pipe = Pipe(str(path), timeout=0.05)
    writer.join()
    assert pipe.read(100) == b"abc"
    with pytest.raises(TimeoutError, match="no data"):
        pipe.read(100)
    held[0].close()
    assert pipe.read(100) == b""
    pipe.close()


def test_a_playlist_in_a_pipe_opens_no_file(tmp_path):
    (tmp_path / "secret.ts").write_bytes(b"G" * 188 * 10)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n"
    threading.Thread(target=path.write_text, args=(text,), daemon=True).start()
    with pytest.raises(MediaError, match="can't be opened"):
        open_source(parse_source(str(path)), Limits(timeout=1))


def test_a_file_that_points_to_others_is_refused(tmp_path):
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    with pytest.raises(MediaError, match="can't be opened"):
        open_source(parse_source(str(tmp_path / "list.mp4")), Limits())
