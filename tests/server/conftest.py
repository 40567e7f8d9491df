"""A small clip of the drawn world, a runner and its service."""

import pytest

from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.server.jobs import Limits, Runner
from sonomask.server.work import Segment

MODEL = "avs_mini.synthetic"


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, scene(3, size=(96, 128), seconds=3), fps=8)
    return path


@pytest.fixture(scope="module")
def runner():
    with Runner(Segment({MODEL: MODEL}, "cpu"), Limits(bytes=2**20, seconds=20, queue=2)) as runner:
        yield runner
