import json

import numpy as np
import pytest

from sonomask.avsbench.palette import palette


def test_the_palette_is_that_of_avsbench_semantic(golden):
    expected = json.loads((golden / "palette71.json").read_text())["palette"]
    assert palette(71).tolist() == expected


def test_every_class_has_its_own_colour():
    assert len(np.unique(palette(256), axis=0)) == 256


def test_the_background_is_black_and_a_shorter_palette_is_the_start_of_a_longer_one():
    assert palette(5).tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]


@pytest.mark.parametrize("classes", [0, 257])
def test_a_number_of_classes_without_colours_is_refused(classes):
    with pytest.raises(ValueError, match="1 to 256"):
        palette(classes)
