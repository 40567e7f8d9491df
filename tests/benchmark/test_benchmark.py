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
