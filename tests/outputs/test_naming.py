"""Names of regions stay with their tracks, and lists and rows go by them."""

import numpy as np
import pytest

from sonomask.outputs.naming import RegionNamer
from sonomask.outputs.tracks import Region
from sonomask.structures import Masks, Names
from sonomask.visualise.style import COLOURS
from sonomask.visualise.timeline import Timeline

SIZE = (48, 64)
THINGS = ("person", "dog", "hand_drum")
SOUNDS = ("Speech", "Bark", "Drum")


def names(thing, size=SIZE):
    return Names((("Speech", 0.9),), np.full(size, thing, np.uint8), THINGS, SOUNDS, (0.9, 0.5, 0.5))


def region(number=1):
    return Region(number, 1, (0, 0, 10, 10), np.ones((10, 10), bool), 0.9)


def called(namer, *seen, step=0.2):
    return [namer(i * step, [region()], names(thing))[0].name for i, thing in enumerate(seen)]


def test_one_frame_that_errs_changes_no_name_and_what_stays_does():
    assert called(RegionNamer(), 1, 1, 1, 0, 1) == ["dog"] * 5
    assert called(RegionNamer(), *[1] * 3, *[0] * 40)[-1] == "person"
    assert called(RegionNamer(hold=0), 1, 1, 0) == ["dog", "dog", "person"]


def test_the_sound_is_that_of_the_name_now():
    namer = RegionNamer()
    namer(0.0, [region()], names(1))
    (found,) = namer(0.1, [region()], names(1))
    assert (found.name, found.sound) == ("dog", "Bark")


def test_votes_of_tracks_that_are_gone_are_dropped():
    namer = RegionNamer()
    for number in range(1, 300):
        namer(float(number), [region(number)], names(1))
    assert len(namer.votes) < 100


def test_seen_may_have_the_size_of_another_picture():
    small = np.full((4, 4), 2, np.uint8)
    own = Region(1, 1, (0, 0, 4, 4), np.ones((4, 4), bool), 1.0)
    assert RegionNamer()(0.0, [own], names(0), small)[0].name == "hand_drum"


def pieces():
    """A person on the left for two seconds, then a drum beside it for two more, a mask each half second."""
    for i in range(8):
        time = 0.25 + 0.5 * i
        probability = np.zeros((1, *SIZE), np.float32)
        probability[:, :40, :20] = 0.9
        seen = np.zeros(SIZE, np.uint8)
        if time > 2:
            probability[:, :40, 40:] = 0.9
            seen[:, 32:] = 2
        told = Names((("Speech", 0.9),), seen, THINGS, SOUNDS, (0.9, 0.5, 0.5))
        yield Masks((time,), probability, 0.5, names=(told,))


def test_lists_of_when_have_times_of_each_name(written):
    rows = written(["audacity"], *pieces(), things=THINGS)["audacity"].read_text().splitlines()
    found = {row.split("\t")[2]: tuple(map(float, row.split("\t")[:2])) for row in rows}
    assert found == {"person": pytest.approx((0, 4), abs=0.3), "hand drum": pytest.approx((2, 4), abs=0.3)}


def test_a_list_of_a_model_that_knows_no_names_says_sounding(written):
    silent = [Masks(piece.times, piece.probability, 0.5) for piece in pieces()]
    (row,) = written(["audacity"], *silent)["audacity"].read_text().splitlines()
    assert row.endswith("\tsounding")


def test_the_timeline_has_a_row_for_each_name():
    strip = Timeline((48, 400), 10, rows=2)
    strip.mark(5, 0.3, None, ["dog"])
    strip.mark(10, 0.3, None, ["person", "dog", "cat"])
    drawn = strip.draw(9.9)
    assert drawn.shape == (48 + 2 * strip.row, 400, 3)
    first, second = drawn[48 + strip.row // 2], drawn[48 + strip.row + strip.row // 2]
    assert (first[100:395] == COLOURS[0]).all()
    assert (second[210:395] == COLOURS[1]).all()
    assert not (second[100:190] == COLOURS[1]).all(1).any()
    assert list(strip.rows) == ["dog", "person"]


def test_an_overlay_with_labels_has_the_rows(written):
    from sonomask.media.reader import VideoReader

    heights = {}
    for labels in (False, True):
        made = written(["overlay"], *pieces(), things=THINGS, labels=labels, overwrite=True)["overlay"]
        with VideoReader(made) as reader:
            heights[labels] = reader.info.height
    assert heights[True] > heights[False]
