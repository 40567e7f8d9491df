"""What other programs read: every pixel and its alpha, from a pipe that comes and goes."""

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest

from sonomask.errors import MediaError, MissingExtraError
from sonomask.live.sinks.programs import PipeSink, VirtualCamera, shown

pytestmark = pytest.mark.skipif(os.name == "nt", reason="named pipes of POSIX systems")
SIZE = (24, 32)


def result(time, size=SIZE):
    labels = np.zeros(size, np.uint8)
    labels[:, : size[1] // 2] = 1
    image = np.full((*size, 3), [10, 200, 30 + int(10 * time) % 100], np.uint8)
    return SimpleNamespace(
        time=time, labels=labels, picture=SimpleNamespace(image=lambda _: image), drawn=image, delay=0.1
    )


def read(path, form, count, into):
    with av.open(str(path), format=form) as container:
        for i, frame in enumerate(container.decode(video=0)):
            into.append((float(frame.time), frame.to_ndarray(format="gray" if form == "gray" else into.form)))
            if i + 1 == count:
                return


class Frames(list):
    form = "rgba"


@pytest.mark.parametrize(("kind", "form"), [("nut", "nut"), ("ffv1", "matroska")])
@pytest.mark.parametrize("shows", ["alpha", "mask", "overlay"])
def test_a_reader_gets_every_pixel_as_it_was(kind, form, shows, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    found = Frames()
    found.form = {"alpha": "rgba", "mask": "gray", "overlay": "rgb24"}[shows]
    reader = threading.Thread(target=read, args=(path, form, 4, found))
    reader.start()
    sent = [result(i / 4) for i in range(6)]
    with PipeSink(str(path), shows, kind) as sink:
        for one in sent:
            sink.write(one)
    reader.join(30)
    assert len(found) == 4
    for one, (moment, image) in zip(sent, found, strict=False):
        assert moment == pytest.approx(one.time, abs=1e-3)
        np.testing.assert_array_equal(image, shown(one, shows))


def test_a_reader_that_goes_away_is_waited_for_again(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    said, over = [], threading.Event()

    def feed():
        with PipeSink(str(path), "mask", say=said.append) as sink:
            i = 0
            while not over.is_set():
                sink.write(result(i / 10))
                i += 1
                time.sleep(0.02)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        for _ in range(2):
            found = Frames()
            found.form = "gray"
            read(path, "nut", 3, found)
            assert len(found) == 3
            while not said and thread.is_alive():  # until it has noticed
                time.sleep(0.02)
    finally:
        over.set()
        rest = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # lets go whoever waits for a reader
        thread.join(30)
        os.close(rest)
    assert any("waited for another" in line for line in said)


def test_nobody_reads_and_the_run_goes_on_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(PipeSink, "FAREWELL", 0.1)
    os.mkfifo(tmp_path / "pipe")
    said = []
    with PipeSink(str(tmp_path / "pipe"), say=said.append) as sink:
        for i in range(100):
            sink.write(result(i / 10))
    assert "pictures were left out" in said[-1]
    os.close(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK))


def test_a_reader_of_standard_output_that_goes_away_ends_the_run(monkeypatch):
    def gone(*_):
        raise MediaError("-: its reader went away.")

    monkeypatch.setattr(PipeSink, "_write", gone)
    sink = PipeSink("-")
    sink.__enter__()
    sink.write(result(0.0))
    sink.worker.close(20)
    with pytest.raises(MediaError, match="went away"):
        sink.write(result(0.1))
    with pytest.raises(MediaError, match="went away"):
        sink.__exit__(None, None, None)


def test_what_nobody_foresaw_reaches_the_run_too(tmp_path, monkeypatch):
    monkeypatch.setattr("sonomask.live.sinks.programs.shown", lambda *_: 1 / 0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MediaError, match="zero"), PipeSink(str(tmp_path / "pipe"), say=str) as sink:
        sink.write(result(0.0))


def test_a_plain_file_is_no_pipe(tmp_path):
    with pytest.raises(MediaError, match="mkfifo"):
        PipeSink(str(tmp_path / "file"))


def test_standard_output_takes_a_stream_too():
    code = (
        "import numpy as np; from sonomask.media.live.pipe_writer import PipeWriter\n"
        "with PipeWriter('-', size=(24, 32), channels=4) as out:\n"
        "    [out.write(np.full((24, 32, 4), 10 * i, np.uint8), i / 5) for i in range(3)]\n"
    )
    data = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    import io

    with av.open(io.BytesIO(data), format="nut") as container:
        assert [int(f.to_ndarray(format="rgba").mean()) for f in container.decode(video=0)] == [0, 10, 20]


def test_a_virtual_camera_is_given_each_picture_and_closed(monkeypatch):
    made = []

    class Camera:
        def __init__(self, width, height, fps):
            self.width, self.height, self.fps, self.sent, self.closed = width, height, fps, [], False
            made.append(self)

        def send(self, image):
            self.sent.append(image.copy())

        def close(self):
            self.closed = True

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=Camera))
    with VirtualCamera(30.0) as camera:
        camera.write(result(0.0))
        camera.write(result(0.1, (48, 48)))
    (device,) = made
    assert (device.width, device.height, device.fps, device.closed) == (32, 24, 30.0, True)
    assert [image.shape for image in device.sent] == [(24, 32, 3)] * 2


def test_a_machine_without_a_device_or_the_package_says_so(monkeypatch):
    def none(**_):
        raise RuntimeError("no device")

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=none))
    with pytest.raises(MediaError, match="v4l2loopback"), VirtualCamera() as camera:
        camera.write(result(0.0))
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(MissingExtraError):
        VirtualCamera()
