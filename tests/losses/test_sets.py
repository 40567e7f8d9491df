"""The set losses against loops over every pixel and every assignment."""

import itertools
import math

import pytest
import torch

from sonomask.losses.sets import at, consistency, everywhere, match, set_loss, uncertain_points


def draw(n=2, q=4, k=3, size=6):
    generator = torch.Generator().manual_seed(3)
    classes = torch.randn(n, q, k + 1, generator=generator)
    masks = 3 * torch.randn(n, q, size, size, generator=generator)
    truth = torch.randint(0, k, (n, size, size), generator=generator)
    truth[0] = truth[0].clamp(max=1)  # one class is not seen in every frame
    return classes, masks, truth


def bce(x, y):
    p = 1 / (1 + math.exp(-x))
    return -(y * math.log(p) + (1 - y) * math.log(1 - p))


def pair(mask, part):
    """Cross-entropy and Dice loss of a mask and a part, pixel by pixel."""
    xs, ys = mask.flatten().tolist(), part.flatten().tolist()
    entropy = sum(bce(x, y) for x, y in zip(xs, ys, strict=True)) / len(xs)
    ps = [1 / (1 + math.exp(-x)) for x in xs]
    both = sum(p * y for p, y in zip(ps, ys, strict=True))
    return entropy, 1 - (2 * both + 1) / (sum(ps) + sum(ys) + 1)


def cheapest(classes, masks, labels, parts):
    """By trying every assignment."""

    def cost(queries):
        whole = 0
        for q, label, part in zip(queries, labels.tolist(), parts, strict=True):
            entropy, dice = pair(masks[q], part)
            whole += 5 * entropy + 5 * dice - 2 * classes[q].softmax(0)[label].item()
        return whole

    return min(itertools.permutations(range(len(masks)), len(labels)), key=cost)


def parts_of(truth):
    labels = truth.unique()
    return labels, torch.stack([(truth == label).float() for label in labels])


def test_queries_are_assigned_as_trying_everything_would():
    classes, masks, truth = draw()
    for c, m, t in zip(classes, masks, truth, strict=True):
        labels, parts = parts_of(t)
        queries, chosen = match(c, m, labels, parts, points=None)
        assert dict(zip(chosen.tolist(), queries.tolist(), strict=True)) == dict(
            enumerate(cheapest(c, m, labels, parts))
        )


def test_the_terms_are_those_of_a_loop():
    classes, masks, truth = draw()
    entropies, dices, weighted, weights = [], [], 0.0, 0.0
    for c, m, t in zip(classes, masks, truth, strict=True):
        labels, parts = parts_of(t)
        queries = cheapest(c, m, labels, parts)
        wanted = [3] * len(c)
        for q, label, part in zip(queries, labels.tolist(), parts, strict=True):
            wanted[q] = label
            entropy, dice = pair(m[q], part)
            entropies.append(entropy)
            dices.append(dice)
        for row, label in zip(c, wanted, strict=True):
            weight = 0.1 if label == 3 else 1.0
            weighted -= weight * row.log_softmax(0)[label].item()
            weights += weight
    ours = set_loss([classes], [masks], truth, points=None)
    assert ours["mask"].item() == pytest.approx(5 * sum(entropies) / len(entropies), rel=1e-4)
    assert ours["dice"].item() == pytest.approx(5 * sum(dices) / len(dices), rel=1e-4)
    assert ours["class"].item() == pytest.approx(2 * weighted / weights, rel=1e-4)


def test_every_prediction_counts():
    classes, masks, truth = draw()
    one, two = (set_loss([classes] * n, [masks] * n, truth, points=None) for n in (1, 2))
    assert all(two[name].item() == pytest.approx(2 * one[name].item()) for name in one)


def test_points_tell_what_all_pixels_tell():
    torch.manual_seed(0)
    _, parts = parts_of(draw(size=16)[2][0])
    where = torch.rand(len(parts), 20_000, 2)
    assert at(parts[:, None], where).mean(1).tolist() == pytest.approx(parts.mean((1, 2)).tolist(), abs=0.05)
    assert torch.equal(at(parts[:, None], everywhere(parts[:, None])), parts.flatten(1))


def test_three_quarters_of_the_points_lie_where_the_mask_is_least_sure():
    torch.manual_seed(0)
    maps = torch.linspace(-8, 8, 64).expand(1, 1, 64, 64)  # unsure in the middle columns
    where = uncertain_points(maps, 400)
    near = (where[0, :, 0] - 0.5).abs() < 0.15
    assert where.shape == (1, 400, 2)
    assert near[:300].float().mean() > 0.7
    assert near[300:].float().mean() < 0.5


def test_no_frame_gives_zero_with_a_gradient():
    classes, masks, truth = draw()
    masks.requires_grad_()
    terms = set_loss([classes[:0]], [masks[:0]], truth[:0])
    sum(terms.values()).backward()
    assert all(term.item() == 0 for term in terms.values())


def test_consistency_is_that_of_a_loop_over_neighbours():
    masks = torch.randn(2, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    whole = 0.0
    for clip in masks:
        for a, b in itertools.pairwise(clip):
            apart = 1 - (a * b).sum() / (a.norm() * b.norm())
            whole += (apart * math.exp(-apart)).item() / 3
    assert consistency(masks).item() == pytest.approx(whole / 2, rel=1e-5)


def test_consistency_looks_at_frames_that_exist():
    masks = torch.randn(1, 4, 3, 5, 5)
    valid = torch.tensor([[True, True, True, False]])
    torch.testing.assert_close(consistency(masks, valid), consistency(masks[:, :3]))
