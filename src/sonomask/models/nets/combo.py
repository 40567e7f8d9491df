"""The model of "Cooperation Does Matter" (COMBO, Yang et al., CVPR 2024), figure 2."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.audio.vggish import VGGish
from sonomask.batches import Batch, Output
from sonomask.losses.sets import consistency
from sonomask.models.parts.deformable import sine_position
from sonomask.models.parts.encoders import audio_encoder
from sonomask.models.parts.mask_decoder import MaskDecoder, Predictions
from sonomask.models.parts.mask_queries import MaskQueryNet, listener, pixel_decoder
from sonomask.models.parts.siamese import encoder
from sonomask.models.record import AUTHORS, Figure, ModelRecord
from sonomask.structures import ModelConfig

CONSISTENCY = 10.0
"""Weight of the consistency between frames, for each prediction but the last."""


class COMBO(MaskQueryNet):
    """Marks what sounds by a hundred masks with classes, whose queries contain each frame's sound from the start.

        image ──▶ encoder ──┐
        maskige ▶ encoder ─▶ + gated ─▶ pixel decoder ─▶ pixels (1/4) and maps (1/32, 1/16, 1/8)
        sound ──▶ VGGish ─┬──────────▶ bilateral fusion ◀┘
                          └─▶ MLP ─▶ + queries ─▶ masked-attention decoder over the maps ─▶ masks with classes ─▶ logits

    Args:
        config: Travels with the model; `maskige` is filled in.
        backbone: timm name of a network with four levels.
        num_classes: K; 1 for a mask, which is told from a background class of its own.
        fusion: "bilateral", or "none", as in one of the reference's test settings (its MHA-None).
        audio_queries: "own": a frame's queries get the frame's sound. "mixed": as the published weights were trained, the
            queries of every frame get the sounds of all frames of the clip, query q of frame b that of frame
            ⌊(q·N + b)/Q⌋ of its N; a bug of the reference that its figures depend on.
        maskige: Whether it sees a second picture of each frame, coloured by region (`sonomask.inference.maskige`).
        audio: "vggish", "light", or None for a model that is given embeddings (`decode`).
        drop_path: Share of the backbone's blocks that training leaves out.
        width: Channels of everything behind the backbone.
        queries: Q.
        depth: Layers of the pixel decoder's encoder.
        layers: Number of layers of the decoder.
        audio_hidden: Width of the sound's MLP.
        points: Number of points of a mask that the loss looks at.

    Source: Yang et al., "Cooperation Does Matter: Exploring Multi-Order Bilateral Relations for Audio-Visual
    Segmentation", CVPR 2024.
    """

    def __init__(
        self,
        *,
        config: ModelConfig,
        backbone: str = "pvt_v2_b5",
        num_classes: int = 1,
        fusion: Literal["bilateral", "none"] = "bilateral",
        audio_queries: Literal["own", "mixed"] = "own",
        maskige: bool = True,
        audio: Literal["vggish", "light"] | None = "vggish",
        drop_path: float = 0.0,
        width: int = 256,
        queries: int = 100,
        depth: int = 6,
        layers: int = 9,
        audio_hidden: int = 4096,
        points: int = 12544,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("fusion", fusion, ("bilateral", "none")), ("audio_queries", audio_queries, ("own", "mixed"))
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"`{name}`: expected {' or '.join(known)}, got {value!r}.")
        self.backbone = encoder(backbone, size=config.image_size[0], drop_path=drop_path, maskige=maskige)
        self.pretrained_names, self.recomputable = self.backbone.file_names, self.backbone.places("backbone")
        self.pixels = pixel_decoder(self.backbone, depth, width)
        self.audio = audio_encoder(audio)
        self.fusion = BilateralFusion(width) if fusion == "bilateral" else Shift(width)
        self.listen = listener(VGGish.channels, audio_hidden, width)
        self.classes = max(num_classes, 2)
        self.decoder = MaskDecoder(self.classes, queries=queries, width=width, hidden=8 * width, layers=layers)
        self.config, self.audio_queries, self.points = replace(config, maskige=maskige), audio_queries, points

    def hear(self, logmel: Float[Tensor, "B T 1 96 64"] | None) -> Float[Tensor, "B T 128"]:
        """The sound's embedding."""
        if logmel is None or self.audio is None:
            raise ValueError("COMBO listens. Give a log-mel patch for each frame, or embeddings to `decode`.")
        embedding: Tensor = self.audio(logmel.flatten(0, 1))
        return embedding.unflatten(0, logmel.shape[:2])

    def decode(
        self,
        images: Float[Tensor, "B T 3 H W"],
        sound: Float[Tensor, "B T 128"],
        valid: Bool[Tensor, "B T"] | None = None,
        maskige: Float[Tensor, "B T 3 H W"] | None = None,
    ) -> Output:
        """`forward` with an audio embedding in place of log-mel patches."""
        said = self.predict(images, sound, valid, maskige, every=False)
        return self.output(said, images, valid)

    def predict(
        self,
        images: Float[Tensor, "B T 3 H W"],
        sound: Float[Tensor, "B T 128"],
        valid: Bool[Tensor, "B T"] | None = None,
        maskige: Float[Tensor, "B T 3 H W"] | None = None,
        *,
        every: bool = True,
    ) -> Predictions:
        """Masks and classes of every frame, before the first layer and after each, or only the last ones."""
        maps = self.backbone(images.flatten(0, 1), None if maskige is None else maskige.flatten(0, 1))
        pixels, maps = self.pixels(maps)
        pixels, heard = self.fusion(pixels, sound.flatten(0, 1))
        extra = self._extra(self.listen(heard).unflatten(0, sound.shape[:2]), valid)
        return self.decoder(extra, maps, pixels, every=every)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The matched masks' terms on the labelled frames, and the consistency of a clip's frames."""
        said = self.predict(batch.images, self.hear(batch.logmel), batch.valid, batch.maskige)
        shape = batch.labelled.shape
        apart = [consistency(masks.unflatten(0, shape), batch.valid) for masks in said.masks[:-1]]
        return {**self.set_terms(said, batch), "consistency": CONSISTENCY * torch.stack(apart).sum()}

    def _extra(self, heard: Float[Tensor, "B T C"], valid: Tensor | None) -> Float[Tensor, "N Q C"]:
        """The sound's contribution to each query."""
        count = self.decoder.queries.num_embeddings
        own = heard[:, :, None].expand(-1, -1, count, -1)
        if self.audio_queries == "own":
            return own.flatten(0, 1)
        if valid is None:
            return heard[:, mixed_sounds(heard.shape[1], count, heard.device)].flatten(0, 1)
        mixed = own.clone()
        for clip, sound, real in zip(mixed, heard, (row.nonzero()[:, 0] for row in valid), strict=True):
            clip[real] = sound[real][mixed_sounds(len(real), count, heard.device)]
        return mixed.flatten(0, 1)


def mixed_sounds(frames: int, queries: int, device: torch.device | str = "cpu") -> Tensor:
    """Whose sound query q of frame b gets where the reference mixes them, (frames, queries)."""
    b, q = torch.arange(frames, device=device)[:, None], torch.arange(queries, device=device)
    return (q * frames + b) // queries


class Shift(nn.Module):
    """No fusion: adds only an embedding that marks pixels as pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.level = nn.Embedding(1, width)

    def forward(
        self, pixels: Float[Tensor, "N C h w"], sound: Float[Tensor, "N D"]
    ) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, "N D"]]:
        """Both; the sound as it was."""
        return pixels + self.level.weight[0][:, None, None], sound


class BilateralFusion(Shift):
    """Pixels and sound attend to each other.

        s = (v(P + place) / √d) · a(S + place)     one score for a pixel and head; w = softmax of s over the pixels
        P' = P + γ_v · out_v(w · values_a(S)),   S' = S + γ_a · out_a(Σ w · values_v(P))

    P and S are normed before, and what is added is added to the normed ones.

    Args:
        width: C, channels of the pixels and of the attention.
        sound: D, channels of the sound.
        heads: Number of heads of the attention.

    Source: Yang et al., COMBO, CVPR 2024, section 3.3 (Bilateral-Fusion Module), and its released code: the paper lets
    pixels attend to sound by a softmax over the sound's one token, the code by the one over pixels.
    """

    def __init__(self, width: int, sound: int = VGGish.channels, heads: int = 8) -> None:
        super().__init__(width)
        self.place = nn.Embedding(1, sound)
        self.norm_v, self.norm_a = nn.LayerNorm(width), nn.LayerNorm(sound)
        self.v, self.a = nn.Linear(width, width), nn.Linear(sound, width)
        self.values_v, self.values_a = nn.Linear(width, width), nn.Linear(sound, width)
        self.out_v, self.out_a = nn.Linear(width, width), nn.Linear(width, sound)
        self.gamma_v = nn.Parameter(torch.full((width,), 1e-4))
        self.gamma_a = nn.Parameter(torch.full((sound,), 1e-4))
        self.heads = heads

    def forward(
        self, pixels: Float[Tensor, "N C h w"], sound: Float[Tensor, "N D"]
    ) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, "N D"]]:
        """Both, with what they took up."""
        size = (pixels.shape[-2], pixels.shape[-1])
        pixels, sound = super().forward(pixels, sound)
        seen, heard = self.norm_v(pixels.flatten(2).mT), self.norm_a(sound)[:, None]
        place = sine_position(*size, pixels.shape[1], normalise=True, like=pixels).flatten(1).mT
        query, key = self._split(self.v(seen + place)), self._split(self.a(heard + self.place.weight))
        weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(2)  # over the pixels
        to_pixels = (weights @ self._split(self.values_a(heard))).transpose(1, 2).flatten(2)
        to_sound = (weights.mT @ self._split(self.values_v(seen))).transpose(1, 2).flatten(2)
        seen = seen + self.gamma_v * self.out_v(to_pixels)
        heard = heard + self.gamma_a * self.out_a(to_sound)
        return seen.mT.unflatten(2, size), heard[:, 0]

    def _split(self, x: Float[Tensor, "N S C"]) -> Float[Tensor, "N M S _d"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


_README = "README of yannqi/COMBO-AVS"
RECORD = ModelRecord(
    build=COMBO,
    presets={
        "combo_pvt_v2_b5": {"backbone": "pvt_v2_b5", "drop_path": 0.1},
        "combo_resnet50": {"backbone": "resnet50"},
    },
    purpose="marks what sounds from frame and maskige; runs its authors' files",
    paper="Yang et al., CVPR 2024",
    config={"protocol": "combo"},
    semantic={"protocol": "avss_unpadded", "clip_length": 10},
    small={
        "backbone": "resnet18", "audio": "light", "maskige": False, "width": 32, "queries": 8, "depth": 1, "layers": 4,
        "audio_hidden": 32, "points": 64,
    },
    readers=("combo",),
    licences={AUTHORS: "none stated (the code is Apache-2.0)"},
    figures=(
        Figure("combo_resnet50", "s4", 81.7, 90.1, "combo", _README),
        Figure("combo_resnet50", "ms3", 54.5, 66.6, "combo", _README),
        Figure("combo_resnet50", "avss", 33.3, 37.3, "avss_unpadded", _README),
        Figure("combo_pvt_v2_b5", "s4", 84.7, 91.9, "combo", _README),
        Figure("combo_pvt_v2_b5", "ms3", 59.2, 71.2, "combo", _README),
        Figure("combo_pvt_v2_b5", "avss", 42.1, 46.1, "avss_unpadded", _README),
    ),
)  # fmt: skip
