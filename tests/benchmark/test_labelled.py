"""Labelled real clips: what is read, what is scored, and the columns that a benchmark gets of them."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from sonomask.batches import Output
from sonomask.benchmark.labelled import Label, read_labels, score_labelled
from sonomask.cli.main import main
from sonomask.errors import DatasetError
from sonomask.media.writer import VideoWriter
from sonomask.structures import ModelConfig

SIDE = 64
HEAD = "clip,time,mask,sounding,group,quality"


class Bright(torch.nn.Module):
    """Marks bright pixels."""

    config = ModelConfig("bright", listens=False, image_size=(SIDE, SIDE))

    def forward(self, images, *_, **__):
        return Output(images.mean(2, keepdim=True) * 10)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of 6 s: a bright half that changes its side after 3 s; the truth of the second is the other side."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("videos", "masks"):
        (folder / name).mkdir()
    left, right = (np.zeros((SIDE, SIDE), np.uint8) for _ in range(2))
    left[:, : SIDE // 2], right[:, SIDE // 2 :] = 255, 255
    for name, mask in (("left", left), ("right", right), ("none", left * 0)):
        Image.fromarray(mask).resize((SIDE // 2, SIDE // 2)).save(folder / "masks" / f"{name}.png")
    for name in ("first", "second"):
        with VideoWriter(folder / "videos" / f"{name}.mp4", size=(SIDE, SIDE), rate=8, sample_rate=16_000) as video:
            for index in range(48):
                video.write(np.repeat((left if index < 24 else right)[..., None], 3, 2), index / 8)
            video.write_audio(np.sin(np.arange(96_000) / 20).astype(np.float32) / 2)
    rows = ["first,4.9375,masks/right.png,1,things,good", "first,0.9375,masks/left.png,1,things,fair",
            "second,0.9375,masks/right.png,1,people,good", "second,4.9375,masks/right.png,1,people,good",
            "second,1.9375,masks/none.png,0,people,good", "second,2.9375,masks/none.png,1,people,poor"]  # fmt: skip
    (folder / "labels.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    return folder


def test_labels_are_read_in_order_of_time_without_poor_ones(clips):
    labels = read_labels(clips)
    assert {clip: [label.time for label in found] for clip, found in labels.items()} == {
        "first": [0.9375, 4.9375], "second": [0.9375, 4.9375],
    }  # fmt: skip
    assert labels["first"][0] == Label(0.9375, clips / "masks" / "left.png", sounding=True, group="things")
    assert labels["first"][0].truth().mean() == 0.5
    assert [label.sounding for label in read_labels(clips, sounding=False)["second"]] == [True, False, True]


def test_a_clips_frames_count_first_and_each_has_the_mask_of_its_own_time(clips):
    rows = score_labelled(Bright(), clips)
    assert [(row["name"], row["category"], row["frames"]) for row in rows] == [
        ("first", "things", 2),
        ("second", "people", 2),
    ]
    assert rows[0]["miou"] == pytest.approx(1, abs=0.05)
    assert rows[1]["miou"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("clip,time,mask\n", "sounding"),
        (f"{HEAD}\nfirst,soon,masks/left.png,1,things,good\n", "soon"),
        (f"{HEAD}\nfirst,1,../left.png,1,things,good\n", "leads out"),
        (f"{HEAD}\nfirst,1,masks/left.png,0,things,good\n", "no labelled frame"),
    ],
)
def test_a_wrong_table_is_refused_by_what_is_wrong(tmp_path, text, word):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DatasetError, match=word):
        read_labels(tmp_path)


@pytest.mark.filterwarnings("ignore")  # Lightning warns of CPUs, workers and arguments
def test_a_benchmark_scores_its_rows_on_real_clips_too_and_later_if_asked_then(clips, tmp_path):
    words = ["benchmark", "--models", "everything", "none", "--subset", "s4", "--small", "--size", "32", "--steps", "1",
             "--batch", "2", "--clips", "2", "--pairs", "everything", "--out", str(tmp_path)]  # fmt: skip
    assert main(words) == 0
    first = _table(tmp_path)
    assert "real mIoU" not in first["everything marked"]
    assert main([*words, "--real", str(clips)]) == 0
    found = _table(tmp_path)
    assert found["everything marked"]["mIoU"] == first["everything marked"]["mIoU"]
    assert found["everything marked"]["real mIoU"] == "50.0 (50.0 to 50.0)"
    assert found["everything marked"]["real less"] == ""
    with (tmp_path / "runs" / "none_s4_1" / "real.csv").open(newline="") as file:
        mean = 100 * np.mean([float(row["miou"]) for row in csv.DictReader(file)])
    real = found["AVS, no audio"]
    assert float(real["real mIoU"].split()[0]) == pytest.approx(mean, abs=0.051)
    assert float(real["real less"].split()[0]) == pytest.approx(mean - 50, abs=0.051)
    assert "--real" in (tmp_path / "table.md").read_text()


@pytest.mark.filterwarnings("ignore")
def test_frozen_parts_answer_for_real_clips_too_and_the_scores_are_the_whole_models(clips, tmp_path):
    words = ["benchmark", "--models", "tpavi", "--subset", "s4", "--small", "--size", "64", "--steps", "1", "--batch", "1",
             "--clips", "1", "--frozen", "--backbone-weights", "world_duo.real", "--audio-weights", "world_duo.real",
             "--real", str(clips), "--out", str(tmp_path)]  # fmt: skip
    assert main(words) == 0
    run = tmp_path / "runs" / "tpavi_s4_1"
    with (run / "real.csv").open(newline="") as file:
        kept = {row["name"]: float(row["miou"]) for row in csv.DictReader(file)}
    whole = {row["name"]: row["miou"] for row in score_labelled(str(run / "stage1" / "best"), clips)}
    assert kept == pytest.approx(whole, abs=0.02)
    pictures = next((tmp_path / "kept").glob("backbone-*/*/keys.bin"))
    before = pictures.stat().st_size
    (run / "real.csv").unlink()
    assert main(words) == 0
    assert pictures.stat().st_size == before  # nothing was seen anew


def test_rows_are_compared_with_one_that_there_is(tmp_path, capsys):
    assert main(["benchmark", "--pairs", "nonsense", "--out", str(tmp_path)]) == 2
    assert "nonsense" in capsys.readouterr().err


def _table(folder):
    with (folder / "table.csv").open(newline="") as file:
        return {row["system"]: row for row in csv.DictReader(file)}
