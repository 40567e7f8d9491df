import json

import numpy as np
import pytest
import torch
from PIL import Image

from sonomask.data.synthetic import scene
from sonomask.data.synthetic_tree import write_video
from sonomask.errors import MediaError
from sonomask.media.reader import VideoReader
from sonomask.outputs import open_outputs, paths_of, write_npz, write_overlay, write_pictures
from sonomask.structures import Masks

SIZE = (48, 64)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("outputs") / "video.mp4"
    write_video(path, scene(3, size=SIZE, seconds=3), fps=4)
    return path


def masks(*times, semantic=False):
    """A bright left half whose probability grows with time."""
    probability = torch.zeros(len(times), *SIZE)
    probability[:, :, :32] = 0.6 + 0.1 * torch.tensor(times)[:, None, None]
    return Masks(times, probability, 0.5, (probability > 0.5).byte() * 7 if semantic else None)


def test_the_overlay_has_every_frame_at_its_time_and_the_sound(video, tmp_path):
    with VideoReader(video) as reader, write_overlay(tmp_path / "o.mp4", reader) as write:
        for time in (0.5, 1.5, 2.5):
            write(masks(time))
    with VideoReader(tmp_path / "o.mp4") as result, VideoReader(video) as source:
        times = [[f.time for f in r.frames()] for r in (result, source)]
        tracks = [np.concatenate(list(r.waveform())) for r in (result, source)]
    np.testing.assert_allclose(times[0], times[1], atol=1e-3)
    np.testing.assert_allclose(tracks[0][:40_000], tracks[1][:40_000], atol=1e-3)


def test_each_frame_shows_the_mask_nearest_in_time(video, tmp_path):
    empty = Masks((0.5,), torch.zeros(1, *SIZE))
    with VideoReader(video) as reader, write_overlay(tmp_path / "o.mp4", reader) as write:
        write(empty)
        write(masks(1.5))
    with VideoReader(tmp_path / "o.mp4") as result:
        frames = {f.time: f.image[:48].astype(float) for f in result.frames()}
    lit = [time for time, image in frames.items() if image[:, :28].mean() > 1.2 * image[:, 36:].mean()]
    np.testing.assert_allclose(lit, np.arange(4, 12) / 4, atol=1e-3)


def test_the_overlay_of_a_silent_video_has_no_sound(tmp_path):
    from sonomask.media.writer import VideoWriter

    with VideoWriter(tmp_path / "silent.mp4", size=SIZE, rate=4) as out:
        for i in range(4):
            out.write(np.zeros((*SIZE, 3), np.uint8), i / 4)
    with VideoReader(tmp_path / "silent.mp4") as reader, write_overlay(tmp_path / "o.mp4", reader) as write:
        write(masks(0.5))
    with VideoReader(tmp_path / "o.mp4") as result:
        assert not result.info.has_audio
        assert result.info.height > SIZE[0]


def test_pictures_are_named_by_time_and_listed(tmp_path):
    with write_pictures(tmp_path / "m", facts={"model": "stub"}) as write:
        write(masks(0.0, 0.9375))
        write(masks(123.5))
    manifest = json.loads((tmp_path / "m" / "manifest.json").read_text())
    names = ["00000.000000.png", "00000.937500.png", "00123.500000.png"]
    assert manifest["about"] == {"model": "stub"}
    assert [row["file"] for row in manifest["frames"]] == names
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [*names, "manifest.json"]
    assert manifest["frames"][0]["area"] == 0.5
    assert manifest["frames"][0]["max_probability"] == pytest.approx(0.6)


def test_a_picture_is_the_mask_at_source_size(tmp_path):
    with write_pictures(tmp_path / "m", facts={}) as write:
        write(masks(1.0))
    picture = np.asarray(Image.open(tmp_path / "m" / "00001.000000.png"))
    np.testing.assert_array_equal(picture, masks(1.0).mask[0].numpy() * 255)


def test_a_semantic_picture_holds_class_indices(tmp_path):
    with write_pictures(tmp_path / "m", facts={}) as write:
        write(masks(1.0, semantic=True))
    picture = Image.open(tmp_path / "m" / "00001.000000.png")
    assert picture.mode == "P"
    assert set(np.unique(np.asarray(picture))) == {0, 7}


@pytest.mark.parametrize("semantic", [False, True])
def test_an_npz_reads_back_in_half_precision(tmp_path, semantic):
    pieces = [masks(0.0, 0.5, semantic=semantic), masks(1.0, semantic=semantic)]
    with write_npz(tmp_path / "p.npz") as write:
        for piece in pieces:
            write(piece)
    with np.load(tmp_path / "p.npz") as file:
        np.testing.assert_array_equal(file["times"], [0, 0.5, 1])
        expected = torch.cat([piece.probability for piece in pieces]).numpy().astype(np.float16)
        np.testing.assert_array_equal(file["probability"], expected)
        assert ("labels" in file) == semantic


@pytest.mark.parametrize("name", ["overlay", "masks", "npz"])
def test_what_breaks_off_leaves_nothing(video, tmp_path, name):
    def broken():
        paths = paths_of(tmp_path / "video", [name])
        with VideoReader(video) as reader, open_outputs(reader, paths, facts={}) as write:
            write(masks(0.5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["overlay", "masks", "npz"])
def test_what_exists_is_kept_unless_overwritten(video, tmp_path, name):
    paths = paths_of(tmp_path / "video", [name])

    def run(**options):
        with VideoReader(video) as reader, open_outputs(reader, paths, facts={}, **options) as write:
            write(masks(0.5))

    run()
    with pytest.raises(MediaError, match="exists"):
        run()
    run(overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [paths[name].name]


def test_a_folder_that_is_not_ours_is_never_replaced(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.txt").write_text("precious")
    with pytest.raises(MediaError, match="manifest"), write_pictures(tmp_path / "m", facts={}, overwrite=True):
        pass
    assert (tmp_path / "m" / "thesis.txt").exists()


@pytest.mark.parametrize("formats", [[], ["gif"]])
def test_an_unknown_format_is_refused(tmp_path, formats):
    with pytest.raises(ValueError, match="formats"):
        paths_of(tmp_path / "video", formats)
