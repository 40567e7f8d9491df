import sys

import numpy as np
import pytest

from sonomask.errors import SonomaskError
from sonomask.outputs.samples import to_fiftyone, to_supervision


@pytest.mark.filterwarnings("ignore")
def test_supervision_gets_boxes_masks_and_ids(masks):
    pytest.importorskip("supervision")
    first, second = to_supervision([masks(0.5), masks(1.5)])
    np.testing.assert_array_equal(first.xyxy, [[0, 0, 24, 48], [40, 10, 60, 30]])
    np.testing.assert_array_equal(second.tracker_id, first.tracker_id)
    np.testing.assert_array_equal(first.mask.any(0), masks(0.5).mask[0])
    assert list(first["class_name"]) == ["sounding"] * 2


@pytest.mark.filterwarnings("ignore")
def test_supervision_gets_an_empty_one_where_nothing_sounds(masks):
    pytest.importorskip("supervision")
    silent = masks(0.5)
    silent.probability[:] = 0
    (found,) = to_supervision(silent)
    assert len(found) == 0


@pytest.mark.filterwarnings("ignore")
def test_fiftyone_gets_a_detection_for_each_region(video, masks):
    """FiftyOne brings a database of 700 MB, so it is not among the development packages; with it this test runs."""
    pytest.importorskip("fiftyone")
    sample = to_fiftyone(video, masks(0.5, presence=0.5))
    frame = sample.frames[3]
    assert [d.index for d in frame.sounding.detections] == [1, 2]
    assert frame.sounding.detections[1].bounding_box == [40 / 64, 10 / 48, 20 / 64, 20 / 48]
    assert frame.presence == 0.5


def test_a_library_that_is_missing_is_named(masks, video, monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(SonomaskError, match="pip install fiftyone"):
        to_fiftyone(video, masks(0.5))
