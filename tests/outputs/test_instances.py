import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools' arrays are not yet NumPy 2's

CLASSES = ("background", *(f"class {i}" for i in range(1, 71)))
TIMES = (0.5, 1.5, 2.5)


def left():
    """The first of the two regions."""
    mask = np.zeros((48, 64), bool)
    mask[:, :24] = True
    return mask


@pytest.fixture
def coco(written, masks):
    pycocotools = pytest.importorskip("pycocotools.coco")
    folder = written(["coco"], masks(*TIMES, presence=0.5))["coco"]
    return folder, pycocotools.COCO(str(folder / "labels.json"))


def test_pycocotools_reads_the_masks(coco):
    _, read = coco
    assert len(read.getImgIds()) == 3
    annotation = read.loadAnns(read.getAnnIds(imgIds=2))[0]
    np.testing.assert_array_equal(read.annToMask(annotation), left())
    assert annotation["bbox"] == [0, 0, 24, 48]
    assert annotation["area"] == 24 * 48
    assert read.loadCats(annotation["category_id"])[0]["name"] == "sounding"


def test_a_region_has_the_same_track_in_every_image(coco):
    _, read = coco
    assert [a["track_id"] for a in read.dataset["annotations"]] == [1, 2] * 3


def test_the_classes_of_a_semantic_model_are_the_categories(written, masks):
    folder = written(["coco"], masks(0.5, semantic=True), classes=CLASSES)["coco"]
    labels = json.loads((folder / "labels.json").read_text())
    assert [c["name"] for c in labels["categories"]] == list(CLASSES[1:])
    assert {a["category_id"] for a in labels["annotations"]} == {7}


def test_a_line_of_json_holds_scores_and_run_lengths(written, masks):
    path = written(["jsonl"], masks(*TIMES, presence=0.5))["jsonl"]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["time"] for row in rows] == list(TIMES)
    assert rows[0]["presence"] == 0.5
    assert [region["id"] for region in rows[2]["regions"]] == [1, 2]
    np.testing.assert_array_equal(run_lengths.decode(rows[2]["regions"][0]["rle"]), left())


@pytest.fixture
def tracked(written, masks):
    """A second thing that is seen in the second frame only."""
    pieces = masks(*TIMES)
    pieces.probability[0, 10:30, 40:60] = pieces.probability[2, 10:30, 40:60] = 0
    return written(["ytvis", "davis"], pieces)


def test_trackeval_reads_the_tracks_of_youtube_vis(tracked, tmp_path):
    trackeval = pytest.importorskip("trackeval")
    for folder in ("gt/youtube_vis_out", "trackers/youtube_vis_out/ours/data"):
        (tmp_path / folder).mkdir(parents=True)
    text = (tracked["ytvis"] / "instances.json").read_text()
    (tmp_path / "gt/youtube_vis_out/gt.json").write_text(text)
    results = json.loads(text)["annotations"]
    for row in results:  # of a tracker it wants them compressed
        row["segmentations"] = [s and run_lengths.frPyObjects(s, 48, 64) for s in row["segmentations"]]
        row["segmentations"] = [s and {**s, "counts": s["counts"].decode()} for s in row["segmentations"]]
    (tmp_path / "trackers/youtube_vis_out/ours/data/results.json").write_text(json.dumps(results))
    config = {"GT_FOLDER": f"{tmp_path}/gt/", "TRACKERS_FOLDER": f"{tmp_path}/trackers/", "SPLIT_TO_EVAL": "out"}
    read = trackeval.datasets.YouTubeVIS({**config, "PRINT_CONFIG": False})
    raw = read.get_raw_seq_data("ours", "video")
    data = read.get_preprocessed_seq_data(raw, "sounding")
    assert len(data["gt_tracks"]) == len(data["dt_tracks"]) == 2
    assert sorted(sum(m is not None for m in t.values()) for t in data["gt_tracks"]) == [1, 3]


def test_a_track_has_null_where_it_is_not_seen(tracked):
    read = json.loads((tracked["ytvis"] / "instances.json").read_text())
    assert [[s is not None for s in a["segmentations"]] for a in read["annotations"]] == [
        [True] * 3,
        [False, True, False],
    ]
    assert read["annotations"][1]["bboxes"] == [None, [40, 10, 20, 20], None]
    files = [tracked["ytvis"] / "JPEGImages" / name for name in read["videos"][0]["file_names"]]
    assert all(file.is_file() for file in files)


def test_trackeval_reads_the_pictures_of_davis(tracked, tmp_path):
    trackeval = pytest.importorskip("trackeval")
    (tmp_path / "trackers" / "ours").mkdir(parents=True)
    (tmp_path / "trackers/ours/data").symlink_to(tracked["davis"] / "Annotations")
    config = {"GT_FOLDER": f"{tracked['davis']}/Annotations", "TRACKERS_FOLDER": f"{tmp_path}/trackers"}
    read = trackeval.datasets.DAVIS({**config, "PRINT_CONFIG": False})
    data = read.get_preprocessed_seq_data(read.get_raw_seq_data("ours", "video"), "general")
    assert data["num_gt_ids"] == 2
    assert [len(ids) for ids in data["gt_ids"]] == [1, 2, 1]


def test_the_meta_file_of_davis_tells_who_is_where(tracked):
    video = json.loads((tracked["davis"] / "meta.json").read_text())["videos"]["video"]
    assert video["objects"]["2"] == {"category": "sounding", "frames": ["00001"]}
    assert video["times"] == {"00000": 0.5, "00001": 1.5, "00002": 2.5}
    picture = Image.open(tracked["davis"] / "Annotations/video/00001.png")
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture) == 1, left())


def test_objects_beyond_255_are_left_out_with_a_warning(video, tmp_path):
    from sonomask.media.reader import VideoReader
    from sonomask.outputs.instances import write_davis
    from sonomask.outputs.moment import Moment, OutputContext
    from sonomask.outputs.tracks import Region

    regions = tuple(Region(i, 1, (0, 0, 48, 24), left()[:, :24], 1.0) for i in (255, 256))
    with VideoReader(video) as reader:
        with write_davis(tmp_path / "v.davis", OutputContext(reader, "v", {})) as take:
            take(Moment(0, 0.5, left().astype(np.uint8), left().astype(np.float32), None, regions))
        assert "1 objects beyond the first 255" in reader.warnings[0]
    assert np.asarray(Image.open(tmp_path / "v.davis/Annotations/v/00000.png")).max() == 255


@pytest.mark.parametrize(("least", "count"), [(0.0, 2), (0.0005, 1), (None, 1)])
def test_specks_that_were_asked_for_are_regions_too(least, count, written, masks):
    made = masks(0.5)
    made.probability[:] = 0
    made.probability[0, 10:30, 40:60] = 0.9
    made.probability[0, 2, 2] = 0.9  # a pixel
    facts = {"source": "video.mp4", "model": "stub"} | ({} if least is None else {"min_area": least})
    paths = written(["jsonl"], made, facts=facts)
    assert len(json.loads(paths["jsonl"].read_text())["regions"]) == count
