import json
import os

import numpy as np
import pytest
from PIL import Image

from sonomask.schemas import schema

CLASSES = ("background", *(f"class {i}" for i in range(1, 71)))


def test_pictures_are_named_by_time_and_listed(written, masks):
    folder = written(["masks"], masks(0.0, 0.9375), masks(123.5), facts={"model": "stub"})["masks"]
    manifest = json.loads((folder / "manifest.json").read_text())
    names = ["00000.000000.png", "00000.937500.png", "00123.500000.png"]
    assert manifest["about"] == {"schema": schema("manifest"), "model": "stub", "classes": []}
    assert [row["file"] for row in manifest["frames"]] == names
    assert sorted(path.name for path in folder.iterdir()) == [*names, "manifest.json"]
    assert manifest["frames"][0]["area"] == pytest.approx((48 * 24 + 400) / (48 * 64))
    assert manifest["frames"][0]["max_probability"] == pytest.approx(0.8)


def test_a_picture_is_the_mask_at_source_size(written, masks):
    folder = written(["masks"], masks(1.0))["masks"]
    picture = np.asarray(Image.open(folder / "00001.000000.png"))
    np.testing.assert_array_equal(picture, masks(1.0).mask[0] * 255)


def test_a_semantic_picture_holds_class_indices(written, masks):
    folder = written(["masks"], masks(1.0, semantic=True), classes=CLASSES)["masks"]
    picture = Image.open(folder / "00001.000000.png")
    assert picture.mode == "P"
    assert set(np.unique(np.asarray(picture))) == {0, 7}


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_datasets_reads_frames_and_masks(written, masks, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder = written(["hf"], masks(0.5, 1.5, presence=0.5))["hf"]
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["time"] == [0.5, 1.5]
    assert rows[0]["presence"] == 0.5
    assert rows[0]["image"].size == (64, 48)
    np.testing.assert_array_equal(np.asarray(rows[1]["mask"]), masks(1.5).mask[0] * 255)
