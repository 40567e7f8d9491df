"""The same input, model and options give the same numbers; what is no number is named."""

import subprocess
import sys

import numpy as np
import pytest

import sonomask
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.errors import MediaError

TOLERANCE = 1e-5  # of a probability, between batch sizes: float32 sums in another order


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("determinism") / "clip.mp4"
    write_video(path, scene(3, size=(48, 64), seconds=4), 8)
    return path


@pytest.fixture(scope="module")
def model():
    return sonomask.load("avs_mini.synthetic")


def probabilities(model, video, **options):
    return np.concatenate([m.probability for m in sonomask.Segmenter(model, device="cpu", rate=4.0, **options)(video)])


def test_two_runs_give_the_same_bytes(model, video, tmp_path):
    for name in ("a", "b"):
        sonomask.segment(video, tmp_path / name, model, rate=2.0, formats=("overlay", "masks", "npz"))
    files = {p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert len(files) == 2 + 8 + 1
    for file in files - {next(f for f in files if f.suffix == ".npz")}:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    with np.load(tmp_path / "a" / "clip.npz") as a, np.load(tmp_path / "b" / "clip.npz") as b:  # a zip tells its hour
        assert all(np.array_equal(a[key], b[key]) for key in a.files)


def test_batch_sizes_agree(model, video):
    one, four = (probabilities(model, video, batch_size=size) for size in (1, 4))
    np.testing.assert_allclose(one, four, atol=TOLERANCE, rtol=0)


def test_the_sandbox_gives_the_same_numbers(model, video):
    from sonomask.media.sandbox.reader import SandboxedReader

    with SandboxedReader(video) as reader:
        assert np.array_equal(probabilities(model, reader), probabilities(model, video))


def test_sound_that_is_no_number_is_named(model, make_broken_sound):
    with pytest.raises(MediaError, match="NaN or infinity"):
        list(sonomask.Segmenter(model, device="cpu")(make_broken_sound))


@pytest.fixture
def make_broken_sound(tmp_path):
    from fractions import Fraction

    import av

    path = tmp_path / "nan.mkv"
    with av.open(str(path), "w") as file:
        picture, sound = file.add_stream("mpeg4", rate=5), file.add_stream("pcm_f32le", rate=16_000, layout="mono")
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for i in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))
            frame.pts, frame.time_base = i, Fraction(1, 5)
            file.mux(picture.encode(frame))
        file.mux(picture.encode())
        wave = np.zeros((1, 32_000), np.float32)
        wave[0, 20_000] = np.nan
        part = av.AudioFrame.from_ndarray(wave, "flt", "mono")
        part.sample_rate, part.pts, part.time_base = 16_000, 0, Fraction(1, 16_000)
        file.mux(sound.encode(part))
    return path


def test_segmenting_warns_of_nothing(video, tmp_path):
    words = ["segment", str(video), "--model", "avs_mini.synthetic", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "sonomask.cli.main", *words], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, f"sonomask: {video}: marking what sounds with avs_mini.synthetic\n")
