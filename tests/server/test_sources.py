"""Tracks that a person would call one thing are one source."""

import numpy as np
import pytest

from sonomask.server.sources import SHOWN, Sources

SIZE = (180, 320)


def region(sources, index, number, box, label=1, name="", sound=""):
    top, left, bottom, right = box
    mask = np.ones((bottom - top, right - left), bool)
    sources.add(index, number, label, mask, (top, left), mask.size / (SIZE[0] * SIZE[1]), name, sound)


def rows(sources, count, classes=()):
    times = [float(i) for i in range(count)]
    return sources.describe(times, float(count), classes)


def test_an_anvil_that_is_struck_twelve_times_is_one_source():
    sources = Sources(SIZE)
    for blow in range(12):  # a new track each time, not quite at the same place
        region(
            sources, 2 * blow, blow + 1, (60 + blow % 3 * 6, 100 + blow % 4 * 5, 120 + blow % 3 * 6, 180 + blow % 4 * 5)
        )
    (anvil,) = rows(sources, 24)
    assert anvil["name"] == "Source 1"
    assert anvil["tracks"] == list(range(1, 13))
    assert len(anvil["spans"]) == 12


def test_a_splinter_beside_a_thing_belongs_to_it():
    sources = Sources(SIZE)
    for index in range(10):
        region(sources, index, 1, (60, 100, 120, 180))
        region(sources, index, 2, (121, 140, 126, 150))
    assert [row["tracks"] for row in rows(sources, 10)] == [[1, 2]]


def test_two_things_apart_are_two_sources():
    sources = Sources(SIZE)
    for index in range(10):
        region(sources, index, 1, (20, 20, 80, 80))
        region(sources, index, 2, (100, 200, 160, 280))
    assert [row["name"] for row in rows(sources, 10)] == ["Source 1", "Source 2"]


def test_two_things_side_by_side_at_the_same_time_are_two_sources():
    sources = Sources(SIZE)
    for index in range(10):
        region(sources, index, 1, (20, 20, 80, 80))
        region(sources, index, 2, (20, 82, 80, 140))
    assert len(rows(sources, 10)) == 2


def test_things_of_two_classes_are_never_one():
    sources = Sources(SIZE)
    region(sources, 0, 1, (20, 20, 80, 80), label=1)
    region(sources, 1, 2, (20, 20, 80, 80), label=2)
    assert [row["name"] for row in rows(sources, 2, ("background", "dog", "cat"))] == ["Dog", "Cat"]


def test_rows_go_by_the_names_of_things():
    sources = Sources(SIZE)
    region(sources, 0, 1, (20, 20, 80, 80), name="hand_drum", sound="Drum")
    region(sources, 1, 2, (20, 20, 80, 80), name="dog", sound="Bark")
    region(sources, 2, 3, (20, 20, 80, 80), name="dog", sound="Growling")
    region(sources, 3, 4, (120, 120, 180, 180), name="dog", sound="Bark")
    found = [(row["name"], row["sound"], row["tracks"]) for row in rows(sources, 4)]
    assert found == [("Hand drum", "Drum", [1]), ("Dog 1", "Bark", [2, 3]), ("Dog 2", "Bark", [4])]


def test_many_things_are_the_largest_few_and_the_rest_together():
    sources = Sources(SIZE)
    for number in range(12):
        top, left = 60 * (number % 3), 80 * (number // 3)
        region(sources, 0, number + 1, (top, left, top + 20 + number, left + 20 + number))
    found = rows(sources, 1)
    assert len(found) == SHOWN + 1
    assert found[-1]["name"] == "6 small ones"
    assert sorted(track for row in found for track in row["tracks"]) == list(range(1, 13))
    assert len({tuple(row["colour"]) for row in found}) == SHOWN + 1


def test_the_areas_of_all_rows_are_those_of_all_regions():
    sources = Sources(SIZE)
    for index in range(4):
        region(sources, index, 1 + index % 2, (20, 20, 80, 80))
        region(sources, index, 3, (100, 200, 160, 280))
    total = sum(sum(row["area"]) for row in rows(sources, 4))
    assert total == pytest.approx(4 * (60 * 60 + 60 * 80) / (180 * 320), abs=1e-3)


def test_nothing_is_no_source():
    assert rows(Sources(SIZE), 3) == []
