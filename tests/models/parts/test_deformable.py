"""Deformable attention against a loop, in both forms."""

import math

import pytest
import torch
import written_out

from sonomask.models.parts.deformable import (
    Cells,
    DeformableAttention,
    DeformableEncoder,
    sample_grid,
    sample_rows,
    sine_position,
)

SIZES, HEADS, POINTS, DEPTH = ((4, 6), (2, 3)), 2, 3, 5
FORMS = (sample_rows, sample_grid)


def inputs(n=2, spread=2.0):
    generator = torch.Generator().manual_seed(0)
    cells = Cells.of(SIZES, HEADS, POINTS)
    queries, places = cells.x.shape
    value = torch.randn(n, queries, HEADS, DEPTH, generator=generator)
    offsets = spread * torch.randn(2, n, queries, places, generator=generator)
    weights = torch.rand(n, queries, places, generator=generator)
    return value, cells.x + offsets[0], cells.y + offsets[1], weights, cells


def plain(value, x, y, weights, _):
    """Cell by cell, in double precision."""
    n, queries, places = x.shape
    out = torch.zeros(n, queries, HEADS, DEPTH, dtype=torch.double)
    starts = [sum(h * w for h, w in SIZES[:level]) for level in range(len(SIZES))]
    for i in range(n):
        for q in range(queries):
            for place in range(places):
                head, level = place // (len(SIZES) * POINTS), place // POINTS % len(SIZES)
                h, w = SIZES[level]
                px, py, a = (float(t[i, q, place]) for t in (x, y, weights))
                for row in (math.floor(py), math.floor(py) + 1):
                    for column in (math.floor(px), math.floor(px) + 1):
                        if 0 <= row < h and 0 <= column < w:
                            share = a * (1 - abs(px - column)) * (1 - abs(py - row))
                            out[i, q, head] += share * value[i, starts[level] + row * w + column, head].double()
    return out.flatten(2).float()


@pytest.mark.parametrize("sample", FORMS)
def test_sampling_is_the_loop_over_corners(sample):
    torch.testing.assert_close(sample(*inputs()), plain(*inputs()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sample", FORMS)
def test_places_on_and_far_beyond_the_border_count_as_in_the_loop(sample):
    value, x, y, weights, cells = inputs(spread=0)
    x, y = x.round() + 3, y.round() * 2 - 2  # whole numbers: on cells, on the border of zeros, outside
    torch.testing.assert_close(
        sample(value, x, y, weights, cells), plain(value, x, y, weights, cells), atol=1e-5, rtol=1e-5
    )


def test_both_forms_have_the_same_gradients():
    *tensors, cells = inputs()
    leaves = [[t.clone().double().requires_grad_() for t in tensors] for _ in FORMS]
    for sample, own in zip(FORMS, leaves, strict=True):
        sample(*own, cells).square().sum().backward()
    for rows, grid in zip(*leaves, strict=True):
        torch.testing.assert_close(rows.grad, grid.grad, atol=1e-4, rtol=1e-4)


def test_a_place_that_is_no_number_spoils_its_query_only():
    value, x, y, weights, cells = inputs()
    whole = sample_rows(value, x, y, weights, cells)
    x[0, 3] = torch.nan
    spoilt = sample_rows(value, x, y, weights, cells)
    assert spoilt[0, 3].isnan().all()
    assert torch.equal(torch.cat([spoilt[0, :3], spoilt[0, 4:]]), torch.cat([whole[0, :3], whole[0, 4:]]))


def test_an_untrained_attention_looks_along_a_star():
    attention = DeformableAttention(16, levels=1, heads=4, points=2)
    places = attention.sampling_offsets.bias.view(4, 2, 2)
    expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    torch.testing.assert_close(places, expected[:, None] * torch.tensor([1.0, 2])[:, None], atol=1e-6, rtol=0)


@pytest.mark.parametrize("normalise", [False, True])
def test_positions_are_the_formula(normalise):
    code = sine_position(3, 5, 8, normalise=normalise, like=torch.zeros(1))
    row, column = (2 * math.pi * 2 / 3, 2 * math.pi * 4 / 5) if normalise else (2, 4)
    expected = [f(v / 10_000**e) for v in (row, column) for e in (0, 0.5) for f in (math.sin, math.cos)]
    torch.testing.assert_close(code[:, 1, 3], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def encoder(**more):
    torch.manual_seed(0)
    return DeformableEncoder(channels=16, levels=2, depth=2, heads=4, hidden=32, **more).eval()


def maps(n=2):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, 16, *size, generator=generator) for size in SIZES]


def test_the_encoder_keeps_sizes_and_frames_apart():
    model, both = encoder(), maps()
    with torch.inference_mode():
        out, first = model(both), model([x[:1] for x in both])
    assert [x.shape for x in out] == [x.shape for x in both]
    for whole, one in zip(out, first, strict=True):
        torch.testing.assert_close(whole[:1], one, atol=1e-5, rtol=1e-5)


def test_the_order_of_levels_is_the_callers():
    model = encoder(activation="relu", normalise=True)
    swapped = encoder(activation="relu", normalise=True)
    swapped.load_state_dict(model.state_dict())
    with torch.no_grad():
        swapped.level_embed.copy_(model.level_embed.flip(0))
        for layer in swapped.layers:  # columns are (head, level, point)
            for name, tail in (("sampling_offsets", 2), ("attention_weights", 1)):
                linear = getattr(layer.self_attn, name)
                for tensor in (linear.weight, linear.bias):
                    tensor.copy_(tensor.unflatten(0, (4, 2, 4 * tail)).flip(1).flatten(0, 2))
        for ours, theirs in zip(model(maps()), swapped(maps()[::-1])[::-1], strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter_of_the_encoder():
    model = encoder().train()
    for layer in model.layers:  # a weight of zero, as at the start, lets none through to the query
        torch.nn.init.normal_(layer.self_attn.sampling_offsets.weight, std=0.1)
        torch.nn.init.normal_(layer.self_attn.attention_weights.weight, std=0.1)
    sum(x.square().mean() for x in model(maps())).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_encoder_is_the_written_out_one():
    model = encoder()
    for layer in model.layers:
        torch.nn.init.normal_(layer.self_attn.sampling_offsets.weight, std=0.3)
        torch.nn.init.normal_(layer.self_attn.attention_weights.weight, std=0.3)
    for ours, theirs in zip(model(maps()), written_out.encode(model, maps()), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_an_exported_encoder_gives_what_the_fast_form_gives():
    model, given = encoder(), maps()
    program = torch.export.export(model, (given,))
    assert not any("embedding_bag" in str(node.target) for node in program.graph.nodes)
    with torch.inference_mode():
        for ours, theirs in zip(model(given), program.module()(given), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_wrong_number_of_maps_is_told():
    with pytest.raises(ValueError, match="expected 2, got 1"):
        encoder()(maps()[:1])
