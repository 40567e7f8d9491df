"""The model of "Revisiting Audio-Visual Segmentation with Vision-Centric Transformer" (VCT, Huang et al., CVPR 2025)."""

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sonomask.audio.vggish import VGGish
from sonomask.batches import Batch, Output
from sonomask.models.parts.mask_decoder import MaskDecoder, Predictions
from sonomask.models.parts.mask_queries import MaskQueryNet, listener, pixel_decoder
from sonomask.models.parts.siamese import encoder
from sonomask.models.parts.transformer import Attention
from sonomask.models.record import AUTHORS, Figure, ModelRecord
from sonomask.structures import ModelConfig

SOUND = 512
"""Channels of VGGish's last map."""


class VCT(MaskQueryNet):
    """Marks what sounds by queries that are made from the picture and then attend to the sound.

        image ──▶ encoder ──┐
        maskige ▶ encoder ─▶ + gated ─▶ pixel decoder ─▶ pixels (1/4) and maps (1/32, 1/16, 1/8)
        pixels ─▶ visual queries ─▶ + learned queries ─┐
        sound ──▶ VGGish's last map (6×4) ─▶ MLP ─┐    ▼
                                                  └─▶ masked-attention decoder over sound, 1/32, 1/16, 1/8 ─▶ logits

    Args:
        config: Travels with the model; `maskige` is filled in.
        backbone: timm name of a Swin or of another network with four levels.
        size: Side of the pictures; the visual queries know no other.
        num_classes: K; 1 for a mask, which is told from a background class of its own.
        prototypes: Number of kinds of sound the visual queries are prompted with; 0 for none (MS3).
        categories: Names of the clips' categories in the order of the prototypes, if a clip has one and not a label map.
        maskige: Whether it sees a second picture of each frame, coloured by region (`sonomask.inference.maskige`).
        drop_path: Share of the backbone's blocks that training leaves out.
        width: Channels of everything behind the backbone.
        queries: Q.
        depth: Layers of the pixel decoder's encoder.
        layers: Number of layers of the decoder.
        audio_hidden: Width of the sound's MLP.
        points: Number of points of a mask that the loss looks at.

    Source: Huang et al., "Revisiting Audio-Visual Segmentation with Vision-Centric Transformer", CVPR 2025.
    """

    def __init__(
        self,
        *,
        config: ModelConfig,
        backbone: str = "swin_base_patch4_window12_384",
        size: int = 384,
        num_classes: int = 1,
        prototypes: int = 0,
        categories: tuple[str, ...] = (),
        maskige: bool = True,
        drop_path: float = 0.3,
        width: int = 256,
        queries: int = 100,
        depth: int = 6,
        layers: int = 9,
        audio_hidden: int = 4096,
        points: int = 12544,
    ) -> None:
        super().__init__()
        if categories and len(categories) != prototypes:
            raise ValueError(
                f"`categories`: expected one name for each of {prototypes} prototypes, got {len(categories)}."
            )
        self.backbone = encoder(backbone, size=size, drop_path=drop_path, maskige=maskige)
        self.pretrained_names, self.recomputable = self.backbone.file_names, self.backbone.places("backbone")
        self.pixels = pixel_decoder(self.backbone, depth, width)
        self.audio = VGGish(embed=False)
        self.listen = listener(SOUND, audio_hidden, width)
        self.visual_queries = VisualQueries(width, cells=(size // 4) ** 2, queries=queries, prototypes=prototypes)
        self.classes = max(num_classes, 2)
        self.decoder = MaskDecoder(
            self.classes, queries=queries, width=width, hidden=8 * width, layers=layers, levels=4, whole=(0,)
        )
        self.prototype_loss = PrototypeLoss(width) if prototypes else None
        self.config = replace(config, maskige=maskige, image_size=(size, size))
        self.side, self.categories, self.points = size, tuple(categories), points

    def hear(self, logmel: Float[Tensor, "B T 1 96 64"] | None) -> Float[Tensor, "B T 512 6 4"]:
        """VGGish's last map: time by frequency."""
        if logmel is None:
            raise ValueError("VCT listens. Give a log-mel patch for each frame, or VGGish's map to `decode`.")
        maps: Tensor = self.audio(logmel.flatten(0, 1))
        return maps.unflatten(0, logmel.shape[:2])

    def decode(
        self,
        images: Float[Tensor, "B T 3 H W"],
        sound: Float[Tensor, "B T 512 6 4"],
        valid: Bool[Tensor, "B T"] | None = None,
        maskige: Float[Tensor, "B T 3 H W"] | None = None,
    ) -> Output:
        """`forward` with a map of the sound in place of log-mel patches."""
        said, _ = self.predict(images, sound, maskige, every=False)
        return self.output(said, images, valid)

    def predict(
        self,
        images: Float[Tensor, "B T 3 H W"],
        sound: Float[Tensor, "B T 512 6 4"],
        maskige: Float[Tensor, "B T 3 H W"] | None = None,
        *,
        every: bool = True,
    ) -> tuple[Predictions, Float[Tensor, "N C 6 4"]]:
        """Masks and classes as of COMBO's `predict`, and the sound as the decoder reads it.

        Raises:
            ValueError: The pictures are not of the model's size.
        """
        if tuple(images.shape[-2:]) != (self.side, self.side):
            raise ValueError(
                f"`images`: VCT knows {self.side}×{self.side} pixels only, got {tuple(images.shape[-2:])}."
            )
        maps = self.backbone(images.flatten(0, 1), None if maskige is None else maskige.flatten(0, 1))
        pixels, maps = self.pixels(maps)
        heard = self.listen(sound.flatten(0, 1).movedim(1, -1)).movedim(-1, 1)
        return self.decoder(self.visual_queries(pixels), [heard, *maps], pixels, every=every), heard

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The matched masks' terms on the labelled frames, and that of the prototypes."""
        said, heard = self.predict(batch.images, self.hear(batch.logmel), batch.maskige)
        chosen, truth = batch.labelled.flatten(), batch.masks[batch.labelled]
        terms = self.set_terms(said, batch)
        if self.prototype_loss is None or not chosen.any():
            return terms
        kinds = self._kinds(batch, truth)
        return {**terms, "prototypes": self.prototype_loss(heard[chosen], self.visual_queries.prototypes.weight, kinds)}

    def _kinds(self, batch: Batch, truth: Int[Tensor, "N H W"]) -> Float[Tensor, "N P"]:
        """Kinds of sound of each labelled frame: its clip's category, or the labels that occur in it."""
        count = self.visual_queries.prototypes.num_embeddings
        if not self.categories:
            return torch.stack(
                [torch.bincount(t.flatten(), minlength=count)[:count].clamp(max=1) for t in truth]
            ).float()
        unknown = sorted(set(batch.categories) - set(self.categories)) if batch.categories else ["no category"]
        if unknown:
            raise ValueError(
                f"`categories`: expected those of the model, got {', '.join(unknown)}. Train with prototypes: 0."
            )
        index = torch.tensor([self.categories.index(c) for c in batch.categories], device=truth.device)
        rows = index[:, None].expand(batch.labelled.shape)[batch.labelled]
        return F.one_hot(rows, count).float()


class VisualQueries(nn.Module):
    """Queries made from the picture: mixtures of pixels, prompted by prototypes of sounds, with the mean of their pixels.

        x = convolutions(pixels);  q = MLP over the pixels' places(x);  q = attention(q, prototypes)
        every pixel goes to the query that fits it best;  q = q + mean of the query's pixels

    In training, which query a pixel goes to is drawn (Gumbel noise) and the gradient is that of the softmax.

    Args:
        width: Channels.
        cells: Number of pixels.
        queries: Q.
        prototypes: Number of prototypes; 0 for none.

    Source: Huang et al., VCT, CVPR 2025, section 3.2 (Prototype Prompted Query Generation); the hard assignment is that of
    Xu et al., "GroupViT", CVPR 2022.
    """

    def __init__(self, width: int, *, cells: int, queries: int, prototypes: int) -> None:
        super().__init__()
        self.before = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 1),
        )  # fmt: skip
        self.mix = nn.Sequential(
            nn.Linear(cells, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, queries)
        )
        self.prototypes: Any = nn.Embedding(prototypes, width) if prototypes else None
        self.prompt = Attention(width, 4) if prototypes else None
        self.prompt_norm = nn.LayerNorm(width) if prototypes else None
        self.group = Grouping(width)

    def forward(self, pixels: Float[Tensor, "N C h w"]) -> Float[Tensor, "N Q C"]:
        """The term added to the learned queries."""
        x = self.before(pixels).flatten(2)  # N C S
        queries = self.mix(x).mT
        if self.prompt is not None and self.prompt_norm is not None:
            kinds = self.prototypes.weight.expand(x.shape[0], -1, -1)  # not `len`, which is a constant to an exporter
            queries = self.prompt_norm(queries + self.prompt(queries, kinds, kinds))
        return queries + self.group(queries, x.mT)


class Grouping(nn.Module):
    """Gives each pixel to one query and each query the (almost) mean of its pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, queries: Float[Tensor, "N Q C"], x: Float[Tensor, "N S C"]) -> Float[Tensor, "N Q C"]:
        """For each query what its pixels hold; one is added to their count."""
        fit = self.q(queries) @ self.k(x).mT * queries.shape[-1] ** -0.5
        share = F.gumbel_softmax(fit, hard=True, dim=1) if self.training else _hard(fit)
        return self.out(share / (share.sum(2, keepdim=True) + 1) @ self.v(x))


def _hard(fit: Float[Tensor, "N Q S"]) -> Float[Tensor, "N Q S"]:
    return torch.zeros_like(fit).scatter_(1, fit.argmax(1, keepdim=True), 1.0)


class PrototypeLoss(nn.Module):
    """Loss that ties each prototype to a kind of sound, by cosine similarity, given the kinds heard in a frame.

        L = BCE(e^τ · cos(sound, prototype), kind), the mean over frames and prototypes

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sound, self.kind = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(
        self, heard: Float[Tensor, "N C h w"], prototypes: Float[Tensor, "P C"], kinds: Float[Tensor, "N P"]
    ) -> Float[Tensor, ""]:
        """The loss of frames."""
        sound = F.normalize(self.sound(heard.mean((2, 3))), dim=-1)
        kind = F.normalize(self.kind(prototypes), dim=-1)
        return F.binary_cross_entropy_with_logits(self.scale.exp() * sound @ kind.mT, kinds)


_README = "README of spyflying/VCT_AVS"
RECORD = ModelRecord(
    build=VCT,
    presets={"vct_swin_b": {"backbone": "swin_base_patch4_window12_384", "size": 384}},
    purpose="marks what sounds from frame and maskige by queries from the picture; runs its authors' files",
    paper="Huang et al., CVPR 2025",
    config={"protocol": "combo", "image_size": (384, 384), "score_size": (224, 224)},
    semantic={"protocol": "avss_unpadded", "clip_length": 10},
    small={
        "backbone": "resnet18", "size": 64, "maskige": False, "drop_path": 0, "width": 32, "queries": 8, "depth": 1,
        "layers": 5, "audio_hidden": 32, "points": 64,
    },
    readers=("combo",),
    licences={AUTHORS: "none stated (the code is Apache-2.0)"},
    figures=(
        Figure("vct_swin_b", "s4", 86.2, 93.4, "combo", _README),
        Figure("vct_swin_b", "ms3", 67.6, 81.4, "combo", _README),
        Figure("vct_swin_b", "avss", 52.5, 56.9, "avss_unpadded", _README),
    ),
)  # fmt: skip
