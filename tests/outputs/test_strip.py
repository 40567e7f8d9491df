"""The timeline of an overlay, converted bit by bit, is the one converted as a whole."""

import numpy as np
import pytest

from sonomask.media.colour import Colours
from sonomask.media.picture import planes_of_rgb
from sonomask.outputs.strip import StripPlanes
from sonomask.visualise.timeline import Timeline


@pytest.mark.parametrize("size", [(48, 400), (62, 130)])
def test_what_changed_is_all_that_had_to(size):
    rng = np.random.default_rng(0)
    strip = Timeline(size, 4.0, rng.random((2, size[1])))
    own = StripPlanes(strip, Colours())
    for i in range(60):
        time = i / 15
        strip.mark(time, (0.0, 0.2, 0.7)[i // 7 % 3], None if i < 20 else i / 60)
        found, whole = own.at(time), planes_of_rgb(strip.draw(time), Colours())
        for ours, theirs in zip(found, whole, strict=True):
            assert np.abs(ours.astype(int) - theirs).max() <= 3, i
