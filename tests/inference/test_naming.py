"""Names of what is heard and marked, and filters by them."""

import numpy as np
import pytest

from sonomask.audio import aliases
from sonomask.audio.audioset import names as sounds
from sonomask.audio.categories import CATEGORIES
from sonomask.inference.finish import Maps, finish
from sonomask.inference.naming import allowed, check_words, names_of
from sonomask.outputs.tracks import Tracker
from sonomask.outputs.write import moments
from sonomask.request import Request
from sonomask.structures import ModelConfig

CONFIG = ModelConfig("world", things=CATEGORIES)


def heard(**scores):
    values = np.zeros(len(sounds()), np.float32)
    for name, score in scores.items():
        values[sounds().index(name)] = score
    return values


def frame(**scores):
    """A dog on the left, a person on the right; both are marked."""
    seen = np.full((4, 8), CATEGORIES.index("dog"), np.uint8)
    seen[:, 4:] = CATEGORIES.index("person")
    logits = np.full((1, 16, 32), 3.0, np.float32)
    logits[..., 14:18] = -3
    return Maps(logits, heard=heard(**scores), seen=seen)


def sides(masks):
    """Whether the left and the right are marked."""
    return bool(masks.mask[0, :, :8].all()), bool(masks.mask[0, :, -8:].all())


def test_the_loudest_names_come_out_best_first_and_each_thing_gets_the_sound_that_it_would_make():
    names = names_of(heard(Bark=0.6, Speech=0.9, Music=0.05), np.zeros((2, 2), np.uint8), CATEGORIES)
    assert [name for name, _ in names.heard] == ["Speech", "Bark"]
    assert names.sounds[CATEGORIES.index("dog")] == "Bark"
    assert names.sounds[CATEGORIES.index("person")] == "Speech"
    assert names.sounds[CATEGORIES.index("train")] == ""


def test_an_instrument_in_plain_music_makes_music():
    names = names_of(heard(Music=0.9, Speech=0.2), np.zeros((2, 2), np.uint8), CATEGORIES)
    assert names.sounds[CATEGORIES.index("harp")] == "Music"


@pytest.mark.parametrize(("only", "without", "left", "right"), [
    ((), (), True, True), (("dog",), (), True, False), (("person", "cat"), (), False, True), ((), ("Dog",), False, True),
    ((), ("speech",), True, False), (("bark",), (), True, False), (("dog", "speech"), ("person",), True, False),
    (("hand drum",), (), False, False),
])  # fmt: skip
def test_masks_are_filtered_by_the_names_of_things_and_sounds(only, without, left, right):
    masks = finish(0.0, frame(Bark=0.8, Speech=0.7), (16, 32), CONFIG, Request(only=only, without=without))
    assert sides(masks) == (left, right)


def test_a_word_stands_for_the_sounds_that_hold_it():
    names = names_of(heard(**{"Child speech, kid speaking": 0.8}), frame().seen, CATEGORIES)
    assert allowed(names, ["speech"], ())[:, 4:].all()
    assert not allowed(names, ["singing"], ())[:, 4:].any()


def test_regions_carry_the_names():
    masks = finish(0.0, frame(Bark=0.8, Speech=0.7), (16, 32), CONFIG, Request())
    (moment,) = moments(Tracker())(masks)
    assert [(r.name, r.sound) for r in moment.regions] == [("dog", "Bark"), ("person", "Speech")]
    assert moment.scores()["heard"] == {"Bark": 0.8, "Speech": 0.7}


@pytest.mark.parametrize(("word", "name"), [
    ("puppy", "dog"), ("brown puppies", "dog"), ("Kitten", "cat"), ("automobile", "car"), ("fiddles", "violin"),
    ("pet", "dog, cat"), ("lion", "big cat"), ("locomotive", "train"), ("hoover", "object"), ("drummer", "drum kit"),
])  # fmt: skip
def test_an_unknown_name_is_answered_with_the_ones_that_it_may_mean_first(word, name):
    with pytest.raises(ValueError, match=f"Near ones: {name}"):
        check_words([word], CONFIG)


def test_a_hint_is_of_what_the_model_knows_and_no_word_is_hinted_at_that_is_unknown():
    with pytest.raises(ValueError, match="Near ones: dog, pets"):
        check_words(["pet"], ModelConfig("world", things=("person", "dog")))
    assert set(aliases.ALIASES) <= set(CATEGORIES)
    assert {name for names in aliases.KINDS.values() for name in names} <= set(CATEGORIES)
    assert aliases.meant_by("nonsense") == ()


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(ValueError, match="guitar"):
        check_words(["guittar"], CONFIG)
    with pytest.raises(ValueError, match=r"chain ?saw"):
        check_words(["chainsow"], CONFIG)
    check_words(["hand_drum", "Speech", "car horn", "DOG"], CONFIG)


def test_a_model_without_names_can_t_be_filtered():
    with pytest.raises(ValueError, match="knows no names"):
        check_words(["dog"], ModelConfig("avs_mini"))


def test_presence_is_high_where_what_is_marked_is_heard_and_low_where_it_is_not():
    config = ModelConfig("world", things=CATEGORIES, presence=(0.75, 1.3))
    known, foreign = (finish(0.0, frame(**{sound: 0.9}), (16, 32), config, Request()) for sound in ("Bark", "Train"))
    assert known.presence[0] > 0.75
    assert foreign.presence[0] < 0.1
    gated = finish(0.0, frame(Train=0.9), (16, 32), config, Request(min_presence=0.5))
    assert not gated.mask.any()
