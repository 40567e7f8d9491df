"""What a person does with masks in Python."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import sonomask
from sonomask.structures import Masks, Names


@pytest.fixture
def masks():
    probability = np.zeros((3, 8, 12), np.float32)
    probability[0, 2:5, 3:7] = 0.9
    probability[1, 2:6, 3:9] = 0.8
    seen = np.zeros((8, 12), np.uint8)
    seen[:, 6:] = 1
    names = Names((("Bark", 0.9),), seen, ("dog", "cat"), ("Bark", ""), (0.9, 0.0))
    return Masks((0.0, 0.5, 1.0), probability, names=(names,) * 3, presence=(0.9, 0.8, 0.1))


def test_frames_are_had_by_number_by_slice_and_in_a_loop(masks):
    assert len(masks[1]) == 1
    assert masks[1].times == masks[-2].times == (0.5,)
    assert masks[1:].presence == (0.8, 0.1)
    assert [one.times[0] for one in masks] == [0.0, 0.5, 1.0]
    assert np.array_equal(np.concatenate([one.mask for one in masks]), masks.mask)
    with pytest.raises(IndexError, match="0 to 2"):
        masks[3]


def test_areas_and_union_are_those_of_the_pixels(masks):
    assert masks.areas == (12 / 96, 24 / 96, 0.0)
    assert masks.union().sum() == 24


def test_a_thing_is_had_by_its_name(masks):
    assert masks.only("dog").sum(axis=(1, 2)).tolist() == [9, 12, 0]
    assert np.array_equal(masks.only("dog") | masks.only("cat"), masks.mask)
    with pytest.raises(ValueError, match="expected one of dog, cat"):
        masks.only("bird")
    with pytest.raises(ValueError, match="knows no names"):
        Masks((0.0,), np.zeros((1, 2, 2), np.float32)).only("dog")


def test_masks_of_another_size_mark_the_same_share(masks):
    large = masks.resized(80, 120)
    assert large.mask.shape == (3, 80, 120)
    assert large.areas[1] == pytest.approx(masks.areas[1], abs=0.06)
    assert large.names[0].seen.shape == (80, 120)


def test_pictures_are_cut_out_and_cropped(masks):
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 12, 3), np.uint8)
    cut = masks.cut_out(images, feather=0)
    assert np.array_equal(cut[0][..., 3], masks.mask[0] * np.uint8(255))
    assert len(np.unique(masks.cut_out(images)[0][..., 3])) > 2
    assert np.array_equal(cut[0][..., :3], images[0])
    first, second = masks.crops(images)
    assert np.array_equal(first, images[0, 2:5, 3:7])
    assert second.shape == (4, 6, 3)
    with pytest.raises(ValueError, match="expected 3 of"):
        masks.crops(images[:2])


def test_pictures_are_saved_by_time(masks, tmp_path):
    paths = masks.save(tmp_path / "new")
    assert [path.name for path in paths] == ["00000.000000.png", "00000.500000.png", "00001.000000.png"]
    assert np.array_equal(np.asarray(Image.open(paths[1])) > 0, masks.mask[1])
    assert [image.size for image in masks.to_pil()] == [(12, 8)] * 3


def test_a_notebook_shows_them_and_a_terminal_prints_one_line(masks):
    assert Image.open(BytesIO(masks._repr_png_())).size[1] == 107
    page = masks._repr_html_()
    assert page.startswith('<figure><img src="data:image/png;base64,')
    assert "<figcaption>Masks: 3 of 12×8 pixels from 0.000 to 1.000 s, 12.5% of the picture sounds</figcaption>" in page
    assert repr(masks) == "<Masks: 3 of 12×8 pixels from 0.000 to 1.000 s, 12.5% of the picture sounds>"


def test_regions_and_seconds_carry_names(masks):
    (first,), (second,), none = sonomask.to_regions(masks)
    assert first.id == second.id
    assert first.name == "dog"
    assert none == ()
    assert sum(sonomask.seconds_by_name(masks).values()) == 1.0


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools
def test_coco_is_read_back_by_its_own_library(masks):
    from pycocotools.coco import COCO

    made = sonomask.to_coco(masks)
    read = COCO()
    read.dataset = made
    read.createIndex()
    assert [read.annToMask(one).sum() for one in made["annotations"]] == [12, 24]
    assert [image["time"] for image in made["images"]] == [0.0, 0.5, 1.0]
