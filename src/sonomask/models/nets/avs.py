"""The model of "Audio-Visual Segmentation" (Zhou et al., ECCV 2022), figure 4."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast, overload

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonomask.batches import Output
from sonomask.models.parts.aspp import DilatedSum
from sonomask.models.parts.backbone import LEVELS, Backbone
from sonomask.models.parts.causal import Past, Traces, per_level
from sonomask.models.parts.decoder import Decoder
from sonomask.models.parts.encoders import audio_encoder
from sonomask.models.parts.net import Net, Parts
from sonomask.models.parts.tpavi import FUSIONS, TPAVI, Add, Fusion, FusionLevel, Pass
from sonomask.models.record import AUTHORS, Figure, ModelRecord
from sonomask.structures import ModelConfig


class AVS(Net):
    """Marks the pixels of what sounds.

        sound → audio encoder ──────────────────────┐
        images → backbone → dilated sums → fusion at each level → decoder → logits

    Args:
        backbone: Images (N, 3, H, W) to four maps, fine to coarse.
        audio: Log-mel patches (N, 1, 96, 64) to embeddings (N, D); None if `decode` is given the embeddings.
        aspp: Per level, brings the map to the decoder's width.
        fusion: Per level, (map, sound) to (map, sound as the level saw it).
        decoder: Fused maps and a size to logits.
        config: The model's configuration.
        fold: Fusion sees clips of so many seconds, longer ones in pieces (the semantic reference takes 10 s as 2 × 5);
            None for the whole clip.

    Source: Zhou et al., "Audio-Visual Segmentation", ECCV 2022.
    """

    keeps_audio = True
    parts = Parts(backbone="backbone", audio="audio", pretrained="backbone.net")
    streams = True
    pretrained_names = "timm"
    recomputable = ("backbone.net",)

    def __init__(
        self,
        *,
        backbone: nn.Module,
        audio: nn.Module | None,
        aspp: Sequence[nn.Module],
        fusion: Sequence[FusionLevel],
        decoder: nn.Module,
        config: ModelConfig,
        fold: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.audio, self.decoder = backbone, audio, decoder
        self.aspp, self.fusion = nn.ModuleList(aspp), nn.ModuleList(fusion)
        self.config, self.fold = config, fold

    @property
    def levels(self) -> list[FusionLevel]:
        """The levels of fusion, fine to coarse."""
        return cast("list[FusionLevel]", list(self.fusion))

    def foldable(self) -> list[nn.Module]:
        """The backbone."""
        return [self.backbone]

    def attending(self) -> list[FusionLevel]:
        """The levels at which pixels attend to sound."""
        return [level for level in self.levels if level.attends]

    def forward(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """Mask logits at the size of the images.

        Args:
            images: RGB, normalised with `config.mean` and `config.std`.
            logmel: One log-mel patch per frame; None only if the fusion does not listen.
            valid: Frames that exist; the logits of the others are 0. All, if None.

        Raises:
            ValueError: A shape is not as above, or sound is missing.
        """
        return self.decode(images, self.hear(logmel), valid)

    def hear(self, logmel: Float[Tensor, "B T 1 96 64"] | None) -> Float[Tensor, "B T D"] | None:
        """The sound's embedding, or None if the model has no audio encoder or gets no sound."""
        if logmel is None or not self.config.listens:
            return None
        if self.audio is None:
            raise ValueError("This model has no audio encoder. Give embeddings to `decode(images, sound)` instead.")
        if logmel.ndim != 5:
            raise ValueError(f"`logmel`: expected (B, T, 1, 96, 64), got {tuple(logmel.shape)}.")
        sound: Tensor = self.audio(logmel.flatten(0, 1))
        return sound.unflatten(0, logmel.shape[:2])

    def decode(
        self,
        images: Float[Tensor, "B T 3 H W"],
        sound: Float[Tensor, "B T D"] | None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Output:
        """`forward` with an audio embedding in place of log-mel patches."""
        maps = self._see(images, valid)
        fused, heard = zip(
            *(self._fuse(fuse, x, _gate(sound, valid)) for fuse, x in zip(self.fusion, maps, strict=True)), strict=True
        )
        fused = tuple(F.relu(_gate(x, valid)) for x in fused)  # the decoder starts with it; the matching loss reads it
        logits = self.decoder([x.flatten(0, 1) for x in fused], size=tuple(images.shape[-2:]))
        logits = _gate(logits.unflatten(0, images.shape[:2]), valid)
        return Output(logits, fused, heard, self._match(maps, _gate(sound, valid)) if self.training else ())

    def start(self, seconds: int | None = None) -> Past:
        """An empty past, for the first `step` of a stream.

        Args:
            seconds: Seconds that the fusion sees together; as in training unless given.

        Raises:
            ValueError: `seconds` is less than 1.
        """
        seconds = (self.fold or self.config.clip_length) if seconds is None else seconds
        if seconds < 1:
            raise ValueError(f"`seconds`: expected 1 or more, got {seconds}.")
        return Past(seconds)

    def step(
        self,
        images: Float[Tensor, "B 3 H W"],
        logmel: Float[Tensor, "B 1 96 64"] | None,
        past: Past,
        time: float | None = None,
    ) -> tuple[Output, Past]:
        """The next frame of a stream: its logits are those that `forward` gives to the last frame of a clip.

        That clip's frames are this one and those that were seen 1 s, 2 s, … before (`Past`). Memory and work do
        not grow with the stream; `past` is not changed.

        Args:
            images: Images as for `forward`, one frame of each stream.
            logmel: The patch of each.
            past: Past from `start`, or from the step before.
            time: Seconds, later than the step before; one second later unless given.

        Returns:
            Logits (B, 1, K, H, W), and the past for the next step.

        Raises:
            ValueError: A shape is not as above, sound is missing, time goes back, or the model is in training mode.
        """
        if self.training:
            raise ValueError("`step`: the model is in training mode, whose batch norms need whole clips. Call eval().")
        latest = past.latest
        time = (0.0 if latest is None else latest + 1) if time is None else time
        if latest is not None and time <= latest:
            raise ValueError(f"`time`: expected more than {latest}, that of the step before, got {time}.")
        sound = self.hear(None if logmel is None else logmel[:, None])
        maps = self._see(images[:, None], None)
        own: Traces = tuple(fuse.remember(x, sound) for fuse, x in zip(self.levels, maps, strict=True))
        levels = zip(self.levels, maps, per_level([*past.before(time), own]), strict=True)
        fused = [F.relu(fuse.recall(x, sound, traces)) for fuse, x, traces in levels]
        logits: Tensor = self.decoder([x[:, 0] for x in fused], size=tuple(images.shape[-2:]))
        return Output(logits[:, None]), past.add(time, own)

    @torch.no_grad()
    def attention(
        self,
        images: Float[Tensor, "B T 3 H W"],
        logmel: Float[Tensor, "B T 1 96 64"],
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T _h _w T"] | None, ...]:
        """Per level the paper's attention map α, pixels by seconds of sound; None where a level has none."""
        sound = _gate(self.hear(logmel), valid)
        return tuple(
            fuse.attention(x, sound) if fuse.attends else None
            for fuse, x in zip(self.levels, self._see(images, valid), strict=True)
        )

    def _match(self, maps: Sequence[Tensor], sound: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(fuse.match(x, sound) if fuse.attends else None for fuse, x in zip(self.levels, maps, strict=True))

    def _see(self, images: Tensor, valid: Tensor | None) -> list[Tensor]:
        if images.ndim != 5 or images.shape[2] != 3:
            raise ValueError(
                f"`images`: expected (B, T, 3, H, W), got {tuple(images.shape)}. Add the clip dimension: images[None]."
            )
        maps = (aspp(x) for aspp, x in zip(self.aspp, self.backbone(images.flatten(0, 1)), strict=True))
        return [_gate(x.unflatten(0, images.shape[:2]), valid) for x in maps]

    def _fuse(self, fuse: nn.Module, x: Tensor, sound: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Fusion of the whole clip, or of its pieces of `fold` seconds as so many clips of one batch.

        They are one batch so that TPAVI's batch norm sees them together, as in the reference. What is left over at the
        end is a shorter clip, and a batch of its own.
        """
        if self.fold is None or (self.fold > 1 and x.shape[1] <= self.fold):
            fused: tuple[Tensor, Tensor | None] = fuse(x, sound)
            return fused
        whole = x.shape[1] - x.shape[1] % self.fold if self.fold > 1 else x.shape[1]
        parts = [_in_pieces(fuse, self.fold, x[:, :whole], None if sound is None else sound[:, :whole])]
        if self.fold > 1 and x.shape[1] > whole:
            parts.append(fuse(x[:, whole:], None if sound is None else sound[:, whole:]))
        if len(parts) == 1:
            return parts[0]
        maps, heard = zip(*parts, strict=True)
        return torch.cat(maps, 1), None if heard[0] is None else torch.cat(heard, 1)


def _in_pieces(fuse: nn.Module, seconds: int, x: Tensor, sound: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Fusion of a clip whose length is a multiple of `seconds`, piece by piece."""
    pieces = x.reshape(-1, seconds, *x.shape[2:])
    sounds = None if sound is None else sound.reshape(-1, seconds, sound.shape[2])
    maps, heard = fuse(pieces, sounds)
    return maps.reshape(x.shape), None if heard is None else heard.reshape(*x.shape[:2], heard.shape[-1])


@overload
def _gate(x: Tensor, valid: Tensor | None) -> Tensor: ...
@overload
def _gate(x: None, valid: Tensor | None) -> None: ...
@overload
def _gate(x: Tensor | None, valid: Tensor | None) -> Tensor | None: ...
def _gate(x: Tensor | None, valid: Tensor | None) -> Tensor | None:
    """Zero for frames that do not exist."""
    if x is None or valid is None:
        return x
    return x * valid.to(x.dtype).reshape(*valid.shape, *[1] * (x.ndim - 2))


def build(
    *,
    config: ModelConfig,
    backbone: str,
    backbone_options: Mapping[str, Any] | None = None,
    audio: Literal["vggish", "light", "efficient"] | None = "vggish",
    sound_channels: int = 128,
    fusion: Fusion = "tpavi",
    stages: Sequence[int] = (0, 1, 2, 3),
    align_bias: bool = True,
    width: int = 256,
    dilations: Sequence[int] = (3, 6, 12, 18),
    start: float = 0.0,
    num_classes: int = 1,
    fold: int | None = None,
    fine: bool = True,
) -> AVS:
    """Put the parts together.

    Args:
        config: Travels with the model; `listens` is filled in.
        backbone: timm name of a network with four feature levels.
        backbone_options: Further arguments for timm.
        audio: Audio encoder; None for a model that is given embeddings (`decode`).
        sound_channels: D, channels of the audio embedding.
        fusion: "tpavi" (pixels attend to sound), "visual" (pixels to pixels), "both", "add" (the sound is mapped and
            added), "none".
        stages: Levels at which fusion happens, 0 is the finest.
        align_bias: Whether TPAVI's map of the sound has a bias.
        width: Channels of the fusion and the decoder.
        dilations: Dilations of the branches at each level.
        start: Strength of fusion at first, see `tpavi`.
        num_classes: K; 1 for a mask.
        fold: Seconds that fusion sees together; None for the whole clip.
        fine: Whether the decoder works at full size at its end, see `decoder`.

    Raises:
        ValueError: An option has no such value.
    """
    if fusion not in FUSIONS:
        raise ValueError(f"`fusion`: expected one of {', '.join(FUSIONS)}, got {fusion!r}.")
    if not set(stages) <= set(range(LEVELS)):
        raise ValueError(f"`stages`: expected numbers from 0 to {LEVELS - 1}, got {tuple(stages)}.")
    listens = fusion in ("tpavi", "both", "add") and bool(stages)
    picture = Backbone(backbone, backbone_options)

    def fuse(level: int) -> FusionLevel:
        if level not in stages or fusion == "none":
            return Pass()
        if fusion == "add":
            return Add(width, sound_channels, start=start)
        return TPAVI(width, sound_channels, keys=fusion, align_bias=align_bias, start=start)

    return AVS(
        backbone=picture,
        audio=audio_encoder(audio, sound_channels) if listens else None,
        aspp=[DilatedSum(channels, width, dilations) for channels in picture.channels],
        fusion=[fuse(level) for level in range(LEVELS)],
        decoder=Decoder(width, num_classes, LEVELS, fine=fine),
        config=replace(config, listens=listens),
        fold=fold,
    )


_PVT = {"backbone": "pvt_v2_b5", "backbone_options": {"drop_path_rate": 0.1}}
_SEMANTIC = {"num_classes": 71, "align_bias": False, "fold": 5}
_SMALL = {"audio": "efficient", "dilations": (1, 3, 6), "fold": 1, "start": 10.0}
_RESNET = "repeated in the README of CAVP (Chen et al., CVPR 2024)"
_PVT_FIGURES = "repeated in the README of Stepping-Stones (Ma et al., ECCV 2024)"
RECORD = ModelRecord(
    build=build,
    presets={
        "avs_resnet50": {"backbone": "resnet50"},
        "avs_pvt_v2_b5": _PVT,
        "avss_resnet50": {"backbone": "resnet50", **_SEMANTIC},
        "avss_pvt_v2_b5": {**_PVT, **_SEMANTIC},
        "avs_mini": {"backbone": "mobilenetv4_conv_small", "audio": "light", "width": 64, "dilations": (1, 3, 6)},
        "avs_lite": {
            **_SMALL,
            "backbone": "mobilenetv2_100",
            "backbone_options": {"pad_type": "same"},  # TensorFlow's, where its COCO weights come from
            "width": 64,
            "stages": (2, 3),
            "fine": False,
        },
        "avs_base": {**_SMALL, "backbone": "pvt_v2_b2", "width": 128},
    },
    purpose="marks what sounds: pixels attend to sound (TPAVI); `avss_…` tells 71 classes apart",
    paper="Zhou et al., ECCV 2022",
    semantic={"clip_length": 10, "protocol": "avss"},
    small={"backbone": "resnet18", "audio": "light", "width": 32, "dilations": (1, 3)},
    readers=("avsbench",),
    licences={
        AUTHORS: "none stated (the code is Apache-2.0)",
        "avs_mini.synthetic": "Apache-2.0",
    },
    figures=(
        Figure("avs_resnet50", "s4", 72.79, 84.8, "avsbench", _RESNET),
        Figure("avs_resnet50", "ms3", 47.88, 57.8, "avsbench", _RESNET),
        Figure("avss_resnet50", "avss", 20.18, 25.2, "avss", _RESNET),
        Figure("avs_pvt_v2_b5", "s4", 78.7, 87.9, "avsbench", _PVT_FIGURES),
        Figure("avs_pvt_v2_b5", "ms3", 54.0, 64.5, "avsbench", _PVT_FIGURES),
        Figure("avss_pvt_v2_b5", "avss", 29.8, 35.2, "avss", _PVT_FIGURES),
    ),
)
