"""A corpus of a few short videos, one of them none, and a small model."""

import numpy as np
import pytest
import torch
from torch import nn

from sonomask.batch.job import Ending, Options, Piece, VideoJob
from sonomask.batches import Output
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.request import Request
from sonomask.structures import ModelConfig


class Stub(nn.Module):
    """Marks what is bright, the more the louder it is."""

    def __init__(self):
        super().__init__()
        self.config = ModelConfig("stub", image_size=(24, 32), clip_length=2, presence=(1.0, 0.0))

    def forward(self, images, logmel, valid=None):  # noqa: ARG002
        return Output((images.mean(2) + 0.1 * logmel.mean((2, 3, 4))[..., None, None])[:, :, None])


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(4):
        write_video(folder / f"clip{i}.mp4", scene(i, size=(32, 48), seconds=1 + i % 3), 4)
    (folder / "nonsense.mp4").write_bytes(b"nonsense")
    return folder


@pytest.fixture
def stub():
    return Stub()


@pytest.fixture
def options():
    return Options("stub", Request(rate=2.0, device="cpu"))


def row(video, time):
    counts, place = b"0", {"height": 4, "width": 4}
    return {
        "video": video,
        "time": time,
        "label": 1,
        **place,
        "counts": counts,
        "area": int(time),
        "max_probability": 0.5,
        "presence": 0.25,
    }


@pytest.fixture
def corpus_of_pieces():
    """Jobs, and the pieces that an engine would give of them; every fifth video fails."""

    def make(count):
        jobs = [VideoJob(f"v{i:03d}", f"/v{i:03d}") for i in range(count)]
        pieces = []
        for i, job in enumerate(jobs):
            windows = [Piece(job.video, k, [row(job.video, 2.0 * k + t) for t in range(2)]) for k in range(i % 3)]
            ending = Ending("failed", "bad") if i % 5 == 4 else Ending("done", seconds=2.0, sha256=f"{i}")
            pieces += [*windows, Piece(job.video, len(windows), ending)]
        return jobs, pieces

    return make


@pytest.fixture
def mixed():
    return lambda items, seed: [items[i] for i in np.random.default_rng(seed).permutation(len(items))]


torch.set_num_threads(1)
