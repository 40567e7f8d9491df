import numpy as np
import pytest

from sonomask.data.drawn.picture import KINDS, Thing, background, paint


def draw(kind, size=(64, 64), home=(0.5, 0.5), angle=0.0):
    picture, owner = np.zeros((*size, 3), np.float32), np.full(size, -1, np.int8)
    thing = Thing(kind, 0.3, 0.3, home, (0.0, 0.0), (0.1, 0.1), (0.0, 0.0), angle, 0.0, 1.0, 1.0)
    paint(picture, owner, 5, thing, 0)
    return picture, owner == 5


def test_every_kind_has_a_shape_of_its_own():
    masks = [draw(kind)[1] for kind in range(len(KINDS))]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert (one & other).sum() < 0.9 * (one | other).sum()


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_a_thing_is_painted_where_it_is_labelled(kind):
    picture, mask = draw(kind)
    painted = picture.sum(axis=2) > 0
    assert painted[mask].all()
    assert (painted & ~mask).sum() < 0.35 * mask.sum()  # only the soft edge


@pytest.mark.parametrize("home", [(0.0, 0.5), (1.0, 1.0), (-0.2, 0.5), (2.0, 0.5), (0.5, -3.0)])
def test_a_thing_at_or_beyond_the_edge_is_cut_off(home):
    assert draw(0, home=home)[1].sum() < draw(0)[1].sum()


def test_the_middle_of_a_thing_is_where_it_says_in_a_picture_that_is_not_square():
    rows, columns = np.nonzero(draw(0, size=(40, 80), home=(0.25, 0.5))[1])
    np.testing.assert_allclose((rows.mean(), columns.mean()), (19.5, 19.5), atol=0.1)


def test_a_thing_turns():
    assert not np.array_equal(draw(2)[1], draw(2, angle=0.6)[1])


def test_backgrounds_are_dull_textures_within_range():
    made = [background((32, 40), np.random.default_rng(seed)) for seed in range(20)]
    assert all(b.shape == (32, 40, 3) and b.dtype == np.float32 and 0 <= b.min() <= b.max() <= 1 for b in made)
    assert all(b.std() > 0.005 for b in made)
    assert max((b.max(axis=2) - b.min(axis=2)).max() for b in made) < 0.5
