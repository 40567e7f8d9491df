"""Networks of timm taken apart into blocks over tokens, so that a model can put tokens of its own between them."""

from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.safe_reading.config import check_source

PATCH = 16  # pixels: the side of a token's patch, in both kinds of network


class TokenBackbone(nn.Module):
    """Blocks over tokens, of which the last ones also take a model's queries, first in the row.

    Attributes:
        net: timm's network.
        channels: C, width of a token.
        prefix: Tokens before those of the patches that the network has of its own.
        normed_first: Whether its last norm comes before what is done to the tokens after the last block.
        file_names: Naming scheme of files with its weights, see `checkpoints.backbones`.
    """

    file_names = "tokens"
    net: Any
    channels: int
    prefix: int
    normed_first: bool

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def blocks(self) -> nn.ModuleList | nn.Sequential:
        """The blocks between which a model may do something."""
        raise NotImplementedError

    def start(self, images: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, "N _S C"], Any]:
        """The tokens before the first of the blocks, and what `run` wants to know of the picture."""
        raise NotImplementedError

    def run(
        self, block: int, x: Float[Tensor, "N _S C"], about: Any, mask: Bool[Tensor, "N _S _S"] | None = None
    ) -> Float[Tensor, "N _S C"]:
        """The tokens after a block; `mask` is true where one may look at another."""
        raise NotImplementedError

    def norm(self, x: Float[Tensor, "N _S C"]) -> Float[Tensor, "N _S C"]:
        """The network's last norm."""
        raise NotImplementedError

    def pretrained(self) -> dict[str, Tensor]:
        """The weights that timm offers for the network, from its cache or fetched."""
        raise NotImplementedError


class TokenViT(TokenBackbone):
    """A DINOv3 of timm: plain blocks with rotary positions, that of queries and of its own first tokens being none.

    Args:
        name: A `vit_*_dinov3*` of timm, 1.0.20 or later.
        queries: Tokens that a model puts first before the last blocks.
        last: Number of the last blocks that take them.

    Raises:
        ValueError: timm does not know it, or it is another kind of network.
    """

    normed_first = False

    def __init__(self, name: str, queries: int, last: int) -> None:
        super().__init__()
        self.name = name
        self.net: Any = self._made(pretrained=False)
        if not hasattr(self.net, "rope") or not hasattr(self.net, "reg_token"):
            raise ValueError(f"`backbone`: expected a pvt_v2_* or a vit_*_dinov3* of timm, got {name!r}.")
        self.channels, self.prefix = self.net.embed_dim, self.net.num_prefix_tokens
        for block in list(self.net.blocks)[len(self.net.blocks) - last :]:
            block.attn.num_prefix_tokens += queries  # which get no position

    def _made(self, *, pretrained: bool) -> Any:
        try:
            return timm.create_model(self.name, pretrained=pretrained, num_classes=0, qkv_fused=False)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"`backbone`: expected a pvt_v2_* or a vit_*_dinov3* of timm (1.0.20 or later), got {self.name!r} in timm "
                f"{timm.__version__} ({str(error).splitlines()[0][:150]})."
            ) from error

    def pretrained(self) -> dict[str, Tensor]:
        """The weights that timm offers; their licence is Meta's."""
        return dict(self._made(pretrained=True).state_dict())

    @property
    def blocks(self) -> nn.ModuleList | nn.Sequential:
        """All blocks."""
        found: nn.ModuleList | nn.Sequential = self.net.blocks
        return found

    def start(self, images: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, "N _S C"], Any]:
        """Class token, registers and patches; the positions of the patches."""
        tokens, positions = self.net._pos_embed(self.net.patch_embed(images))
        return self.net.norm_pre(tokens), positions

    def run(
        self, block: int, x: Float[Tensor, "N _S C"], about: Any, mask: Bool[Tensor, "N _S _S"] | None = None
    ) -> Float[Tensor, "N _S C"]:
        """The tokens after a block."""
        scores = None if mask is None else torch.zeros(mask.shape, device=x.device).masked_fill(~mask, -torch.inf)
        found: Tensor = self.blocks[block](x, rope=about, attn_mask=None if scores is None else scores[:, None])
        return found

    def norm(self, x: Float[Tensor, "N _S C"]) -> Float[Tensor, "N _S C"]:
        """The network's last norm."""
        found: Tensor = self.net.norm(x)
        return found


class TokenPVT(TokenBackbone):
    """A PVT-v2 of timm without its fourth stage; the blocks are those of the third.

    The last ones see every token, not a smaller map of them. A block's feed-forward part convolves a square of tokens, so
    queries and patches must fill one.

    Args:
        name: A `pvt_v2_*` of timm.
        size: Side of the pictures.
        queries: Tokens that a model puts first before the last blocks.
        last: Number of the last blocks that take them.

    Raises:
        ValueError: Queries and patches are no square.
    """

    normed_first = True
    prefix = 0

    def __init__(self, name: str, size: int, queries: int, last: int) -> None:
        super().__init__()
        check_source(name)
        self.name, self.size, self.last = name, size, last
        self.side = size // PATCH
        self.square = round((self.side**2 + queries) ** 0.5)
        if size % (2 * PATCH) or self.square**2 != self.side**2 + queries:
            raise ValueError(
                f"`queries`: with PVT-v2 queries and patches must fill a square; {self.side}×{self.side} patches of "
                f"{size}×{size} pixels want {(self.side + 1) ** 2 - self.side**2} queries, or {2 * self.side * 2 + 4}, …; "
                f"got {queries}."
            )
        self.net: Any = self._made(pretrained=False)
        self.channels = self.net.stages[-1].norm.normalized_shape[0]

    def _made(self, *, pretrained: bool) -> Any:
        try:
            net: Any = timm.create_model(self.name, pretrained=pretrained, num_classes=0)
        except RuntimeError as error:
            raise ValueError(f"`backbone`: expected a pvt_v2_* of timm, got {self.name!r} ({error}).") from error
        net.stages = net.stages[:-1]
        for block in list(net.stages[-1].blocks)[-self.last :]:
            block.attn.sr = block.attn.norm = None
        return net

    def pretrained(self) -> dict[str, Tensor]:
        """The weights of ImageNet that timm offers."""
        return dict(self._made(pretrained=True).state_dict())

    @property
    def blocks(self) -> nn.ModuleList | nn.Sequential:
        """The blocks of the third stage."""
        found: nn.ModuleList | nn.Sequential = self.net.stages[-1].blocks
        return found

    def start(self, images: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, "N _S C"], Any]:
        """The patches before the third stage; nothing else is to know.

        Raises:
            ValueError: The pictures are not of the model's size.
        """
        if tuple(images.shape[-2:]) != (self.size, self.size):
            raise ValueError(
                f"`images`: this model knows {self.size}×{self.size} pixels only, since its queries and patches fill a "
                f"square, got {images.shape[-2]}×{images.shape[-1]}."
            )
        x = self.net.patch_embed(images)
        *before, third = self.net.stages
        for stage in before:
            x = stage(x)
        return third.downsample(x).flatten(1, 2), None

    def run(
        self, block: int, x: Float[Tensor, "N _S C"], about: Any, mask: Bool[Tensor, "N _S _S"] | None = None
    ) -> Float[Tensor, "N _S C"]:
        """The tokens after a block."""
        layer: Any = self.blocks[block]
        if block < len(self) - self.last:
            early: Tensor = layer(x, (self.side, self.side))
            return early
        x = x + layer.drop_path1(_attention(layer.attn, layer.norm1(x), mask))
        found: Tensor = x + layer.drop_path2(layer.mlp(layer.norm2(x), (self.square, self.square)))
        return found

    def norm(self, x: Float[Tensor, "N _S C"]) -> Float[Tensor, "N _S C"]:
        """The third stage's norm."""
        found: Tensor = self.net.stages[-1].norm(x)
        return found


def _attention(attention: Any, x: Float[Tensor, "N S C"], mask: Bool[Tensor, "N S S"] | None) -> Float[Tensor, "N S C"]:
    """The attention of a PVT-v2 with as many keys as tokens; timm's own takes no mask."""
    q, k, v = (
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for part in (attention.q(x), *attention.kv(x).chunk(2, -1))
    )
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None])
    out: Tensor = attention.proj(found.transpose(1, 2).flatten(2))
    return out


def token_backbone(name: str, *, size: int, queries: int, last: int) -> TokenBackbone:
    """The network of that name, taken apart."""
    check_source(name)
    if name.startswith("pvt_v2"):
        return TokenPVT(name, size, queries, last)
    return TokenViT(name, queries, last)
