"""Models by name, as timm does it: a plain dict of presets, and one function that builds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import nn

from sonomask.audio.efficient import EfficientEncoder
from sonomask.audio.light import LightEncoder
from sonomask.audio.vggish import VGGish
from sonomask.models.nets.avs import AVS
from sonomask.models.nets.avsegformer import AVSegFormer
from sonomask.models.nets.combo import COMBO
from sonomask.models.nets.conv3d import Conv3D
from sonomask.models.nets.igan import IGAN
from sonomask.models.nets.lgvt import LGVT
from sonomask.models.nets.lvs import LVS
from sonomask.models.nets.mssl import MSSL
from sonomask.models.nets.pixels_that_sound import PixelsThatSound
from sonomask.models.nets.sst import SST
from sonomask.models.nets.two_stage import TwoStage
from sonomask.models.nets.vct import VCT
from sonomask.models.nets.world import World
from sonomask.models.parts.aspp import DilatedSum
from sonomask.models.parts.backbone import LEVELS, Backbone
from sonomask.models.parts.decoder import Decoder
from sonomask.models.parts.net import Net
from sonomask.models.parts.tpavi import FUSIONS, TPAVI, Add, Fusion, Pass
from sonomask.structures import ModelConfig

_PVT = {"backbone": "pvt_v2_b5", "backbone_options": {"drop_path_rate": 0.1}}
_SEMANTIC = {"num_classes": 71, "align_bias": False, "fold": 5}

PRESETS: dict[str, dict[str, Any]] = {
    "avs_resnet50": {"backbone": "resnet50"},
    "avs_pvt_v2_b5": _PVT,
    "avss_resnet50": {"backbone": "resnet50", **_SEMANTIC},
    "avss_pvt_v2_b5": {**_PVT, **_SEMANTIC},
    "avs_mini": {
        "backbone": "mobilenetv4_conv_small",
        "audio": "light",
        "width": 64,
        "dilations": (1, 3, 6),
    },
    "avs_lite": {
        "backbone": "mobilenetv2_100",
        "backbone_options": {"pad_type": "same"},  # TensorFlow's, where its COCO weights come from
        "audio": "efficient",
        "width": 64,
        "dilations": (1, 3, 6),
        "stages": (2, 3),
        "fold": 1,
        "start": 10.0,
        "fine": False,
    },
    "avs_base": {
        "backbone": "pvt_v2_b2",
        "audio": "efficient",
        "width": 128,
        "dilations": (1, 3, 6),
        "fold": 1,
        "start": 10.0,
    },
    "lvs": {},
    "mssl": {},
    "3dc_resnet50": {"depth": 50},
    "3dc_resnet152": {"depth": 152},
    "sst_resnet50": {"backbone": "resnet50"},
    "sst_resnet101": {"backbone": "resnet101"},
    "igan_resnet50": {"backbone": "resnet50"},
    "lgvt_swin_b_224": {"backbone": "swin_base_patch4_window7_224"},
    "lgvt_swin_b_384": {"backbone": "swin_base_patch4_window12_384"},
    "two_stage_maskrcnn": {"detector": "maskrcnn_resnet50_fpn"},
    "two_stage_maskrcnn_v2": {"detector": "maskrcnn_resnet50_fpn_v2"},
    "pixels_that_sound": {},
    "avsegformer_resnet50": {"backbone": "resnet50"},
    "avsegformer_pvt_v2_b5": _PVT,
    "combo_pvt_v2_b5": {"backbone": "pvt_v2_b5", "drop_path": 0.1},
    "combo_resnet50": {"backbone": "resnet50"},
    "vct_swin_b": {"backbone": "swin_base_patch4_window12_384", "size": 384},
    "world": {},
    "world_duo": {"evidence": (0, 60)},
}
"""What each name sets of its network's arguments. `avs_…` mark one mask, `avss_…` 71 classes; the others are those that
the paper compares: localisers of sound (lvs, mssl), of video objects (3dc, sst), of salient objects (igan, lgvt); and
the zoo (docs/zoo.md), whose published files `sonomask convert` takes."""

CONFIGS: dict[str, dict[str, Any]] = {
    "avss": {"clip_length": 10, "protocol": "avss"},
    "3dc": {"listens": False},
    "sst": {"listens": False},
    "igan": {"listens": False},
    "lgvt": {"listens": False},
    "pixels": {"pairing": "centre", "dense": True},
    "avsegformer": {"protocol": "batch2", "image_size": (512, 512)},
    "combo": {"protocol": "combo"},
    "vct": {"protocol": "combo", "image_size": (384, 384), "score_size": (224, 224)},
    "world": {
        "image_size": (320, 320),
        "sizing": "inside",
        "mean": (127 / 255,) * 3,
        "std": (128 / 255,) * 3,
        "clip_length": 1,
        "pairing": "centre",
        "dense": True,
        "recurrent": True,
    },
}
"""Fields of `ModelConfig` by the name's first word."""

WITHOUT_WEIGHTS = ("pixels_that_sound",)
"""Names that are ready as they are."""


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` knows, in order; `pattern` is a shell wildcard."""
    return [name for name in sorted(PRESETS) if fnmatchcase(name, pattern)]


def create_model(name: str, **options: Any) -> Net:
    """A model with random weights.

    Args:
        name: One of `list_models()`.
        options: Arguments of its network that replace the preset's: of `build` for `avs_…`, else of the class.

    Raises:
        ValueError: The name or an option is unknown.
    """
    if name not in PRESETS:
        raise ValueError(f"`name`: expected one of {', '.join(list_models())}, got {name!r}.")
    word = name.split("_")[0]
    every = {**PRESETS[name], **options}
    config = ModelConfig(
        name=name, options=dict(options), num_classes=every.get("num_classes", 1), **CONFIGS.get(word, {})
    )
    builder: Callable[..., Net] = BUILDERS.get(word, build)
    try:
        return builder(config=config, **every)
    except TypeError as error:
        raise ValueError(f"Options of {name}: {error}. See `{builder.__module__}` for what there is.") from error


def build(
    config: ModelConfig,
    *,
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
        config: Travels with the model; `listens` and `classes` are filled in.
        backbone: timm name of a network with four feature levels.
        backbone_options: Further arguments for timm.
        audio: Audio encoder; None for a model that is given embeddings (`decode`).
        sound_channels: D, channels of the audio embedding.
        fusion: "tpavi" (pixels attend to sound), "visual" (pixels to pixels), "both", "add" (the sound is mapped and
            added), "none".
        stages: Levels at which fusion happens, 0 is the finest.
        align_bias: Whether TPAVI's map of the sound has a bias.
        width: Channels of the fusion and the decoder.
        dilations: Of the branches at each level.
        start: How strongly fusion acts at first, see `tpavi`.
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

    def fuse(level: int) -> nn.Module:
        if level not in stages or fusion == "none":
            return Pass()
        if fusion == "add":
            return Add(width, sound_channels, start=start)
        return TPAVI(width, sound_channels, keys=fusion, align_bias=align_bias, start=start)

    return AVS(
        backbone=picture,
        audio=_ear(audio, sound_channels) if listens else None,
        aspp=[DilatedSum(channels, width, dilations) for channels in picture.channels],
        fusion=[fuse(level) for level in range(LEVELS)],
        decoder=Decoder(width, num_classes, LEVELS, fine=fine),
        config=replace(config, listens=listens),
        fold=fold,
    )


def _two_stage(*, config: ModelConfig, audio: Literal["vggish", "light"] = "vggish", **options: Any) -> TwoStage:
    return TwoStage(config=config, audio=VGGish() if audio == "vggish" else LightEncoder(), **options)


def _avsegformer(
    *,
    config: ModelConfig,
    backbone: str,
    backbone_options: Mapping[str, Any] | None = None,
    audio: Literal["vggish", "light"] | None = "vggish",
    num_classes: int = 1,
    **numbers: Any,
) -> AVSegFormer:
    """`numbers` are further arguments of the class. 71 classes are AVSS, whose pictures are 224×224."""
    if num_classes > 1:
        config = replace(config, protocol="avss", image_size=(224, 224), clip_length=10)
    ear = _ear(audio, numbers.get("sound_channels", VGGish.channels))
    picture = Backbone(backbone, backbone_options)
    return AVSegFormer(backbone=picture, audio=ear, config=config, num_classes=num_classes, **numbers)


def _queried(kind: Callable[..., Net]) -> Callable[..., Net]:
    """71 classes are AVSS, which COMBO and VCT score without the frames that don't exist."""

    def made(*, config: ModelConfig, num_classes: int = 1, **numbers: Any) -> Net:
        if num_classes > 1:
            config = replace(config, protocol="avss_unpadded", clip_length=10)
        return kind(config=config, num_classes=num_classes, **numbers)

    return made


BUILDERS: dict[str, Callable[..., Net]] = {
    "lvs": LVS, "mssl": MSSL, "3dc": Conv3D, "sst": SST, "igan": IGAN, "lgvt": LGVT, "two": _two_stage,
    "pixels": PixelsThatSound, "avsegformer": _avsegformer, "combo": _queried(COMBO), "vct": _queried(VCT),
    "world": World,
}  # fmt: skip
"""By the name's first word; `build` for all others."""


SMALL_EARS: dict[str, Callable[[int], nn.Module]] = {"light": LightEncoder, "efficient": EfficientEncoder}


def _ear(name: str | None, channels: int) -> nn.Module | None:
    if name is None:
        return None
    if name == "vggish":
        if channels != VGGish.channels:
            raise ValueError(f"`sound_channels`: VGGish has {VGGish.channels}, got {channels}.")
        return VGGish()
    if name in SMALL_EARS:
        return SMALL_EARS[name](channels)
    raise ValueError(f"`audio`: expected 'vggish', {', '.join(map(repr, SMALL_EARS))} or None, got {name!r}.")
