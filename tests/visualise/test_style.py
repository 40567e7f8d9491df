import numpy as np

from sonomask.visualise.style import class_colours


def test_seven_classes_differ_and_the_background_is_black():
    colours = class_colours(8)
    assert len(np.unique(colours, axis=0)) == 8
    assert not colours[0].any()
    assert class_colours(71).shape == (71, 3)
