"""Polygons against the libraries that read them: pycocotools for COCO, supervision (OpenCV) for YOLO."""

import json

import numpy as np
import pytest
from scipy import ndimage

from sonomask.outputs.polygons import outline
from sonomask.structures import Masks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools' arrays are not yet NumPy 2's


def ring(size=64, outer=28, inner=12):
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    radius = np.hypot(y, x)
    return (radius < outer) & (radius > inner)


def corner():
    mask = np.zeros((20, 20), bool)
    mask[2:10, 2:10] = mask[10:18, 10:18] = True
    return mask


def holes():
    mask = np.ones((40, 60), bool)
    mask[5:12, 5:20] = mask[20:35, 8:14] = mask[10:30, 40:55] = False
    mask[18:22, 46:50] = True  # an island, that is a region of its own
    return ndimage.label(mask, np.ones((3, 3)))[0] == 1


def blob():
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(120, 160)), 6)
    numbered, _ = ndimage.label(noise > 0, np.ones((3, 3)))
    return numbered == np.bincount(numbered.ravel())[1:].argmax() + 1


def dot():
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    return mask


SHAPES = {
    "ring": ring,
    "corner": corner,
    "holes": holes,
    "blob": blob,
    "whole": lambda: np.ones((30, 40), bool),
    "dot": dot,
}


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("name", SHAPES)
def test_pycocotools_fills_an_outline_to_the_mask(name):
    from pycocotools import mask as runs

    mask = SHAPES[name]()
    flat = outline(mask).ravel().tolist()
    assert len(flat) >= 6
    read = runs.decode(runs.frPyObjects([flat], *mask.shape))[..., 0].astype(bool)
    assert overlap(read, mask) > (0.97 if mask.sum() > 100 else 0.99)


def test_a_straight_edge_has_no_corners_of_its_own():
    assert len(outline(np.ones((30, 40), bool))) == 4


def one(mask):
    probability = np.where(mask, 0.9, 0.1).astype(np.float32)[None]
    return Masks((0.5,), probability, 0.5, None, None)


@pytest.fixture
def hollow():
    mask = np.zeros((48, 64), bool)
    mask[4:44, 4:40] = True
    mask[14:30, 14:28] = False
    mask[10:20, 50:60] = True
    return mask


def test_coco_with_polygons_is_read_by_pycocotools_in_cvat_s_folders(written, hollow):
    from pycocotools.coco import COCO

    folder = written(["coco-polygons"], one(hollow))["coco-polygons"]
    read = COCO(str(folder / "annotations" / "instances_default.json"))
    (image,) = read.loadImgs(read.getImgIds())
    assert (folder / "images" / "default" / image["file_name"]).is_file()
    annotations = read.loadAnns(read.getAnnIds())
    assert len(annotations) == 2
    assert all(isinstance(a["segmentation"], list) and a["iscrowd"] == 0 for a in annotations)
    made = sum(read.annToMask(a).astype(bool) for a in annotations).astype(bool)
    np.testing.assert_array_equal(made, hollow)


@pytest.mark.filterwarnings("ignore")  # supervision's own
def test_supervision_reads_yolo_s_polygons(written, hollow):
    supervision = pytest.importorskip("supervision")
    folder = written(["yolo"], one(hollow))["yolo"]
    data = supervision.DetectionDataset.from_yolo(
        str(folder / "images" / "train"), str(folder / "labels" / "train"), str(folder / "data.yaml"), force_masks=True
    )
    assert data.classes == ["sounding"]
    ((_, image, found),) = list(data)
    assert image.shape == (48, 64, 3)
    assert sorted(found.class_id.tolist()) == [0, 0]
    assert overlap(found.mask.any(0), hollow) > 0.9  # OpenCV draws the edge itself, half a pixel outwards


@pytest.mark.filterwarnings("ignore")  # its own
def test_ultralytics_finds_the_frames_wherever_it_is_started(written, hollow, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    check = pytest.importorskip("ultralytics.data.utils").check_det_dataset
    from ultralytics.data.dataset import YOLODataset

    folder = written(["yolo"], one(hollow))["yolo"]
    monkeypatch.chdir(tmp_path)
    about = check(str(folder / "data.yaml"), autodownload=False)
    dataset = YOLODataset(img_path=about["train"], data=about, task="segment", augment=False, imgsz=64)
    assert [label["cls"].ravel().tolist() for label in dataset.labels] == [[0, 0]]
    assert dataset[0]["masks"].any()


def test_yolo_s_yaml_leaves_its_own_folder_to_the_reader(written, hollow):
    yaml = pytest.importorskip("yaml")
    folder = written(["yolo"], one(hollow))["yolo"]
    layout = yaml.safe_load((folder / "data.yaml").read_text())
    assert "path" not in layout  # a relative one would be taken from where the reader was started
    assert (folder / layout["train"]).is_dir()
    assert (folder / layout["val"]).is_dir()


def test_yolo_s_yaml_names_every_class(written, masks):
    yaml = pytest.importorskip("yaml")
    classes = ("background", *(f"class {i}" for i in range(1, 71)))
    folder = written(["yolo"], masks(0.5, semantic=True), classes=classes)["yolo"]
    layout = yaml.safe_load((folder / "data.yaml").read_text())
    assert layout["nc"] == 70
    assert layout["names"][6] == "class 7"
    lines = (folder / "labels" / "train" / "video_000000.txt").read_text().splitlines()
    assert {line.split()[0] for line in lines} == {"6"}
    assert all(0 <= float(v) <= 1 for line in lines for v in line.split()[1:])


def test_no_region_is_an_empty_file(written):
    folder = written(["yolo", "coco-polygons"], one(np.zeros((48, 64), bool)))
    assert (folder["yolo"] / "labels" / "train" / "video_000000.txt").read_text() == ""
    read = json.loads((folder["coco-polygons"] / "annotations" / "instances_default.json").read_text())
    assert read["annotations"] == []
