"""The model of EASE (Viertola et al., 2026): audio-visual segmentation by an image encoder alone."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.audio.vggish import VGGish
from sonomask.batches import Batch, Output
from sonomask.losses.sets import set_loss
from sonomask.models.parts.encoders import audio_encoder
from sonomask.models.parts.mask_decoder import Predictions, logits_of
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.parts.token_backbone import PATCH, token_backbone
from sonomask.models.parts.transformer import DecoderLayer
from sonomask.models.record import AUTHORS, ModelRecord
from sonomask.structures import ModelConfig

CHOSEN = 5
"""Tokens that the sound becomes."""


class EASE(Net):
    """Marks what sounds by queries that pass the last blocks of the image encoder itself; there is no decoder.

        sound ──▶ VGGish ─▶ 5 tokens ─┬─▶ query generator ─▶ + learned queries ─┐
        image ──▶ blocks ─▶ fused ────┴─▶ … ─▶ [queries | patches] ─▶ blocks ───┴─▶ fused ─▶ masks with classes ─▶ logits

    In training, a query first attends only within its current mask. Block by block this restriction is lifted, for each
    query with a probability that grows with `progress`, so that inference needs no masks between blocks.

    Args:
        config: Travels with the model; `image_size` is filled in.
        backbone: timm name of a PVT-v2 or of a DINOv3.
        size: Side of the pictures; with PVT-v2 the model knows no other.
        num_classes: K; 1 for a mask, which is told from a background class of its own.
        queries: Q; with PVT-v2 queries and patches must fill a square.
        last: Blocks that take the queries.
        fusions: The last blocks before which the sound is fused, besides once after all.
        audio: "vggish", "light", or None for a model that is given embeddings (`decode`).
        sound_width: Channels of the sound's tokens and of the query generator.
        clusters: Learned kinds of sound.
        points: Number of points of a mask that the loss looks at.

    Source: the released code and configs of ilpoviertola/EASE (arXiv 2609.29121); masks by an encoder alone are those of
    Kerssies et al., "Your ViT is Secretly an Image Segmentation Model" (EoMT), CVPR 2025; the sound's tokens and the fusion
    those of Liu et al., "Dynamic Derivation and Elimination" (DDESeg), CVPR 2025.
    """

    keeps_audio = True
    parts = Parts(backbone="backbone", audio="audio", pretrained="backbone.net")

    def __init__(
        self,
        *,
        config: ModelConfig,
        backbone: str = "pvt_v2_b5",
        size: int = 224,
        num_classes: int = 1,
        queries: int = 100,
        last: int = 4,
        fusions: int = 4,
        audio: str | None = "vggish",
        sound_width: int = 320,
        clusters: int = 71,
        points: int = 12544,
    ) -> None:
        super().__init__()
        self.backbone = token_backbone(backbone, size=size, queries=queries, last=last)
        self.pretrained_names = self.backbone.file_names
        blocks, width = len(self.backbone), self.backbone.channels
        for name, value in (("last", last), ("fusions", fusions)):
            if not 0 < value <= blocks:
                raise ValueError(f"`{name}`: expected 1 to {blocks}, the blocks of {backbone}, got {value}.")
        self.audio = audio_encoder(audio)
        self.listen = SoundTokens(VGGish.channels, sound_width, clusters)
        self.generate = QueryGenerator(queries, sound_width, width)
        self.queries = nn.Embedding(queries, width)
        self.fuse = Fusion(width, sound_width)
        self.classes = max(num_classes, 2)
        self.to_class = nn.Linear(width, self.classes + 1)
        self.to_mask = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.upscale = nn.Sequential(Upscale(width), Upscale(width))
        self.dropout = nn.Dropout2d(0.1)
        self.config = replace(config, image_size=(size, size))
        self.last, self.fusions, self.points = last, fusions, points

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """Logits at the size of the images: of one mask the difference of its class's and the background's map."""
        return self.decode(images, self.hear(logmel), valid)

    def hear(self, logmel: Float[Tensor, "B T 1 96 64"] | None) -> Float[Tensor, "B T 128"]:
        """The sound's embedding."""
        if logmel is None or self.audio is None:
            raise ValueError("EASE listens. Give a log-mel patch for each frame, or embeddings to `decode`.")
        embedding: Tensor = self.audio(logmel.flatten(0, 1))
        return embedding.unflatten(0, logmel.shape[:2])

    def decode(
        self,
        images: Float[Tensor, "B T 3 H W"],
        sound: Float[Tensor, "B T 128"],
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """`forward` with an audio embedding in place of log-mel patches."""
        said = self.predict(images, sound, every=False)
        logits = logits_of(said, images.shape[-2:], semantic=self.config.semantic)
        return Output(gate(logits.unflatten(0, images.shape[:2]), valid))

    def predict(
        self, images: Float[Tensor, "B T 3 H W"], sound: Float[Tensor, "B T 128"], *, every: bool = True
    ) -> Predictions:
        """Masks and classes of every frame, before each of the last blocks and after all, or only the last ones.

        Raises:
            ValueError: The pictures are of a size that the backbone can't take.
        """
        height, width = images.shape[-2:]
        if height % PATCH or width % PATCH:
            raise ValueError(f"`images`: expected sides that {PATCH} divides, got {height}×{width}.")
        grid, net, blocks = (height // PATCH, width // PATCH), self.backbone, len(self.backbone)
        heard = self.listen(sound.flatten(0, 1))
        x, about = net.start(images.flatten(0, 1))
        own = net.prefix  # tokens before those of the patches
        classes, masks, mask = [], [], None
        for i in range(blocks):
            if i >= blocks - self.fusions:
                x = self._fused(x, heard, own)
            if i == blocks - self.last:
                x = torch.cat([self.generate(heard) + self.queries.weight, x], 1)
                own += self.queries.num_embeddings
            if every and i >= blocks - self.last:
                said = self._say(net.norm(x), own, grid)
                classes.append(said[0])
                masks.append(said[1])
                mask = self._seen(said[1], own, grid, self._kept(i - blocks + self.last))
            x = net.run(i, x, about, mask)
        x = self._fused(net.norm(x), heard, own) if net.normed_first else net.norm(self._fused(x, heard, own))
        said = self._say(x, own, grid)
        return Predictions((*classes, said[0]), (*masks, said[1]))

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The matched masks' terms on the labelled frames."""
        said = self.predict(batch.images, self.hear(batch.logmel))
        chosen = batch.labelled.flatten()
        return set_loss(
            [c[chosen] for c in said.classes], [m[chosen] for m in said.masks], batch.masks[batch.labelled],
            points=self.points,
        )  # fmt: skip

    def _fused(self, x: Float[Tensor, "N S C"], heard: Float[Tensor, "N V D"], own: int) -> Float[Tensor, "N S C"]:
        """The tokens with the sound in those of the patches."""
        return torch.cat([x[:, :own], self.fuse(x[:, own:], heard)], 1)

    def _say(self, x: Float[Tensor, "N S C"], own: int, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Classes and masks of the queries."""
        queries, cells = x[:, : self.queries.num_embeddings], x[:, own:].mT.unflatten(2, grid)
        pixels = self.dropout(self.upscale(cells))
        return self.to_class(queries), torch.einsum("nqc,nchw->nqhw", self.to_mask(queries), pixels)

    def _kept(self, layer: int) -> float:
        """The probability with which a query keeps to its mask before one of the last blocks."""
        begin, end = annealing(self.last)[layer]
        done = min(1.0, max(0.0, (self.progress - begin) / (end - begin)))
        return float((1 - done) ** 0.9)

    def _seen(
        self, masks: Float[Tensor, "N Q h w"], own: int, grid: tuple[int, int], kept: float
    ) -> Bool[Tensor, "N S S"]:
        """Which token may look at which: a query that is kept to its mask only at the patches inside."""
        inside = F.interpolate(masks.detach(), grid, mode="bilinear", align_corners=False).flatten(2) > 0
        if kept < 1:
            inside = inside | (torch.rand(masks.shape[:2], device=masks.device) > kept)[..., None]
        count, queries, cells = inside.shape
        seen = inside.new_ones(count, own + cells, own + cells)
        seen[:, :queries, own:] = inside
        return seen


def annealing(last: int) -> tuple[tuple[float, float], ...]:
    """Between which shares of the training the queries are freed before each of the last blocks.

    Source: EASE's configs for four blocks (ViT) and six (PVT-v2); evenly from 0.2 to 0.8 for other numbers.
    """
    known = {
        4: ((0.2, 0.35), (0.35, 0.5), (0.5, 0.65), (0.65, 0.8)),
        6: ((0.1, 0.2), (0.2, 0.3), (0.4, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.8)),
    }
    return known.get(last, tuple((0.2 + 0.6 * i / last, 0.2 + 0.6 * (i + 1) / last) for i in range(last)))


def chosen_softly(scores: Float[Tensor, "... K"], *, noisy: bool) -> Float[Tensor, "... K"]:
    """A softmax; in training with Gumbel noise.

    The reference draws noise in evaluation, too, so no two of its runs agree; without it a video's masks are always the same.
    """
    return F.gumbel_softmax(scores, dim=-1) if noisy else scores.softmax(-1)


class SoundTokens(nn.Module):
    """Five tokens of a sound: each is the sound, scaled by what distinguishes it from one of the five nearest learned kinds.

        a = linear(sound);  w = softmax(a · kinds);  the five kinds with the greatest w
        e = GELU(linear(kind - a));   t = (1 + tanh(linear(a + softmax over the five(linear(e)) · e))) · a
        e' = GELU(linear(w·a - t));   t' = (1 + tanh(linear(t + e'))) · t

    Args:
        channels: Channels of the sound.
        width: Channels of a token.
        kinds: Number of the learned kinds.
    """

    def __init__(self, channels: int, width: int, kinds: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.edge, self.edge_again, self.offset, self.offset_again = (nn.Linear(width, width) for _ in range(4))
        self.weigh = nn.Linear(width, width, bias=False)
        self.kinds = nn.Parameter(torch.randn(kinds, width))

    def forward(self, sound: Float[Tensor, "N D"]) -> Float[Tensor, "N V C"]:
        """The tokens; their order means nothing."""
        a = self.project(sound)
        share = chosen_softly(a @ self.kinds.mT, noisy=self.training)
        # the reference takes those w·a that lie nearest to a, which are those with the greatest w
        best, index = share.topk(min(CHOSEN, share.shape[-1]), -1)
        a = a[:, None]
        edge = F.gelu(self.edge(self.kinds[index] - a))
        edge = edge * self.weigh(edge).softmax(1)
        first = (1 + self.offset(a + edge).tanh()) * a
        edge = F.gelu(self.edge_again(best[..., None] * a - first))
        again: Tensor = (1 + self.offset_again(first + edge).tanh()) * first
        return again


class QueryGenerator(nn.Module):
    """Learned queries that attend to the sound's tokens.

    Args:
        queries: Q.
        width: Channels of the sound's tokens.
        channels: Channels of the queries that come out.
    """

    def __init__(self, queries: int, width: int, channels: int) -> None:
        super().__init__()
        self.query = nn.Embedding(queries, width)
        self.layers = nn.ModuleList(DecoderLayer(channels=width, hidden=4 * width, bias=False) for _ in range(2))
        self.out = nn.Linear(width, channels)

    def forward(self, heard: Float[Tensor, "N V D"]) -> Float[Tensor, "N Q C"]:
        """The queries of each frame."""
        x = self.query.weight.expand(heard.shape[0], -1, -1)
        for layer in self.layers:
            x = layer(x, heard)
        made: Tensor = self.out(x)
        return made


class Fusion(nn.Module):
    """Adds sound to each patch, weighted by the patch's own gate.

        R = attention of the sound's tokens to the patches, each patch as a mixture of learned clusters
        ā = Σ softmax(linear(R)) · tokens;   V' = V + σ(q(V) · k(ā) / √d) · v(ā)

    Args:
        width: C, channels of a patch.
        sound: Channels of the sound's tokens.
        clusters: Number of the learned clusters.
        heads: Number of heads of both attentions.
    """

    def __init__(self, width: int, sound: int, clusters: int = 5, heads: int = 8) -> None:
        super().__init__()
        self.project: Any = nn.Identity() if sound == width else nn.Linear(sound, width, bias=False)
        self.clusters = nn.Parameter(torch.randn(clusters, width))
        self.choose = nn.Linear(width, 1)
        self.hear, self.see = _Projections(width), _Projections(width)
        self.heads = heads

    def forward(self, patches: Float[Tensor, "N S C"], heard: Float[Tensor, "N V D"]) -> Float[Tensor, "N S C"]:
        """The patches with the sound in them."""
        tokens = self.project(heard)
        mixed = chosen_softly(patches @ self.clusters.mT, noisy=self.training) @ self.clusters
        q, k, v = (self._split(x) for x in self.hear(tokens, mixed))
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        mean = (self.choose(read).softmax(1) * tokens).sum(1, keepdim=True)
        q, k, v = (self._split(x) for x in self.see(patches, mean))
        taken = (q @ k.mT * q.shape[-1] ** -0.5).sigmoid() @ v
        return patches + taken.transpose(1, 2).flatten(2)

    def _split(self, x: Float[Tensor, "N S C"]) -> Float[Tensor, "N M S _d"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class _Projections(nn.Module):
    """Query, key and value of an attention without biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, asks: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.q(asks), self.k(told), self.v(told)


class Upscale(nn.Module):
    """A map of twice the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.smooth = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C _h _w"]:
        """The map, each of its places normed over the channels."""
        found: Tensor = self.norm(self.smooth(F.gelu(self.up(x))).movedim(1, -1)).movedim(-1, 1)
        return found


_PVT = {"backbone": "pvt_v2_b5", "last": 6, "fusions": 7}
RECORD = ModelRecord(
    build=EASE,
    presets={
        "ease_pvt_v2_b5_224": {**_PVT, "queries": 29},
        "ease_pvt_v2_b5_384": {**_PVT, "queries": 49, "size": 384},
        "ease_dinov3_base_224": {"backbone": "vit_base_patch16_dinov3_qkvb"},
        "ease_dinov3_base_384": {"backbone": "vit_base_patch16_dinov3_qkvb", "size": 384},
        "ease_dinov3_large_224": {"backbone": "vit_large_patch16_dinov3_qkvb"},
        "ease_dinov3_large_384": {"backbone": "vit_large_patch16_dinov3_qkvb", "size": 384},
    },
    purpose="marks what sounds by an image encoder alone; runs its authors' files",
    paper="Viertola et al., arXiv 2609.29121",
    config={"protocol": "ease", "score_size": (224, 224)},
    semantic={"protocol": "avss_unpadded", "clip_length": 10},
    small={
        "backbone": "pvt_v2_b0", "size": 64, "queries": 9, "last": 1, "fusions": 2, "audio": "light", "sound_width": 32,
        "clusters": 7, "points": 64,
    },
    readers=("ease",),
    licences={AUTHORS: "none stated (the code's heads say MIT); DINOv3's also Meta's DINOv3 licence"},
)  # fmt: skip
