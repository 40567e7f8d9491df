"""What a person says of one moment holds along the track, and every format follows."""

import json

import numpy as np
import pytest
from pycocotools import mask as run_lengths

import sonomask
from sonomask.cli.main import main
from sonomask.errors import MediaError
from sonomask.outputs.corrected import Corrector, corrected, traced, trail_of
from sonomask.safe_reading.corrections import Correction, Corrections, VideoFacts
from sonomask.structures import Masks

SIZE = (60, 100)


def stream(count=20, step=0.2, *, silent=(), shift=0.0):
    """A square that goes from left to right along the top, and one that stays below; frame by frame."""
    for i in range(count):
        probability = np.zeros((1, *SIZE), np.float32)
        left = 5 + round(2 * i)
        if i not in silent:
            probability[0, 5:20, left : left + 15] = 0.9
        probability[0, 40:55, 60:80] = 0.8
        yield Masks((step * i - shift,), probability, presence=(0.7,))


UP, DOWN = np.s_[:30], np.s_[30:]


def said(*items, masks=None, **options):
    """What is left of the two squares in each frame: pixels of the upper and of the lower one."""
    corrections = traced(Corrections(items), stream(**options))
    found = [one.mask[0] for one in corrected(stream(**options) if masks is None else masks, corrections)]
    return np.array([(mask[UP].sum(), mask[DOWN].sum()) for mask in found])


def at(kind, i, where="up", **more):
    x, y = ((5 + 2 * i + 7) / 100, 12 / 60) if where == "up" else (0.7, 47 / 60)
    return Correction(kind, 0.2 * i, x, y, **more)


def test_never_this_one_holds_before_and_after_the_moment():
    found = said(at("never", 10))
    assert (found == (0, 300)).all()


def test_only_this_one_leaves_nothing_else():
    assert (said(at("only", 10)) == (225, 0)).all()
    assert (said(at("only", 3, "down")) == (0, 300)).all()
    assert (said(at("only", 10), at("only", 3, "down")) == (225, 300)).all()
    silent = said(at("only", 10), silent=(4, 5, 6))
    assert (silent[4:7] == 0).all()
    assert (silent[7:] == (225, 0)).all()


def test_a_stretch_limits_what_is_said_of_a_thing():
    found = said(at("never", 10, start=1.0, end=2.0))
    assert (found[5:10] == (0, 300)).all()
    assert (found[:5] == (225, 300)).all()
    assert (found[10:] == (225, 300)).all()


@pytest.mark.parametrize("kind", ["nothing", "other"])
def test_a_stretch_in_which_all_is_wrong_is_empty(kind):
    found = said(Correction(kind, start=1.0, end=2.0))
    assert (found[5:10] == 0).all()
    assert (np.delete(found, slice(5, 10), 0) == (225, 300)).all()


def test_presence_tells_that_nothing_sounds_there():
    made = list(corrected(stream(), Corrections([Correction("nothing", start=1.0, end=2.0)])))
    assert [one.presence[0] for one in made] == [0.7] * 5 + [0.0] * 5 + [0.7] * 10
    assert max(one.probability.max() for one in made[5:10]) == 0


def test_the_trail_finds_the_thing_at_another_rate_and_after_a_gap():
    corrections = traced(Corrections([at("never", 10)]), stream())
    other = stream(40, 0.2, shift=0.0)  # twice as long: what comes after the trail is known by its id
    found = [one.mask[0] for one in corrected(other, corrections)]
    assert [int(mask[UP].sum()) for mask in found] == [0] * 40
    sparse = [one for i, one in enumerate(stream()) if i % 4 == 0]
    assert [int(one.mask[0][UP].sum()) for one in corrected(sparse, corrections)] == [0] * 5


def test_times_count_from_the_beginning_of_the_source():
    corrections = Corrections([Correction("nothing", start=11.0, end=12.0)])
    found = [bool(one.mask.any()) for one in corrected(stream(), corrections, start=10.0)]
    assert found == [True] * 5 + [False] * 5 + [True] * 10


def test_of_what_has_run_together_the_part_of_the_thing_goes():
    def merged():
        for i, one in enumerate(stream()):
            if i >= 10:
                one.probability[0, 5:55, 60:62] = 0.8  # a bridge: one region from there on
                one.probability[0, 5:8, 5:62] = 0.8
            yield one

    corrections = traced(Corrections([at("never", 3)]), stream())
    found = np.array(
        [(m.mask[0][5:20, 30:55].sum(), m.mask[0][40:55, 62:80].sum()) for m in corrected(merged(), corrections)]
    )
    left = found[13:, 0]
    whole = np.array([(m.mask[0][5:20, 30:55].sum()) for m in merged()])[13:]
    assert (left < 0.6 * whole).all()
    assert (found[:, 1] == 15 * 18).all()


def test_classes_are_taken_away_too():
    def semantic():
        for one in stream():
            labels = (one.probability > 0.5).astype(np.uint8) * 7
            yield Masks(one.times, one.probability, labels=labels)

    corrections = traced(Corrections([at("never", 10)]), semantic())
    assert [int((m.labels > 0)[0][UP].sum()) for m in corrected(semantic(), corrections)] == [0] * 20


def test_what_changes_nothing_is_said():
    beside = Correction("never", 2.0, 0.05, 0.95, name="ghost")
    corrector = Corrector(traced(Corrections([beside, at("sounds", 1), at("silent", 2), at("never", 4)]), stream()))
    for one in stream():
        corrector(one)
    first, second = corrector.notes()
    assert "ghost" in first
    assert second.startswith("2 corrections")
    assert "train --corrections" in second


def test_an_only_that_points_at_nothing_hides_nothing():
    assert (said(Correction("only", 2.0, 0.05, 0.95)) == (225, 300)).all()


def test_a_trail_is_short_where_little_moves():
    still = [(0.04 * i, 0.1, 0.1, 0.3, 0.3) for i in range(1000)]
    assert len(trail_of(still)) < 30
    wild = [(0.04 * i, *([0.1, 0.1, 0.3, 0.3] if i % 2 else [0.5, 0.5, 0.9, 0.9])) for i in range(100_000)]
    assert len(trail_of(wild)) <= 2000


# ---- through the whole way ----------------------------------------------------------------------------------------------

NAMES = ["jsonl", "masks", "coco"]


@pytest.fixture(scope="module")
def plain(video, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain")
    return sonomask.segment(video, out, "avs_mini.synthetic", formats=NAMES, rate=2, smooth=0)


def rows(result):
    return [json.loads(line) for line in result.files["jsonl"].read_text(encoding="utf-8").splitlines()]


def test_every_format_follows_the_file(video, plain, tmp_path, conforms):
    frame = next(row for row in rows(plain) if row["area"] > 0)
    path = tmp_path / "c.json"
    Corrections([Correction("nothing", start=frame["time"] - 0.1, end=frame["time"] + 0.1)]).save(path)
    result = sonomask.segment(video, tmp_path, "avs_mini.synthetic", formats=NAMES, rate=2, smooth=0, corrections=path)
    changed = [(a["time"], b["area"]) for a, b in zip(rows(plain), rows(result), strict=True) if a["area"] != b["area"]]
    assert changed == [(frame["time"], 0.0)]
    about = json.loads((result.files["masks"] / "manifest.json").read_text(encoding="utf-8"))
    conforms("manifest", about)
    assert about["about"]["corrections"] == 1
    assert (
        "corrections" not in json.loads((plain.files["masks"] / "manifest.json").read_text(encoding="utf-8"))["about"]
    )


@pytest.mark.filterwarnings("ignore:__array__")  # of pycocotools
def test_a_click_without_a_trail_is_traced_first(video, plain, tmp_path):
    frame = next(row for row in rows(plain) if row["regions"])
    ys, xs = np.nonzero(run_lengths.decode(frame["regions"][0]["rle"]))
    height, width = frame["regions"][0]["rle"]["size"]
    middle = len(xs) // 2
    item = Correction("never", frame["time"], xs[middle].item() / width, ys[middle].item() / height)
    result = sonomask.segment(
        video, tmp_path, "avs_mini.synthetic", formats=NAMES, rate=2, smooth=0, corrections=Corrections([item])
    )
    number = frame["regions"][0]["id"]
    before = sum(any(r["id"] == number for r in row["regions"]) for row in rows(plain))
    lost = [a["time"] for a, b in zip(rows(plain), rows(result), strict=True) if b["area"] < a["area"]]
    assert frame["time"] in lost
    assert len(lost) >= before
    assert result.warnings == ()


def test_the_command_line_takes_the_file_and_refuses_that_of_another_video(video, tmp_path, capsys):
    words = [
        "segment",
        str(video),
        "-q",
        "--model",
        "avs_mini.synthetic",
        "--rate",
        "1",
        "--format",
        "jsonl",
        "--overwrite",
    ]
    own = Corrections([Correction("nothing", start=0, end=99)], VideoFacts("video.mp4", 6.0, 64, 48))
    own.save(tmp_path / "own.json")
    assert main([*words, "--out", str(tmp_path), "--corrections", str(tmp_path / "own.json")]) == 0
    lines = (tmp_path / "video.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["area"] for line in lines] == [0.0] * 6
    Corrections(own.items, VideoFacts("film.mp4", 60.0, 64, 48)).save(tmp_path / "film.json")
    assert main([*words, "--out", str(tmp_path), "--corrections", str(tmp_path / "film.json")]) == 2
    assert "60.0 s (film.mp4)" in capsys.readouterr().err


def test_of_several_videos_each_takes_the_file_of_its_name(tmp_path):
    from sonomask.cli.inputs import corrections_of

    span = Correction("nothing", start=0, end=1)
    for name in ("a.mp4", "b.mp4"):
        Corrections([span], VideoFacts(name)).save(tmp_path / f"{name}.json")
    Corrections([span]).save(tmp_path / "none.json")
    files = [str(tmp_path / f"{name}.mp4.json") for name in "ba"]
    found = corrections_of(files, ["x/a.mp4", "x/b.mp4", "x/c.mp4"])
    assert [own and own.video.name for own in found] == ["a.mp4", "b.mp4", None]
    for wrong in ([str(tmp_path / "none.json")], [files[0], files[0]]):
        with pytest.raises(MediaError, match="Give"):
            corrections_of(wrong, ["x/a.mp4", "x/b.mp4"])
    assert len(corrections_of([str(tmp_path / "none.json")], ["x/a.mp4"])) == 1
