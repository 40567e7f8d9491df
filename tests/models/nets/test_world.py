"""Named things against named sounds: what is marked, and that a stream is one long clip."""

import pytest
import torch

from sonomask.audio.audioset import names
from sonomask.audio.categories import CATEGORIES, GENERAL, MUSIC, SOUNDS, sound_table
from sonomask.models.catalog import create_model
from sonomask.models.nets.world import match, name_places
from sonomask.models.optimize import optimize

DOG, GUITAR = CATEGORIES.index("dog"), CATEGORIES.index("guitar")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = create_model("world_duo").eval()
    with torch.no_grad():  # random weights hardly tell sounds apart
        made.audio.head.weight.mul_(1000)
    return made


def clip(time=4, size=(64, 96)):
    generator = torch.Generator().manual_seed(1)
    logmel = torch.randn(1, time, 3, 96, 64, generator=generator) - torch.arange(time)[:, None, None, None]
    return torch.randn(1, time, 3, *size, generator=generator), logmel


def scene():
    """A dog on the left, a guitar on the right, in the middle what has no name above and nothing below."""
    shares = torch.full((1, 1 + len(CATEGORIES), 8, 24), 1e-4)
    shares[:, 1 + DOG, :, :8] = shares[:, 0, :, 8:16] = shares[:, 1 + GUITAR, :, 16:] = 0.98
    salience = torch.full((1, 1, 8, 24), 0.9)
    salience[:, :, 4:, 8:16] = 0.02
    return shares, salience


def heard(**scores):
    relevance = torch.zeros(1, len(CATEGORIES))
    for category, score in scores.items():
        relevance[0, CATEGORIES.index(category)] = score
    return relevance


@pytest.mark.parametrize(("sound", "left", "middle", "right"), [
    ({"dog": 0.9}, 1.0, 0.0, 0.0), ({"guitar": 0.9}, 0.0, 0.0, 1.0), ({"dog": 0.9, "guitar": 0.8}, 1.0, 0.0, 1.0),
    ({"train": 0.9}, 0.0, 0.5, 0.0), ({}, 0.0, 0.5, 0.0),
])  # fmt: skip
def test_what_fits_the_sound_is_marked_and_if_nothing_does_what_catches_the_eye_and_has_no_name(
    sound, left, middle, right
):
    logits, fits = match(*scene(), heard(**sound))
    marked = (logits[0, 0] > 0).float()
    assert (marked[:, :8].mean(), marked[:, 8:16].mean(), marked[:, 16:].mean()) == (left, middle, right)
    assert fits.item() == (middle == 0)


def test_each_place_is_named_by_what_is_there_and_heard():
    shares, salience = scene()
    shares[:, 1 + CATEGORIES.index("cat"), :, :8] = 1.2  # looks more like a cat, sounds like a dog
    relevance = heard(dog=0.9)
    seen = name_places(shares, relevance, match(shares, salience, relevance)[1])
    assert {CATEGORIES[i] for i in seen[0, :, :8].unique()} == {"dog"}
    assert {CATEGORIES[i] for i in seen[0, :, 16:].unique()} == {"guitar"}


def test_nothing_is_marked_in_silence_nor_while_the_sound_is_faint_beside_the_loudest_so_far(model):
    images, _ = clip(3)
    loud, faint, silent = 3.0, 0.5, -4.6
    logmel = torch.tensor([loud, faint, silent])[None, :, None, None, None].expand(1, 3, 1, 96, 64)
    with torch.inference_mode():
        top = model(images, logmel).logits.amax((0, 2, 3, 4))
        alone = model(images[:, 1:2], logmel[:, 1:2]).logits.amax()
    assert top[0] > -8
    assert alone > -8
    assert top[1:].tolist() == [-8, -8]


def test_a_stream_in_pieces_gives_the_logits_and_names_of_the_whole_clip(model):
    images, logmel = clip()
    with torch.inference_mode():
        whole = model(images, logmel)
        first = model(images[:, :3], logmel[:, :3])
        rest = model(images[:, 3:], logmel[:, 3:], past=first.past)
        past, steps = model.start(), []
        for i in range(4):
            output, past = model.step(images[:, i], logmel[:, i], past)
            steps.append(output)
    for key in ("logits", "heard"):
        wanted = getattr(whole, key)
        torch.testing.assert_close(
            torch.cat([getattr(first, key), getattr(rest, key)], 1), wanted, atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(torch.cat([getattr(o, key) for o in steps], 1), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(past, whole.past, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(whole.heard[:, 3], model(images[:, 3:], logmel[:, 3:]).heard[:, 0])


def test_a_folded_copy_gives_the_same_logits(model):
    images, logmel = clip(2)
    with torch.inference_mode():
        torch.testing.assert_close(
            optimize(model)(images, logmel).logits, model(images, logmel).logits, atol=1e-3, rtol=1e-3
        )


def test_a_low_rank_reader_has_the_same_interface_with_fewer_numbers():
    full, low = create_model("world"), create_model("world", rank=32).eval()
    sizes = [sum(p.numel() for p in model.readers.parameters()) for model in (full, low)]
    assert sizes[1] < sizes[0] - 300_000
    with torch.inference_mode():
        shares, salience = low.see(clip(2)[0][0])
    assert (shares.shape, salience.shape) == ((2, 1 + len(CATEGORIES), 16, 24), (2, 1, 16, 24))


def test_readers_of_other_sides_see_the_picture_smaller_and_answer_for_its_places(model):
    torch.manual_seed(0)
    scaled = create_model("world_duo", sides=(320, 448)).eval()
    scaled.load_state_dict(model.state_dict())
    pictures = clip(1, (256, 448))[0][0]
    with torch.inference_mode():
        shares, salience = scaled.see(pictures)
        small = torch.nn.functional.interpolate(pictures, size=(192, 320), mode="bilinear", align_corners=False)
        alone = [reader(x)[0].softmax(1) for reader, x in zip(model.readers, (small, pictures), strict=True)]
    alone[0] = torch.nn.functional.interpolate(alone[0], size=(64, 112), mode="bilinear", align_corners=False)
    torch.testing.assert_close(shares, sum(alone) / 2)
    assert salience.shape == (1, 1, 64, 112)


@pytest.mark.parametrize("sides", [(320,), (200, 448), (0, 0)])
def test_sides_that_fit_no_readers_are_refused(sides):
    with pytest.raises(ValueError, match=r"`sides`: expected a size for each of the 2 scene readers"):
        create_model("world_duo", sides=sides)


def test_the_gate_starts_from_the_relevance_and_what_is_seen_and_keeps_it_between_0_and_twice():
    gated = create_model("world", gate=True).eval().gate
    shares, _ = scene()
    relevance = heard(dog=0.9, train=0.6)
    with torch.no_grad():
        out = gated(shares, relevance)
        gated.net[2].weight.zero_(), gated.net[2].bias.zero_()
        torch.testing.assert_close(gated(shares, relevance), relevance)
    assert out.shape == relevance.shape
    assert ((out >= 0) & (out <= 2 * relevance)).all()


def test_an_animal_is_half_as_relevant_as_the_most_audible_one(model):
    relevance = model.relevance(torch.tensor([[[float(name == "Moo") for name in names()]]]))[0, 0]
    assert relevance[CATEGORIES.index("dog")] == pytest.approx(0.5 * relevance[CATEGORIES.index("cow")].item())
    assert relevance[CATEGORIES.index("person")] == 0


@pytest.mark.parametrize(("beside", "kept"), [
    ({}, True), ({"Bark": 0.1}, True), ({"Bark": 0.9}, False), ({"Gunshot, gunfire": 0.9}, False), ({"Guitar": 0.9}, True),
])  # fmt: skip
def test_what_is_surely_heard_of_another_family_takes_away_a_faint_guess(model, beside, kept):
    scores = torch.tensor([[[beside.get(name, 0.08 if name == "Whimper" else 0.0) for name in names()]]])
    assert (model.relevance(scores)[0, 0, CATEGORIES.index("person")] > 0.2) == kept


def test_two_of_different_families_that_are_both_surely_heard_stay_relevant(model):
    scores = torch.tensor([[[0.9 if name in ("Speech", "Bark") else 0.0 for name in names()]]])
    relevance = model.relevance(scores)[0, 0]
    assert relevance[CATEGORIES.index("person")] > 1
    assert relevance[DOG] > 1


def test_every_word_of_the_table_is_one_of_audioset_and_every_category_has_one():
    table = torch.tensor(sound_table(names(), general=0.5))
    assert table.shape == (len(CATEGORIES), len(names()))
    assert {word.strip() for sounds in SOUNDS.values() for word in sounds.split(";")} <= set(names())
    assert GENERAL | set(MUSIC) <= set(names())
    assert (table.amax(1) > 0).all()
    assert table[CATEGORIES.index("train"), names().index("Vehicle")] == 0.5
    assert table[CATEGORIES.index("train"), names().index("Train")] == 1
