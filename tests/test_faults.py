"""What goes wrong around a run: memory, disk, folders, the network, the keyboard."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sonomask.batches import Output
from sonomask.cli.main import main
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.errors import MediaError
from sonomask.inference.segmenter import Segmenter
from sonomask.structures import ModelConfig

ROOT_ONLY = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")


class Hungry(torch.nn.Module):
    """Runs out of memory above so many clips."""

    config = ModelConfig("hungry", image_size=(24, 32), clip_length=3)

    def __init__(self, most):
        super().__init__()
        self.most, self.sizes = most, []

    def forward(self, images, logmel, valid=None):
        assert valid is None
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.sizes.append(len(images))
        return Output(images.mean(2, keepdim=True) + logmel.mean((2, 3, 4))[..., None, None, None])


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("faults") / "clip.mp4"
    write_video(path, scene(3, size=(48, 64), seconds=4), 8)
    return path


def probabilities(model, video, **options):
    return np.concatenate([m.probability for m in Segmenter(model, device="cpu", rate=8.0, **options)(video)])


def test_too_little_memory_for_a_batch_means_a_smaller_one(video, caplog):
    model = Hungry(3)
    got = probabilities(model, video, batch_size=8)
    assert max(model.sizes) == 2
    assert "goes on with 4" in caplog.text
    np.testing.assert_allclose(got, probabilities(Hungry(99), video, batch_size=8), atol=1e-6, rtol=0)


class HungryStream(Hungry):
    """Recurrent: runs out of memory above so many frames, and remembers how many it has seen."""

    config = ModelConfig("stream", image_size=(24, 32), dense=True, recurrent=True)

    def forward(self, images, logmel, past=None):
        if images.shape[1] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.sizes.append(images.shape[1])
        past = images.new_zeros(1, 1) if past is None else past
        counts = past + torch.arange(1, images.shape[1] + 1)
        logits = images.mean(2, keepdim=True) + (counts / 50 + logmel.mean((2, 3, 4)))[..., None, None, None]
        return Output(logits, past=counts[:, -1:])


def test_too_little_memory_for_a_recurrent_model_means_fewer_frames_at_once(video, caplog):
    model, plenty = HungryStream(1), HungryStream(99)
    got = probabilities(model, video)
    np.testing.assert_allclose(got, probabilities(plenty, video), atol=1e-6, rtol=0)
    assert set(model.sizes) == {1}
    assert set(plenty.sizes) == {1, 3, 4}  # the first frame alone
    assert "frames at once; goes on with 1" in caplog.text
    with pytest.raises(MediaError, match="too small for one frame"):
        probabilities(HungryStream(0), video)


def test_too_little_memory_for_one_clip_is_told(video):
    with pytest.raises(MediaError, match="too small for one clip"):
        probabilities(Hungry(0), video)


def test_another_error_of_the_model_is_not_hidden(video):
    model = Hungry(9)
    model.forward = lambda *_: (_ for _ in ()).throw(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        probabilities(model, video)


def full_disk(video, tmp_path, *words):
    """Run `segment` with the outputs on a disk of a few kilobytes; gives its answer and what is left."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(tmp_path)], check=True)
    try:
        return main(["segment", str(video), "--model", "avs_mini.synthetic", "--out", str(tmp_path), *words]), [
            p.name for p in tmp_path.iterdir()
        ]
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@ROOT_ONLY
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a tmpfs")
@pytest.mark.parametrize("kind", ["overlay", "masks", "npz"])
def test_a_full_disk_costs_one_line_and_leaves_nothing(kind, video, tmp_path, capsys):
    code, left = full_disk(video, tmp_path, "--format", kind)
    printed = capsys.readouterr().err
    assert (code, left) == (2, [])
    assert "No space left" in printed
    assert "Traceback" not in printed


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_closed_costs_one_line(video, tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["segment", str(video), "--out", str(tmp_path / "out")]) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_a_file_in_the_place_of_the_folder_costs_one_line(video, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert main(["segment", str(video), "--model", "avs_mini.synthetic", "--out", str(tmp_path / "out")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_network_that_is_not_there_costs_one_line(tmp_path, capsys):
    assert (
        main(["segment", "http://127.0.0.1:9/clip.mp4", "--model", "avs_mini.synthetic", "--out", str(tmp_path)]) == 2
    )
    printed = capsys.readouterr().err
    assert "can't be opened" in printed
    assert len([line for line in printed.splitlines() if "marking" not in line]) == 1


def start(video, out):
    words = ["segment", str(video), "--model", "avs_mini.synthetic", "--rate", "native", "--out", str(out)]
    code = (  # a process in the background may have been born deaf to Ctrl-C, and under nohup to SIGHUP
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
        "from sonomask.cli.main import main; raise SystemExit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not (out.is_dir() and any(out.iterdir())):  # until it has begun to write
        time.sleep(0.02)
    return process


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_ctrl_c_sigterm_and_sighup_leave_nothing(sent, code, video, tmp_path):
    process = start(video, tmp_path / "out")
    process.send_signal(sent)
    assert process.communicate()[1].splitlines()[-1] == "sonomask: stopped."
    assert process.returncode == code
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_what_a_killed_run_left_is_swept_by_the_next(video, tmp_path):
    process = start(video, tmp_path / "out")
    process.kill()
    process.communicate()
    assert all(p.name.startswith(".sonomask-") for p in (tmp_path / "out").iterdir())
    process = start(video, tmp_path / "out")
    process.communicate()
    assert process.returncode == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["clip.overlay.mp4"]


def test_the_folder_of_a_run_that_lives_is_not_swept(tmp_path):
    from sonomask.workspace import atomic_path

    with atomic_path(tmp_path / "a") as first:
        first.write_text("a")
        with atomic_path(tmp_path / "b") as second:
            second.write_text("b")
        assert Path(first).read_text() == "a"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
