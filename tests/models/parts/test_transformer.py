"""The decoder layer against torch's own parts."""

import pytest
import torch
from torch import nn

from sonomask.models.parts.transformer import Attention, DecoderLayer


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_torchs_with_its_weights(bias):
    theirs = nn.MultiheadAttention(16, 4, bias=bias, batch_first=True)
    ours = Attention(16, 4, bias=bias)
    ours.load_state_dict(theirs.state_dict())
    query, key, value = randn(2, 3, 16), randn(2, 5, 16, seed=1), randn(2, 5, 16, seed=2)
    mask = randn(2, 3, 5, seed=3) > 0
    mask[..., 0] = True
    expected, _ = theirs(query, key, value, attn_mask=~mask.repeat_interleave(4, 0))
    torch.testing.assert_close(ours(query, key, value, mask), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("first", "activation"), [("self", "gelu"), ("cross", "relu")])
def test_a_layer_is_the_sentence_of_its_docstring(first, activation):
    torch.manual_seed(0)
    layer = DecoderLayer(channels=16, heads=4, hidden=32, first=first, activation=activation).eval()
    q, memory, places, position = (randn(2, n, 16, seed=i) for i, n in enumerate((3, 5, 3, 5)))

    def itself(x):
        return layer.self_norm(x + layer.self_attn(x + places, x + places, x))

    def across(x):
        return layer.cross_norm(x + layer.cross_attn(x + places, memory + position, memory))

    x = across(itself(q)) if first == "self" else itself(across(q))
    act = nn.functional.gelu if activation == "gelu" else torch.relu
    expected = layer.norm(x + layer.linear2(act(layer.linear1(x))))
    torch.testing.assert_close(layer(q, memory, places=places, keys=memory + position), expected)


def test_a_query_does_not_see_what_its_mask_hides():
    layer = DecoderLayer(channels=16, heads=4, hidden=32).eval()
    q, memory = randn(1, 3, 16), randn(1, 5, 16, seed=1)
    mask = torch.ones(1, 3, 5, dtype=torch.bool)
    mask[:, :, 4] = False
    other = memory.clone()
    other[:, 4] = 100
    assert torch.equal(layer(q, memory, mask=mask), layer(q, other, mask=mask))


def test_unknown_options_are_told():
    with pytest.raises(ValueError, match="activation gelu or relu"):
        DecoderLayer(activation="tanh")
    with pytest.raises(ValueError, match="divisor of 16"):
        Attention(16, 3)
