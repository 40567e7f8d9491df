"""AVISeg's layout and the metrics of audio-visual instance segmentation, on a small tree of the synthetic world."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as run_lengths

from sonomask.cli.main import main
from sonomask.data.avis import AVIS_CATEGORIES, AVISeg, avis_category, read_results, write_avis, write_results
from sonomask.data.drawn.world import FRAME, scene
from sonomask.errors import DatasetError, MissingExtraError
from sonomask.metrics.instances import InstanceTrack, frame_accuracy, score_instances

pytest.importorskip("trackeval")
SIZE = (48, 64)


def encoded(mask):
    return run_lengths.encode(np.asfortranarray(mask, np.uint8))


def square(left, top=0, size=SIZE, side=10):
    mask = np.zeros(size, np.uint8)
    mask[top : top + side, left : left + side] = 1
    return encoded(mask)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Two videos of four seconds."""
    root, videos, tracks = tmp_path_factory.mktemp("avis"), {}, {}
    for seed in (3, 5):
        made, name = scene(seed, size=SIZE, seconds=4), f"video{seed}"
        owners = [made.instances(second + FRAME) for second in range(4)]
        videos[name] = [made.frame(second + FRAME)[0] for second in range(4)], made.waveform()
        tracks[name] = [
            (thing.kind + 1, [owner == i for owner in owners])
            for i, thing in enumerate(made.things, start=1) if any((owner == i).any() for owner in owners)
        ]  # fmt: skip
    write_avis(root, "test", videos, tracks)
    return root


def lengths(data):
    return {video.number: len(video.frames) for video in data}


def test_what_is_written_is_read_back(tree):
    data = AVISeg(tree, "test")
    assert [video.name for video in data] == ["video3", "video5"]
    assert tuple(data.categories.values()) == AVIS_CATEGORIES
    assert all(frame.is_file() for video in data for frame in video.frames)
    assert all(video.sound.is_file() and video.size == SIZE for video in data)
    made = scene(3, size=SIZE, seconds=4)
    union = run_lengths.merge([t.masks[2] for t in data.tracks if t.video == 1 and t.masks[2] is not None])
    assert union == encoded(made.instances(2 + FRAME) > 0)


def test_the_truth_itself_is_perfect(tree, tmp_path):
    data = AVISeg(tree, "test")
    write_results(tmp_path / "results.json", data.tracks)
    found = read_results(tmp_path / "results.json", data)
    scores = score_instances(data.tracks, found, lengths(data), list(data.categories))
    present = len({track.category for track in data.tracks})
    assert scores["mAP"] == pytest.approx(100)
    assert scores["FSLA"] == pytest.approx(100)
    assert scores["HOTA"] == pytest.approx(100 * present / 26)  # categories that are not there count as 0


def test_track_map_of_a_shifted_square_by_hand():
    """An IoU of 7/13 in each of two frames: right at the threshold 0.50 alone."""
    truth = [InstanceTrack(1, 1, (square(0), square(0)))]
    found = [InstanceTrack(1, 1, (square(3), square(3)), 0.9)]
    scores = score_instances(truth, found, {1: 2}, [1])
    assert scores["mAP"] == pytest.approx(10)
    assert scores["HOTA"] == pytest.approx(100 * 10 / 19)  # 0.05 to 0.50


def test_a_track_that_is_found_first_is_matched_once_unless_as_published():
    truth = [InstanceTrack(1, 1, (square(0),))]
    found = [InstanceTrack(1, 1, (square(0),), 0.9), InstanceTrack(1, 1, (square(0),), 0.8)]
    assert score_instances(truth, found, {1: 1}, [1])["mAP"] == pytest.approx(100)
    half = [InstanceTrack(1, 1, (square(0),)), InstanceTrack(1, 1, (square(30, 30),))]
    mended, as_published = (
        score_instances(half, found, {1: 1}, [1], published=published)["mAP"] for published in (False, True)
    )
    assert mended == pytest.approx(100 * 51 / 101)
    assert as_published == pytest.approx(100)


def frames(truth, found, length, **options):
    return frame_accuracy(truth, found, {1: length}, **options)


def test_frames_are_right_by_number_category_and_overlap():
    truth = [InstanceTrack(1, 1, (square(0), None, square(0))), InstanceTrack(1, 2, (square(30), None, None))]
    assert frames(truth, truth, 3)["FSLA"] == pytest.approx(100)
    wrong = [truth[0], replace(truth[1], category=3)]
    found = frames(truth, wrong, 3)
    assert found["FSLA_none"] == found["FSLA_one"] == pytest.approx(100)
    assert found["FSLA_several"] == 0
    missed = [replace(truth[0], masks=(None, None, square(0))), truth[1]]
    assert frames(truth, missed, 3)["FSLA"] == pytest.approx(100 * 2 / 3)
    shifted = [replace(truth[0], masks=(square(0), None, square(3)))]  # 7/13 in the third frame
    assert frames(truth[:1], shifted, 3)["FSLA_one"] == pytest.approx(100 * (19 + 10) / 38)


def test_ids_that_change_halfway_cost_frames():
    truth = [InstanceTrack(1, 1, (square(0),) * 4)]
    halves = [
        InstanceTrack(1, 1, (square(0), square(0), None, None)), InstanceTrack(1, 1, (None, None, square(0), square(0)))
    ]  # fmt: skip
    assert frames(truth, halves, 4)["FSLA"] == pytest.approx(50)


def test_masks_of_zeros_are_none_unless_as_published():
    empty = encoded(np.zeros(SIZE, np.uint8))
    truth = [InstanceTrack(1, 1, (square(0), None))]
    found = [InstanceTrack(1, 1, (square(0), empty))]
    assert frames(truth, found, 2)["FSLA"] == pytest.approx(100)
    assert frames(truth, found, 2, published=True)["FSLA_none"] == 0


def test_the_published_form_looks_up_by_the_wrong_side():
    """Three tracks in a circle: right where the assignment is its own inverse only."""
    places = (0, 20, 40)
    truth = [
        InstanceTrack(1, 1, tuple(square(p) if i == k else None for k in range(3))) for i, p in enumerate(places)
    ]  # fmt: skip
    circle = [truth[1], truth[2], truth[0]]
    assert frames(truth, circle, 3)["FSLA"] == pytest.approx(100)
    assert frames(truth, circle, 3, published=True)["FSLA"] == 0


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t["videos"][0].update(file_names=["../../etc/passwd"]), "VIDEO/FRAME"),
    (lambda t: t["annotations"][0].update(segmentations=[]), "one a frame"),
    (lambda t: t["annotations"][0].update(video_id=99), "not there"),
    (lambda t: t["annotations"][0].update(segmentations=[{"size": [48, 64], "counts": [5]}] * 4), "run lengths"),
    (lambda t: t.update(videos=3), "videos"),
])  # fmt: skip
def test_files_that_are_wrong_are_told_in_a_line(tree, tmp_path, change, message):
    table = json.loads((tree / "test.json").read_text())
    change(table)
    (tmp_path / "test.json").write_text(json.dumps(table))
    with pytest.raises(ValueError, match=message):
        AVISeg(tmp_path, "test")


def test_a_link_that_leads_out_of_the_folder_is_refused(tree, tmp_path):
    root = tmp_path / "root"
    (root / "test").mkdir(parents=True)
    (root / "test" / "JPEGImages").symlink_to(tree / "test" / "JPEGImages")
    (root / "test.json").write_text((tree / "test.json").read_text())
    with pytest.raises(DatasetError):
        AVISeg(root, "test")


def test_things_and_sounds_have_the_numbers_of_the_data_set():
    assert avis_category("dog", "Bark") == AVIS_CATEGORIES.index("dog") + 1
    assert avis_category("violin", "Cello") == AVIS_CATEGORIES.index("cello") + 1
    assert avis_category("big_cat", "Roar") == AVIS_CATEGORIES.index("lion") + 1
    assert avis_category("xylophone", "") is None


def test_the_verb_scores_results_and_the_built_in_model(tree, tmp_path, capsys):
    write_results(tmp_path / "results.json", AVISeg(tree, "test").tracks)
    assert main(["evaluate-instances", str(tree), "--results", str(tmp_path / "results.json")]) == 0
    assert "FSLA" in capsys.readouterr().out
    assert main(["evaluate-instances", str(tree), "--out", str(tmp_path / "made.json")]) == 0
    rows = json.loads((tmp_path / "made.json").read_text())
    assert all(len(row["segmentations"]) == 4 and 1 <= row["category_id"] <= 26 for row in rows)


def test_without_trackeval_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    with pytest.raises(MissingExtraError, match="avis"):
        score_instances([], [], {}, [])
