"""Make `three_things.mp4`, the clip of the README: three things in sight; one, another, the third, none, two sound.

Run from anywhere: `python examples/make_example.py`. It is drawn from the synthetic world, so it belongs to everyone.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sonomask.data.drawn.world import Rules, Scene, scene
from sonomask.data.tree import write_video

HEARD = ((0,), (1,), (2,), (), (0, 1))  # which of the things, two seconds each
SECONDS = 2


def three_things() -> Scene:
    """The scene of the clip."""
    drawn = scene(354, size=(240, 320), seconds=SECONDS * len(HEARD), rules=Rules(visible=(3, 3), offscreen=0, noise=0))
    sounding = np.array([[thing in heard for thing in range(3)] for heard in HEARD])
    return replace(drawn, sounding=sounding.repeat(SECONDS, axis=0))


if __name__ == "__main__":
    write_video(Path(__file__).with_name("three_things.mp4"), three_things(), fps=25)
