"""A small video, masks of it, and a way to write them."""

import numpy as np
import pytest

from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.media.reader import VideoReader
from sonomask.outputs.formats import paths_of
from sonomask.outputs.write import open_outputs
from sonomask.structures import Masks

SIZE = (48, 64)
CLASSES = ("background", *(f"class {i}" for i in range(1, 71)))


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """Six seconds with sound, 4 frames a second."""
    path = tmp_path_factory.mktemp("outputs") / "video.mp4"
    write_video(path, scene(3, size=SIZE, seconds=6), fps=4)
    return path


@pytest.fixture(scope="session")
def masks():
    """Masks at some times: the left half, with a probability that grows with time, and a square in the right half."""

    def make(*times, semantic=False, presence=None):
        probability = np.zeros((len(times), *SIZE), np.float32)
        probability[:, :, :24] = 0.6 + 0.05 * np.array(times)[:, None, None]
        probability[:, 10:30, 40:60] = 0.8
        labels = (probability > 0.5).astype(np.uint8) * 7 if semantic else None
        return Masks(times, probability, 0.5, labels, None if presence is None else (presence,) * len(times))

    return make


@pytest.fixture
def written(video, tmp_path):
    """Writes masks in some formats; gives the paths by format."""

    def write(formats, *pieces, classes=(), facts=None, **options):
        paths = paths_of(tmp_path / "out" / "video", formats)
        facts = {"source": "video.mp4", "model": "stub"} if facts is None else facts
        with (
            VideoReader(options.pop("source", video)) as reader,
            open_outputs(reader, paths, facts=facts, classes=classes, **options) as take,
        ):
            for piece in pieces:
                take(piece)
        return paths

    return write
