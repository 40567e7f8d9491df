"""The comparison: it trains, loads, scores and draws; what was run is not run again."""

import csv

import numpy as np
import pytest
from PIL import Image

from sonomask.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of CPUs, workers and arguments
RUN = ["benchmark", "--models", "none", "tpavi", "pixels_that_sound", "--subset", "s4", "--size", "32", "--steps", "2",
       "--batch", "2", "--small", "--clips", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    assert main([*RUN, "--out", str(out)]) == 0
    return out


def test_every_row_has_its_figures_and_the_published_ones_stand_apart(done):
    with (done / "table.csv").open(newline="") as file:
        rows = {r["system"]: r for r in csv.DictReader(file)}
    assert set(rows) == {"AVS, no audio", "AVS, TPAVI", "Pixels that Sound"}
    assert rows["AVS, TPAVI"]["published mIoU"] == "72.8"
    assert rows["Pixels that Sound"]["parameters M"] == "0.0"
    assert all(0 <= float(r["mIoU"]) <= 100 and float(r["frames/s"]) > 0 for r in rows.values())


def test_the_tables_tell_how_they_came_about(done):
    for name in ("table.md", "table.tex"):
        text = (done / name).read_text()
        assert "sonomask benchmark" in text
        assert "avsbench" in text
        assert "not our figures" in text


def test_figures_are_drawn(done):
    pictures = sorted(p.name for p in (done / "figures").iterdir())
    drawn = ["attention.png", "clip1.png", "clip2.png", "curves.pdf", "curves.png", "with_and_without.png"]
    assert pictures == [f"s4_{name}" for name in drawn]
    assert np.asarray(Image.open(done / "figures" / "s4_clip1.png")).std() > 10


def test_what_was_run_is_timed_again_and_not_run_again(done, monkeypatch):
    import sonomask.benchmark.run as bench

    def lines():
        with (done / "table.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    monkeypatch.setattr(bench, "train", None)
    monkeypatch.setattr(bench, "speed", lambda *_: 123.0)
    before = lines()
    assert main([*RUN, "--out", str(done)]) == 0
    assert lines() == [{**line, "frames/s": "123.0"} for line in before]


def test_an_unknown_row_is_named(tmp_path, capsys):
    assert main(["benchmark", "--models", "nonsense", "--out", str(tmp_path)]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_small_rows_start_from_given_weights_and_are_compared_clip_by_clip(tmp_path):
    """L_AVM, the tagger as an ear, MS3 from S4, ± over seeds and the paired interval, in one small run."""
    import timm
    from safetensors.torch import save_file

    from sonomask.checkpoints.folder import load

    start = timm.create_model("resnet18", num_classes=2).state_dict()
    save_file({key: value.contiguous() for key, value in start.items()}, tmp_path / "resnet18.safetensors")
    small = ["--size", "32", "--steps", "1", "--batch", "2", "--clips", "3", "--small", "--seeds", "1", "2"]
    start_at = ["--backbone-weights", str(tmp_path / "resnet18.safetensors"), "--audio-weights", "world_duo.real"]
    rows = ["--models", "tpavi", "tpavi_avm", "tpavi_from_s4", "--repeated", "tpavi"]
    out = tmp_path / "out"
    assert main(["benchmark", *rows, "--subset", "s4", "ms3", *small, *start_at, "--out", str(out)]) == 0
    with (out / "table.csv").open(newline="") as file:
        found = {(row["system"], row["subset"]): row for row in csv.DictReader(file)}
    assert set(found) == {
        ("AVS, TPAVI", "S4"), ("AVS, TPAVI + L_AVM", "S4"), ("AVS, TPAVI", "MS3"), ("AVS, TPAVI + L_AVM", "MS3"),
        ("AVS, TPAVI, from S4", "MS3"),
    }  # fmt: skip
    assert found["AVS, TPAVI", "MS3"]["±"] != ""
    assert found["AVS, TPAVI", "MS3"]["less"] == ""
    gap = found["AVS, TPAVI + L_AVM", "MS3"]["less"]
    assert gap.endswith(")")
    assert float(gap.split()[0]) == pytest.approx(
        100 * (_mean(out, "tpavi_avm_ms3_1") - (_mean(out, "tpavi_ms3_1") + _mean(out, "tpavi_ms3_2")) / 2), abs=0.051
    )
    begun = load(str(out / "runs" / "tpavi_from_s4_ms3_1" / "stage1" / "best")).config.about
    assert "tpavi_s4_1" in begun
    ear = load(str(out / "runs" / "tpavi_ms3_1" / "stage1" / "best")).audio.state_dict()
    theirs = load("world_duo.real").audio.state_dict()
    assert all((ear[key] == theirs[key]).all() for key in ear)


def _mean(out, run):
    with (out / "runs" / run / "clips.csv").open(newline="") as file:
        return np.mean([float(row["miou"]) for row in csv.DictReader(file)])


def test_a_row_that_starts_from_another_wants_it(tmp_path, capsys):
    words = ["--subset", "ms3", "--size", "32", "--steps", "1", "--small", "--clips", "2", "--out", str(tmp_path)]
    assert main(["benchmark", "--models", "tpavi_from_s4", *words]) != 0
    assert "--subset s4 ms3 --models tpavi tpavi_from_s4" in capsys.readouterr().err


def test_published_figures_stand_below_with_their_sources(done):
    from sonomask.benchmark.published import FIELD, table

    text = (done / "table.md").read_text()
    below = text[text.index("Not measured here") :]
    for row in table():
        assert row.source
        assert row.system in below
        for pair in (row.s4, row.ms3, row.avss):
            assert pair is None or all(0 < value < 100 for value in pair if value is not None)
    for system in ("KEVA", "ICF", "TAViS", "SSP", "SAVE", "EASE", "avs_resnet50", "vct_swin_b"):
        assert f"| {system} |" in below
    assert len({(row.system, row.network, row.protocol) for row in FIELD}) == len(FIELD)


def test_frozen_backbones_are_run_once_and_floors_stand_beside_the_rows(tmp_path):
    from sonomask.checkpoints.folder import load

    rows = ["everything", "box", "mean", "mssl", "sst", "tpavi"]
    words = ["--small", "--size", "64", "--steps", "2", "--batch", "2", "--clips", "2", "--subset", "ms3", "--frozen",
             "--backbone-weights", "world_duo.real", "--audio-weights", "world_duo.real", "--out", str(tmp_path)]  # fmt: skip
    assert main(["benchmark", "--models", *rows, *words]) == 0
    with (tmp_path / "table.csv").open(newline="") as file:
        found = {row["system"]: row for row in csv.DictReader(file)}
    assert [row["task"] for row in found.values()] == ["floor"] * 3 + ["SSL", "VOS", "AVS"]
    assert float(found["mean training mask, cut by them"]["parameters M"]) == 0
    assert "--frozen" in (tmp_path / "table.md").read_text()
    assert len(list((tmp_path / "kept").iterdir())) == 2  # one backbone, one ear, for all rows
    nets = [load(str(tmp_path / "runs" / f"{name}_ms3_1" / stage / "best")) for name, stage in
            (("tpavi", "stage1"), ("sst", "stage1"), ("mssl", "stage2"))]  # fmt: skip
    first, *others = (net.part("pretrained").state_dict() for net in nets)
    for other in others:
        assert all((first[key] == other[key]).all() for key in first)
    ears = [nets[0].audio.state_dict(), nets[2].audio.net.state_dict(), load("world_duo.real").audio.state_dict()]
    assert all((ears[0][key] == ear[key]).all() for key in ears[0] for ear in ears)


def test_frozen_wants_weights_to_freeze(tmp_path, capsys):
    assert main(["benchmark", "--frozen", "--small", "--out", str(tmp_path)]) == 2
    assert "--backbone-weights world_duo.real" in capsys.readouterr().err


def test_floors_fit_the_training_masks():
    import torch

    from sonomask.benchmark.floors import FLOORS

    masks = torch.zeros(6, 20, 30, dtype=torch.bool)
    masks[:, 5:15, 7:23] = True  # half of each side, in the middle
    masks[0] = False
    for name, share in (("everything", 1.0), ("nothing", 0.0), ("box", 0.25), ("mean", 160 / 600)):
        marked = (FLOORS[name].make(masks) > 0).float().mean()
        assert float(marked) == pytest.approx(share, abs=0.03), name
