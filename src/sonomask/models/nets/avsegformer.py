"""AVSegFormer: queries conditioned on the sound attend to the picture, and their maps are mixed into one mask."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.audio.vggish import VGGish
from sonomask.batches import Batch, Output
from sonomask.losses.masks import cross_entropy, dice_of_squares
from sonomask.models.parts.backbone import Backbone
from sonomask.models.parts.deformable import DeformableEncoder
from sonomask.models.parts.encoders import audio_encoder
from sonomask.models.parts.net import Net, Parts, gate
from sonomask.models.parts.transformer import DecoderLayer
from sonomask.models.record import AUTHORS, Figure, ModelRecord
from sonomask.structures import ModelConfig

MIX = 0.1  # weight of the auxiliary loss


class AVSegFormer(Net):
    """AVSegFormer, which segments each frame separately.

        sound → audio → audio_proj: a ─────────┬───────────────────────────┐
        query → generator (hears a) → + learned queries → decoder → q      │
        images → backbone ─ 1/8, 1/16, 1/32 → encoder → memory ──↑         │
                          └ 1/4 + up(memory 1/8) ──→ out_conv → mixer (hears a) → feature f
        q · f: a map of each query → mlp → + f → head → logits

    Frames don't see one another, so without gradients they go through one by one on a CPU: memory is that of one frame,
    however long the clip, and the result is the same.

    Args:
        backbone: Images (N, 3, H, W) to four maps, fine to coarse, with their `channels`.
        audio: Log-mel patches (N, 1, 96, 64) to embeddings (N, D); None if `decode` is given the embeddings.
        config: Travels with the model.
        num_classes: K; 1 for a mask, 71 for AVSS.
        sound_channels: D.
        width: C, of queries and maps.
        queries: Number of queries.
        depth: Layers of the generator, the encoder and the decoder.
        hidden: Width of the feed-forward parts of encoder and decoder, and of the mlp; half of it in the generator.
        dropout: Dropout of encoder and decoder in training.
        at_once: Frames that go through together without gradients; one on a CPU and eight elsewhere unless given.

    Source: Gao et al., "AVSegFormer: Audio-Visual Segmentation with Transformer", AAAI 2024, figure 2, as released.
    """

    keeps_audio = True
    parts = Parts(backbone="backbone", audio="audio", pretrained="backbone.net")
    pretrained_names = "timm"
    recomputable = ("backbone.net",)

    def __init__(
        self,
        *,
        backbone: Any,
        audio: nn.Module | None,
        config: ModelConfig,
        num_classes: int = 1,
        sound_channels: int = 128,
        width: int = 256,
        queries: int = 300,
        depth: int = 6,
        hidden: int = 2048,
        dropout: float = 0.1,
        at_once: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.audio, self.config, self.at_once = backbone, audio, config, at_once
        self.audio_proj = nn.Linear(sound_channels, width)
        self.in_proj = nn.ModuleList(_conv(channels, width, 1) for channels in backbone.channels)
        self.query = nn.Embedding(queries, width)
        self.generator = nn.ModuleList(
            DecoderLayer(channels=width, hidden=hidden // 2, bias=False) for _ in range(depth)
        )
        self.learned_query = nn.Embedding(queries, width)
        self.encoder = DeformableEncoder(channels=width, depth=depth, hidden=hidden, dropout=dropout)
        self.decoder = nn.ModuleList(DecoderLayer(channels=width, hidden=hidden, dropout=dropout) for _ in range(depth))
        self.lateral_conv = _conv(width, width, 1)
        self.out_conv = nn.Sequential(*_conv(width, width, 3), nn.ReLU())
        self.mixer = Mixer(width)
        self.mlp = MapMLP(queries, hidden, width)
        self.mask = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False),
            nn.Conv2d(width // 2, width // 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 8, num_classes, 1, bias=False),
        )
        self._start()

    def _start(self) -> None:
        """The reference's random weights; the encoder has its own."""
        kept = (self.backbone, self.audio, self.encoder, self.audio_proj)
        for part in (part for part in self.children() if not any(part is k for k in kept)):
            for weight in part.parameters():
                if weight.ndim > 1:
                    nn.init.xavier_uniform_(weight)

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """Mask logits at the size of the images, and the feature f at a quarter of it.

        Raises:
            ValueError: Sound is missing, or a shape is not as above.
        """
        if logmel is None or self.audio is None:
            raise ValueError("`logmel`: AVSegFormer listens. Give patches, or embeddings to `decode(images, sound)`.")
        return self.decode(images, self.audio(logmel.flatten(0, 1)).unflatten(0, logmel.shape[:2]), valid)

    def decode(
        self,
        images: Float[Tensor, "B T 3 H W"],
        sound: Float[Tensor, "B T D"],
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """`forward` with an audio embedding in place of log-mel patches."""
        if images.ndim != 5 or images.shape[2] != 3:
            raise ValueError(
                f"`images`: expected (B, T, 3, H, W), got {tuple(images.shape)}. Add the clip dimension: images[None]."
            )
        frames, heard = images.flatten(0, 1), sound.flatten(0, 1)
        count = self.at_once or (1 if frames.device.type == "cpu" else 8)
        parts = [(frames, heard)]
        if not torch.is_grad_enabled() and not torch.compiler.is_compiling():
            parts = list(zip(frames.split(count), heard.split(count), strict=True))
        pieces = [self.mark(self.backbone(x), a) for x, a in parts]
        logits, feature = (torch.cat(parts).unflatten(0, images.shape[:2]) for parts in zip(*pieces, strict=True))
        size = (images.shape[-2], images.shape[-1])
        if logits.shape[-2:] != size:  # sides that are no multiples of 4
            logits = _resize(logits.flatten(0, 1), size).unflatten(0, images.shape[:2])
        return Output(gate(logits, valid), (gate(feature, valid),), (sound,))

    def mark(
        self, maps: Sequence[Float[Tensor, "N _C _h _w"]], sound: Float[Tensor, "N D"]
    ) -> tuple[Float[Tensor, "N K H4 W4"], Float[Tensor, "N C _h _w"]]:
        """Logits at four times the size of the finest map, and the feature at its size."""
        heard = self.audio_proj(sound)[:, None]  # N 1 C
        finest, *coarser = (project(x) for project, x in zip(self.in_proj, maps, strict=True))

        encoded = self.encoder(coarser)
        memory = torch.cat([x.flatten(2).mT for x in encoded], 1)

        queries = self.query.weight.expand(heard.shape[0], -1, -1)  # not `len`, which is a constant to an exporter
        for layer in self.generator:
            queries = layer(queries, heard)
        queries = queries + self.learned_query.weight
        for layer in self.decoder:
            queries = layer(queries, memory)

        up = _resize(encoded[0], (finest.shape[-2], finest.shape[-1]))
        feature = self.mixer(self.out_conv(self.lateral_conv(finest) + up), heard[:, 0])
        return self.mask(self.mlp(queries, feature) + feature), feature

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Dice (of 71 classes cross-entropy) on the labelled frames, and the Dice of the feature's mean over channels.

        The backbone sees every frame, as its batch norms in the reference do; the rest labelled frames only.
        """
        if self.audio is None or not batch.labelled.any():
            raise ValueError("AVSegFormer trains with an audio encoder, on batches with a labelled frame.")
        chosen = batch.labelled.flatten()
        maps = [x[chosen] for x in self.backbone(batch.images.flatten(0, 1))]
        logits, feature = self.mark(maps, self.audio(batch.logmel[batch.labelled]))
        truth = batch.masks[batch.labelled]
        logits = _resize(logits, (truth.shape[-2], truth.shape[-1]))
        return objective(logits, feature, truth)


def objective(
    logits: Float[Tensor, "N K H W"], feature: Float[Tensor, "N C h w"], truth: Tensor
) -> dict[str, Float[Tensor, ""]]:
    """The reference's two terms, weighted, on labelled frames."""
    marked = (truth > 0).float()
    mixed = _resize(feature.mean(1, keepdim=True), (truth.shape[-2], truth.shape[-1]))
    mix = MIX * dice_of_squares(mixed[:, 0], marked)
    if logits.shape[1] == 1:
        return {"dice": dice_of_squares(logits[:, 0], marked), "mix": mix}
    everyone = torch.ones(1, len(truth), dtype=torch.bool, device=truth.device)
    return {"cross_entropy": cross_entropy(logits[None], truth[None], everyone), "mix": mix}


class Mixer(nn.Module):
    """Opens and closes channels of a map by what is heard: σ(proj(attention of the sound over the pixels)).

    With one query, keys and values of the pixels need not be made: q·(W x) = (Wᵀ q)·x, and Σ w (V x) = V Σ w x.

    Args:
        width: C.
        heads: Number of heads of the attention.
    """

    def __init__(self, width: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.kv_proj = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "N C h w"], heard: Float[Tensor, "N C"]) -> Float[Tensor, "N C h w"]:
        """The map times its gate."""
        key, value = self.kv_proj.weight.unflatten(0, (2, self.heads, -1)).unbind(0)  # M d C
        query = self.q_proj(heard).unflatten(-1, (self.heads, -1))
        projected = torch.einsum("nmd,mdc->nmc", query, key) * key.shape[1] ** -0.5
        weight = (projected @ x.flatten(2)).softmax(-1)  # N M pixels
        found = torch.einsum("nmc,mdc->nmd", weight @ x.flatten(2).mT, value).flatten(1)
        return x * self.proj(found).sigmoid()[..., None, None]


class MapMLP(nn.Module):
    """Three 1×1 convolutions over the maps that queries make with a feature.

    The maps are never made: the first layer's W (q·f) is (W q)·f, a smaller product. Without gradients a slice of the
    pixels goes through at a time, since `hidden` channels at a quarter of 512×512 would be 134 MB.

    Args:
        queries: Maps that come in.
        hidden: Channels between.
        width: Channels that come out.
    """

    SLICE = 2048  # pixels

    def __init__(self, queries: int, hidden: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in ((queries, hidden), (hidden, hidden), (hidden, width))
        )

    def forward(self, queries: Float[Tensor, "N Q C"], feature: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        """New channels of each pixel."""
        first: Any = self.layers[0]
        weight, pixels = first.weight.flatten(1) @ queries, feature.flatten(2)  # N hidden C, N C pixels
        whole = torch.is_grad_enabled() or torch.compiler.is_compiling()
        parts = [pixels] if whole else pixels.split(self.SLICE, 2)
        done = [self._rest((weight @ part + first.bias[:, None]).relu()) for part in parts]
        return torch.cat(done, 2).unflatten(2, feature.shape[-2:])

    def _rest(self, x: Float[Tensor, "N hidden P"]) -> Float[Tensor, "N C P"]:
        for place, layer in enumerate(list(self.layers)[1:]):
            one: Any = layer
            x = one.weight.flatten(1) @ (x if place == 0 else x.relu()) + one.bias[:, None]
        return x


def _conv(inside: int, out: int, kernel: int) -> nn.Sequential:
    groups = 32 if out % 32 == 0 else 1
    return nn.Sequential(nn.Conv2d(inside, out, kernel, padding=kernel // 2), nn.GroupNorm(groups, out))


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def build(
    *,
    config: ModelConfig,
    backbone: str,
    backbone_options: Mapping[str, Any] | None = None,
    audio: Literal["vggish", "light"] | None = "vggish",
    **numbers: Any,
) -> AVSegFormer:
    """The net with backbone and audio encoder by name; `numbers` are further arguments of `AVSegFormer`."""
    encoder = audio_encoder(audio, numbers.get("sound_channels", VGGish.channels))
    return AVSegFormer(backbone=Backbone(backbone, backbone_options), audio=encoder, config=config, **numbers)


_README = "README of vvvb-github/AVSegFormer"
RECORD = ModelRecord(
    build=build,
    presets={
        "avsegformer_resnet50": {"backbone": "resnet50"},
        "avsegformer_pvt_v2_b5": {"backbone": "pvt_v2_b5", "backbone_options": {"drop_path_rate": 0.1}},
    },
    purpose="marks what sounds, each frame by itself; runs its authors' files",
    paper="Gao et al., AAAI 2024",
    config={"protocol": "batch2", "image_size": (512, 512)},
    semantic={"protocol": "avss", "image_size": (224, 224), "clip_length": 10},
    small={
        "backbone": "resnet18", "audio": "light", "width": 32, "queries": 7, "depth": 1, "hidden": 16, "dropout": 0.0,
    },
    readers=("avsegformer",),
    licences={AUTHORS: "none stated; ask the authors before you pass them on"},
    figures=(
        Figure("avsegformer_resnet50", "s4", 76.38, 86.7, "batch2", _README),
        Figure("avsegformer_resnet50", "ms3", 53.81, 65.6, "batch2", _README),
        Figure("avsegformer_resnet50", "avss", 26.58, 31.5, "avss", _README),
        Figure("avsegformer_pvt_v2_b5", "s4", 83.06, 90.5, "batch2", _README),
        Figure("avsegformer_pvt_v2_b5", "ms3", 61.33, 73.0, "batch2", _README),
        Figure("avsegformer_pvt_v2_b5", "avss", 37.31, 42.8, "avss", _README),
    ),
)  # fmt: skip
