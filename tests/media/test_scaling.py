"""Scaling of decoded frames."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from sonomask.media.colour import to_rgb


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_frames_that_are_kept_hold_no_threads():
    grey = np.full((360, 320), 128, np.uint8)
    frames = [av.VideoFrame.from_ndarray(grey, format="yuv420p") for _ in range(60)]
    before = len(list(Path("/proc/self/task").iterdir()))
    kept = [(frame, to_rgb(frame, (120, 160))) for frame in frames]
    assert len(list(Path("/proc/self/task").iterdir())) < before + len(kept)


def test_sizes_and_formats_in_turn_give_what_they_give_alone():
    rng = np.random.default_rng(0)
    pictures = [
        av.VideoFrame.from_ndarray(rng.integers(0, 255, (360, 320), np.uint8), format="yuv420p"),
        av.VideoFrame.from_ndarray(rng.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24"),
    ]
    alone = [to_rgb(pictures[i], size) for i, size in ((0, None), (1, (24, 32)), (0, (60, 80)))]
    turns = [to_rgb(pictures[i], size) for i, size in ((0, (60, 80)), (1, (24, 32)), (0, None))][::-1]
    for one, other in zip(alone, turns, strict=True):
        np.testing.assert_array_equal(one, other)
