"""Multi-scale deformable attention: every cell samples a few learned positions of every level.

The one encoder serves three systems. Parameter names below `layers.{i}.` are those of their files; `level_embed` is the
only other parameter.

    system        maps, in the order of `level_embed`     hidden  activation  normalise   file's names
    AVSegFormer   strides 8, 16, 32 (fine to coarse)      2048    gelu        no          head.transformer.encoder.layers.*,
                                                                                          head.level_embed
    COMBO, VCT    strides 32, 16, 8 (coarse to fine)      1024    relu        yes         …pixel_decoder.transformer.encoder.
                                                                                          layers.*, ….transformer.level_embed

How a pixel decoder of the Mask2Former kind (COMBO, VCT) is made of it:

    maps = [project(x) for project, x in zip(input_proj, (res5, res4, res3))]        # 1×1 convolution and group norm
    c32, c16, c8 = encoder(maps)
    finest = adapter(res2) + interpolate(c8, res2's size, bilinear)
    masks = mask_features(layer(finest))                                             # stride 4; c32, c16, c8 go on too
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Size = tuple[int, int]

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


class DeformableEncoder(nn.Module):
    """Layers in which the cells of several maps exchange information.

        tokens → + positions → deformable attention → add, norm → feed forward → add, norm   (`depth` times)

    Args:
        channels: C, of the maps.
        levels: Number of maps.
        depth: Layers.
        heads: Number of heads of the attention; each has C / heads channels.
        points: Places that a head looks at in each level.
        hidden: Width of the feed-forward part.
        activation: Activation of the feed-forward part.
        normalise: Whether positions run from 0 to 2π on every map (Mask2Former) or count cells (AVSegFormer).
        dropout: Dropout in training, as the reference layers have it.

    Source: Zhu et al., "Deformable DETR", ICLR 2021, equation 3, without masks of padding.
    """

    def __init__(
        self,
        *,
        channels: int = 256,
        levels: int = 3,
        depth: int = 6,
        heads: int = 8,
        points: int = 4,
        hidden: int = 2048,
        activation: Literal["gelu", "relu"] = "gelu",
        normalise: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"`activation`: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
        self.level_embed = nn.Parameter(torch.randn(levels, channels))
        self.layers = nn.ModuleList(
            _Layer(channels, levels, heads, points, hidden, ACTIVATIONS[activation](), dropout) for _ in range(depth)
        )
        self.heads, self.points, self.normalise = heads, points, normalise

    def forward(self, maps: Sequence[Float[Tensor, "N C _h _w"]]) -> list[Float[Tensor, "N C _h _w"]]:
        """Maps of the same sizes, in the same order.

        Raises:
            ValueError: There are not as many as levels.
        """
        if len(maps) != len(self.level_embed):
            raise ValueError(f"`maps`: expected {len(self.level_embed)}, got {len(maps)}.")
        sizes = [(x.shape[-2], x.shape[-1]) for x in maps]
        tokens = torch.cat([x.flatten(2).mT for x in maps], 1)
        codes = [sine_position(*size, tokens.shape[-1], normalise=self.normalise, like=tokens) for size in sizes]
        positions = torch.cat([x.flatten(1).mT + e for x, e in zip(codes, self.level_embed, strict=True)])
        cells = Cells.of(sizes, self.heads, self.points, tokens.device)
        for layer in self.layers:
            tokens = layer(tokens, positions, cells)
        parts = tokens.split([h * w for h, w in sizes], 1)
        return [x.mT.unflatten(2, size) for x, size in zip(parts, sizes, strict=True)]


class _Layer(nn.Module):
    def __init__(
        self, channels: int, levels: int, heads: int, points: int, hidden: int, activation: nn.Module, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(channels, levels, heads, points)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.linear1, self.linear2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.activation, self.dropout = activation, nn.Dropout(dropout)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, tokens: Tensor, positions: Tensor, cells: "Cells") -> Tensor:
        update = self.self_attn(tokens + positions, tokens, cells)
        tokens = self.norm1(tokens + self.dropout(update))
        update = self.linear2(self.dropout(self.activation(self.linear1(tokens))))
        return self.norm2(tokens + self.dropout(update))


class DeformableAttention(nn.Module):
    """Σ over levels and points of A · value(cell + Δ), where A and Δ are linear in the query.

    Args:
        channels: C.
        levels: L.
        heads: M.
        points: P, for each head and level.

    Source: Zhu et al., "Deformable DETR", ICLR 2021, equation 3. The softmax runs over all L·P places together; Δ is in
    cells of its level; the value is bilinear, and zero outside the map.
    """

    def __init__(self, channels: int = 256, levels: int = 3, heads: int = 8, points: int = 4) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"`heads`: expected a divisor of {channels} channels, got {heads}.")
        self.levels, self.heads, self.points = levels, heads, points
        places = heads * levels * points
        self.sampling_offsets = nn.Linear(channels, 2 * places)
        self.attention_weights = nn.Linear(channels, places)
        self.value_proj, self.output_proj = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self._start()

    def _start(self) -> None:
        """At first, head m looks in direction m of a star, its point p at p + 1 cells, with equal weights."""
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        star = torch.stack([angle.cos(), angle.sin()], -1)
        star = star / star.abs().amax(-1, keepdim=True)
        reach = torch.arange(1, self.points + 1)[:, None] * star[:, None, None]  # M 1 P 2
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(reach.expand(-1, self.levels, -1, -1).flatten())
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self, query: Float[Tensor, "N Q C"], source: Float[Tensor, "N S C"], cells: "Cells"
    ) -> Float[Tensor, "N Q C"]:
        """Sample the values at each query's positions.

        Args:
            query: Query with its position added.
            source: Cells of all levels, one level after another.
            cells: Places of the queries and of the levels.
        """
        value = self.value_proj(source).unflatten(-1, (self.heads, -1))
        offsets = self.sampling_offsets(query).unflatten(-1, (-1, 2))
        x, y = offsets[..., 0] + cells.x, offsets[..., 1] + cells.y  # float32 also where the rest is half
        weights = self.attention_weights(query).unflatten(-1, (self.heads, -1)).softmax(-1).flatten(2)
        sample = sample_grid if torch.compiler.is_compiling() else sample_rows
        return self.output_proj(sample(value, x, y, weights, cells))


@dataclass(frozen=True)
class Cells:
    """Sampling positions of the queries on the levels; columns are (head, level, point), as the linear maps order them.

    Attributes:
        sizes: Height and width of each level.
        x: Column of each query in units of each level's cells; the centre of the first cell is 0.
        y: Row, likewise.
        width: Width of each column's level.
        height: Likewise.
        step: Rows of `sample_rows`'s table from a cell to the one below it.
        first: Row of a column's head and its level's cell (0, 0).
        rows: Rows of the table for one frame.
    """

    sizes: tuple[Size, ...]
    x: Float[Tensor, "Q E"]
    y: Float[Tensor, "Q E"]
    width: Float[Tensor, " E"]
    height: Float[Tensor, " E"]
    step: Tensor
    first: Tensor
    rows: int

    @classmethod
    def of(cls, sizes: Sequence[Size], heads: int, points: int, device: torch.device | str = "cpu") -> "Cells":
        """Queries are the cells of all levels themselves."""
        centres = [
            torch.stack(torch.meshgrid(_centres(h, device), _centres(w, device), indexing="ij"), -1).flatten(0, 1)
            for h, w in sizes
        ]
        places = torch.cat(centres)  # Q (y x), 0 to 1
        bordered = [(h + 2) * (w + 2) for h, w in sizes]
        table = [(w, h, (w + 2) * heads, (sum(bordered[:i]) + w + 3) * heads) for i, (h, w) in enumerate(sizes)]
        columns = torch.tensor(table, dtype=torch.int32, device=device).repeat_interleave(points, 0)  # L·P 4
        head = torch.arange(heads, dtype=torch.int32, device=device).repeat_interleave(len(columns))
        width, height, step, first = columns.repeat(heads, 1).unbind(1)
        x, y = places[:, 1:] * width - 0.5, places[:, :1] * height - 0.5
        return cls(tuple(sizes), x, y, width.float(), height.float(), step, first + head, sum(bordered) * heads)


def _centres(count: int, device: torch.device | str) -> Tensor:
    return (torch.arange(count, dtype=torch.float32, device=device) + 0.5) / count


def sample_rows(
    value: Float[Tensor, "N S M D"],
    x: Float[Tensor, "N Q E"],
    y: Float[Tensor, "N Q E"],
    weights: Float[Tensor, "N Q E"],
    cells: Cells,
) -> Float[Tensor, "N Q C"]:
    """The fast form: a weighted sum of rows of one table.

    With a border of zeros around every level, a place is four rows of D neighbouring numbers with bilinear weights, and
    a query's whole sum over levels, points and corners is one bag of a summing embedding: no sample is ever stored.
    """
    n, _, heads, channels = value.shape
    parts = value.split([h * w for h, w in cells.sizes], 1)
    levels = [F.pad(v.unflatten(1, s), (0, 0, 0, 0, 1, 1, 1, 1)) for v, s in zip(parts, cells.sizes, strict=True)]
    table = torch.cat([v.flatten(1, 3) for v in levels], 1).flatten(0, 1)
    x, y = torch.minimum(x.clamp(min=-1), cells.width), torch.minimum(y.clamp(min=-1), cells.height)
    left, top = torch.minimum(x.floor(), cells.width - 1), torch.minimum(y.floor(), cells.height - 1)
    index = top.int() * cells.step + left.int() * heads + cells.first
    index = index.clamp(0, cells.rows - 1)  # a place that is not a number must spoil the sum, not the memory
    if n > 1:
        index = index + (torch.arange(n, dtype=index.dtype, device=index.device) * cells.rows)[:, None, None]
    right, down = x - left, y - top
    low, high = weights * (1 - down), weights * down
    low_right, high_right = low * right, high * right
    corners = (index, index + heads, index + cells.step, index + cells.step + heads)
    shares = (low - low_right, low_right, high - high_right, high_right)
    bags = torch.stack([t.unflatten(-1, (heads, -1)) for t in corners], -2).reshape(n * x.shape[1] * heads, -1)
    per_row = torch.stack([t.unflatten(-1, (heads, -1)) for t in shares], -2).reshape(bags.shape).to(table.dtype)
    summed = F.embedding_bag(bags, table, mode="sum", per_sample_weights=per_row)
    return summed.view(n, x.shape[1], heads * channels)


def sample_grid(
    value: Float[Tensor, "N S M D"],
    x: Float[Tensor, "N Q E"],
    y: Float[Tensor, "N Q E"],
    weights: Float[Tensor, "N Q E"],
    cells: Cells,
) -> Float[Tensor, "N Q C"]:
    """The portable form, for `torch.export` and ONNX: a bilinear grid sample of each level, added up as it comes."""
    heads, total = value.shape[2], torch.zeros((), dtype=value.dtype, device=value.device)
    axes = (heads, len(cells.sizes), -1)
    x, y, weights = (t.unflatten(-1, axes).permute(0, 2, 3, 1, 4) for t in (x, y, weights))  # N M L Q P
    for level, (h, w) in enumerate(cells.sizes):
        start = sum(a * b for a, b in cells.sizes[:level])
        source = value[:, start : start + h * w].permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, (h, w))  # N·M D h w
        grid = torch.stack([(2 * x[:, :, level] + 1) / w - 1, (2 * y[:, :, level] + 1) / h - 1], -1).flatten(0, 1)
        found = F.grid_sample(source, grid.to(source.dtype), align_corners=False)  # N·M D Q P
        total = total + (found * weights[:, :, level].flatten(0, 1)[:, None]).sum(-1)
    return total.unflatten(0, (-1, heads)).flatten(1, 2).mT


def sine_position(
    height: int, width: int, channels: int = 256, *, normalise: bool, like: Tensor
) -> Float[Tensor, "C H W"]:
    """Sines and cosines of the row (first half of the channels) and of the column, at wavelengths up to 10 000.

    Args:
        height: H.
        width: W.
        channels: C, a multiple of 4.
        normalise: Rows and columns from 0 (exclusive) to 2π instead of 1 to H and W.
        like: Tensor whose device and dtype are taken.

    Source: Carion et al., "End-to-end object detection with transformers", ECCV 2020; sine in even channels of a half,
    cosine of the same wavelength in the odd one after it.
    """
    if channels % 4:
        raise ValueError(f"`channels`: expected a multiple of 4, got {channels}.")
    half = channels // 2
    wavelength = 10_000 ** (2 * (torch.arange(half, device=like.device) // 2) / half)

    def code(count: int) -> Tensor:
        place = torch.arange(1, count + 1, dtype=torch.float32, device=like.device)
        if normalise:
            place = place / (count + 1e-6) * 2 * math.pi
        angle = place[:, None] / wavelength
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], -1).flatten(1).T  # half count

    rows, columns = code(height)[:, :, None].expand(-1, -1, width), code(width)[:, None].expand(-1, height, -1)
    return torch.cat([rows, columns]).to(like.dtype)
