import numpy as np
import pytest

from sonomask.data.avsbench import AVSBench
from sonomask.errors import MediaError
from sonomask.media.reader import VideoReader
from sonomask.media.writer import VideoWriter
from sonomask.outputs.formats import paths_of
from sonomask.outputs.write import open_outputs

CLASSES = ("background", *(f"class {i}" for i in range(1, 71)))
TIMES = tuple(i + 15 / 16 for i in range(6))


def test_our_own_reader_reads_the_tree(written, masks):
    data = AVSBench(written(["avsbench"], masks(*TIMES))["avsbench"], "ms3", "test")
    assert [item.name for item in data.items] == ["video_00000"]
    clip = data[0]
    assert clip.masks.shape == (5, 224, 224)
    assert float(clip.masks.float().mean()) == pytest.approx(float(masks(0.0).mask.mean()), abs=0.02)
    assert clip.logmel.std() > 0.1


def test_a_semantic_tree_is_that_of_avss(written, masks):
    data = AVSBench(written(["avsbench"], masks(*TIMES, semantic=True), classes=CLASSES)["avsbench"], "avss", "test")
    assert set(np.unique(data[0].masks[:5])) == {0, 7}


def test_each_second_has_the_mask_nearest_to_the_moment_of_avsbench(written, masks):
    pieces = masks(*sorted([*TIMES[:5], 0.2, 0.5]))
    pieces.probability[:2] = 0
    clip = AVSBench(written(["avsbench"], pieces)["avsbench"], "ms3", "test")[0]
    assert clip.masks[0].any()


def test_seconds_that_make_no_clip_are_told(video, masks, tmp_path):
    with VideoReader(video) as reader:
        with open_outputs(reader, paths_of(tmp_path / "v", ["avsbench"]), facts={}) as take:
            take(masks(*TIMES))
        assert any("1 s that make no whole clip" in warning for warning in reader.warnings)


def test_a_video_shorter_than_a_clip_is_refused_at_the_start(written, masks, tmp_path):
    with VideoWriter(tmp_path / "short.mp4", size=(48, 64), rate=4) as out:
        out.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    with pytest.raises(MediaError, match="avsbench"):
        written(["avsbench"], masks(0.5), source=tmp_path / "short.mp4")
