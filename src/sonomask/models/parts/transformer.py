"""The decoder layer of the systems that mark by queries, with what differs between them as options.

    system                        first   positions      mask   hidden  activation  bias of the attentions
    AVSegFormer, query generator  self    none           none   1024    gelu        no
    AVSegFormer, decoder          self    none           none   2048    gelu        yes
    COMBO, VCT                    cross   query and key  yes    2048    relu        yes

Their files' names map by the part alone: an attention's `in_proj_weight`, `in_proj_bias` and `out_proj` are theirs.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


class Attention(nn.Module):
    """softmax(q·k / √d)·v over several heads; parameters are named and packed as in `torch.nn.MultiheadAttention`.

    Args:
        channels: C.
        heads: Each has d = C / heads channels.
        bias: Bias of all four linear maps.
    """

    def __init__(self, channels: int = 256, heads: int = 8, *, bias: bool = True) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"`heads`: expected a divisor of {channels} channels, got {heads}.")
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * channels, channels)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels)) if bias else None
        self.out_proj = nn.Linear(channels, channels, bias=bias)
        nn.init.xavier_uniform_(self.out_proj.weight)
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Float[Tensor, "N Q C"],
        key: Float[Tensor, "N S C"],
        value: Float[Tensor, "N S C"],
        mask: Bool[Tensor, "N Q S"] | None = None,
    ) -> Float[Tensor, "N Q C"]:
        """Attention of queries to the values; `mask` is true where attention is allowed, the same for all heads."""
        weights = self.in_proj_weight.chunk(3)
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        q, k, v = (
            F.linear(x, w, b).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None])
        return self.out_proj(found.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """Queries attend to one another and to a memory, in either order, then each passes a feed-forward part.

    After each of the three, the sum with what went in is normalised ("post-norm").

    Args:
        channels: C.
        heads: Number of heads of both attentions.
        hidden: Width of the feed-forward part.
        activation: Activation of the feed-forward part.
        bias: Whether the attentions have biases.
        first: Name of the attention that comes first.
        dropout: Dropout in training.
    """

    def __init__(
        self,
        *,
        channels: int = 256,
        heads: int = 8,
        hidden: int = 2048,
        activation: Literal["gelu", "relu"] = "gelu",
        bias: bool = True,
        first: Literal["self", "cross"] = "self",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS or first not in ("self", "cross"):
            raise ValueError(f"Expected activation gelu or relu, first self or cross; got {activation!r}, {first!r}.")
        self.self_attn, self.self_norm = Attention(channels, heads, bias=bias), nn.LayerNorm(channels)
        self.cross_attn, self.cross_norm = Attention(channels, heads, bias=bias), nn.LayerNorm(channels)
        self.linear1, self.linear2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.norm = nn.LayerNorm(channels)
        self.activation, self.dropout, self.first = ACTIVATIONS[activation](), nn.Dropout(dropout), first
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self,
        queries: Float[Tensor, "N Q C"],
        memory: Float[Tensor, "N S C"],
        *,
        places: Float[Tensor, "... Q C"] | None = None,
        keys: Float[Tensor, "N S C"] | None = None,
        mask: Bool[Tensor, "N Q S"] | None = None,
    ) -> Float[Tensor, "N Q C"]:
        """The queries after this layer.

        Args:
            queries: Before it.
            memory: Memory that the queries attend to.
            places: Positions added to the queries and keys of the self-attention, not to the values.
            keys: Keys of the memory, usually the memory with its positions added; the memory itself if None.
            mask: True where a query may look at the memory. A row without any gives NaN.
        """
        for kind in ("self", "cross") if self.first == "self" else ("cross", "self"):
            positioned = queries if places is None else queries + places
            if kind == "self":
                update = self.self_attn(positioned, positioned, queries)
                queries = self.self_norm(queries + self.dropout(update))
            else:
                update = self.cross_attn(positioned, memory if keys is None else keys, memory, mask)
                queries = self.cross_norm(queries + self.dropout(update))
        update = self.linear2(self.dropout(self.activation(self.linear1(queries))))
        return self.norm(queries + self.dropout(update))
