"""COCO's and VOC's annotations become tables, and what is broken or hostile in them is told."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from sonomask.cli.main import main
from sonomask.data.composed.annotated import table_from_coco, table_from_voc
from sonomask.errors import DatasetError

SQUARE = [[5, 5, 25, 5, 25, 25, 5, 25]]


def coco(folder, **changes):
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(folder / "a.jpg")
    thing = {"image_id": 7, "category_id": 3, "segmentation": SQUARE}
    image = {"id": 7, "file_name": "a.jpg"}
    data = {"images": [image], "categories": [{"id": 3, "name": "dog"}], "annotations": [thing]}
    for part in (image, thing):
        part.update({k: v for k, v in changes.items() if k in part})
    (folder / "coco.json").write_text(json.dumps(data))
    return folder / "coco.json"


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "voc"
    for name in ("JPEGImages", "SegmentationObject", "Annotations"):
        (root / name).mkdir(parents=True)
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(root / "JPEGImages" / "a.jpg")
    index = np.zeros((40, 50), np.uint8)
    index[5:20, 5:20], index[5:20, 25:45], index[20, :] = 1, 2, 255
    drawn = Image.fromarray(index)
    drawn.putpalette(bytes(range(256)) * 3)
    drawn.save(root / "SegmentationObject" / "a.png")
    objects = "".join(f"<object><name>{n}</name></object>" for n in ("cat", "car"))
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


def rows(table):
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def mask(table, row):
    return np.asarray(Image.open(table.parent / row["mask"])) > 0


def test_coco_becomes_pictures_with_masks(tmp_path):
    table = table_from_coco(coco(tmp_path), tmp_path, tmp_path / "out")
    (row,) = rows(table)
    assert (row["category"], row["group"]) == ("dog", "a.jpg")
    assert mask(table, row)[15, 15]
    assert not mask(table, row)[35, 45]
    assert 380 <= mask(table, row).sum() <= 460


def test_voc_becomes_a_row_for_each_object(voc, tmp_path):
    table = table_from_voc(voc, tmp_path / "out")
    cat, car = rows(table)
    assert (cat["category"], car["category"], cat["image"]) == ("cat", "car", car["image"])
    assert (mask(table, cat).sum(), mask(table, car).sum()) == (225, 300)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"file_name": "../secret.jpg"}, "outside"),
        ({"segmentation": {"size": [9, 9], "counts": [0, 81]}}, "broken segmentation"),
        ({"image_id": 8}, "COCO"),
    ],
)
def test_a_broken_coco_is_told_in_one_line(change, says, tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(DatasetError, match=says):
        table_from_coco(coco(tmp_path / "in", **change), tmp_path / "in", tmp_path / "out")


def test_an_id_of_coco_can_not_choose_where_files_go(tmp_path):
    changed = coco(tmp_path).read_text().replace("7", '"../../evil"')
    (tmp_path / "coco.json").write_text(changed)
    table = table_from_coco(tmp_path / "coco.json", tmp_path, tmp_path / "out")
    assert sorted(p.name for p in table.parent.rglob("*.*")) == ["000000.jpg", "000000_mask.png", "images.csv"]


def test_an_xml_with_entities_is_refused(voc, tmp_path):
    (voc / "Annotations" / "a.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    with pytest.raises(DatasetError, match="document type"):
        table_from_voc(voc, tmp_path / "out")


def test_the_command_takes_both(voc, tmp_path, capsys):
    assert main(["tabulate", str(voc), str(tmp_path / "v")]) == 0
    assert main(["tabulate", str(coco(tmp_path)), str(tmp_path / "c"), "--pictures", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("images.csv") == 2


def many(folder):
    """A good object among bad ones of every kind."""
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(folder / "good.jpg")
    (folder / "sub").mkdir()
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(folder / "sub" / "e.jpg")
    (folder / "broken.jpg").write_bytes(b"no picture")
    square = [[5, 5, 30, 5, 30, 30, 5, 30]]
    names = ["good.jpg", "sub\\e.jpg", "missing.jpg", "broken.jpg", "../../etc/passwd"]
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    objects = [{"id": 10 + i, "image_id": i, "category_id": 1, "segmentation": square} for i in range(len(names))]
    bad = [
        {"image_id": 99}, {"category_id": 9}, {"segmentation": []}, {"segmentation": [[1, 2, 3]]}, {"segmentation": None},
        {"segmentation": {"size": [9, 9], "counts": "xx"}},
    ]  # fmt: skip
    objects += [{**objects[0], "id": 20 + i, **change} for i, change in enumerate(bad)]
    data = {"images": images, "categories": [{"id": 1, "name": "dog"}], "annotations": [*objects, "nonsense"]}
    (folder / "many.json").write_text(json.dumps(data), encoding="utf-8-sig")  # with a mark of byte order
    return folder / "many.json"


def test_bad_objects_of_coco_are_skipped_counted_and_named(tmp_path, caplog):
    folder = tmp_path / "in"
    folder.mkdir()
    table = table_from_coco(many(folder), folder, tmp_path / "out")
    assert [row["group"] for row in rows(table)] == ["good.jpg", "sub/e.jpg"]
    (said,) = caplog.messages
    assert "2 objects taken" in said
    for part in ("2 whose picture is missing or broken (missing.jpg, broken.jpg)", "outside of the folder", "object 20",
                 "2 with a broken segmentation"):  # fmt: skip
        assert part in said


def test_a_bad_picture_of_voc_is_skipped_and_named(voc, tmp_path, caplog):
    for name in ("JPEGImages/b.jpg", "SegmentationObject/b.png"):
        (voc / name).write_bytes(b"no picture")
    assert len(rows(table_from_voc(voc, tmp_path / "out"))) == 2
    assert "b)" in caplog.messages[0]
