"""Convert published checkpoints: `published` recognises a file, and this module renames and loads its tensors.

Known: AVSBench's model (`model.state_dict()`, with or without the prefix `module.`), the zoo (docs/zoo.md), VGGish with or
without its PCA. Nothing is unpickled but tensors, every key is used or known to be dead, and whatever is unknown is refused
by name.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from sonomask.checkpoints.files import flat_tensors, read_checkpoint, read_content, split_pca
from sonomask.checkpoints.folder import fill, save
from sonomask.checkpoints.published import readers
from sonomask.checkpoints.published.layout import Fusion, Hints, Layout
from sonomask.errors import WeightsError
from sonomask.models.catalog import create_model, record_of
from sonomask.models.parts.net import Net
from sonomask.models.record import AUTHORS
from sonomask.safe_reading.config import parse_config

__all__ = ["OWN", "convert", "convert_state", "recognise"]

OWN = "sonomask"  # where our training keeps the model's config in its checkpoints


def convert(
    checkpoint: str | Path,
    out: str | Path,
    *,
    fusion: Fusion = "tpavi",
    vggish: str | Path | None = None,
    size: int | None = None,
) -> Net:
    """Turn a published checkpoint into a model folder.

    Args:
        checkpoint: The `.pth` (or `.safetensors`) of its authors.
        out: Folder for ours.
        fusion: AVSBench's only: what it was trained with.
        vggish: VGGish's file, which AVSBench's model and EASE keep apart. Without it the model takes embeddings (`decode`)
            only.
        size: EASE's only: side of the pictures that it was trained on, where its file has lost its name.

    A `last.ckpt` of `sonomask train` becomes the folder of its model too.

    Raises:
        WeightsError: The file is no such checkpoint, or does not fit; says which keys.
    """
    if Path(checkpoint).is_dir():
        raise WeightsError(
            f"{checkpoint}: expected a file, got a folder. A model folder needs no converting: --model {checkpoint}."
        )
    content = read_content(checkpoint)
    if isinstance(content, Mapping) and isinstance(content.get(OWN), str):
        own = _trained(content, source=str(checkpoint))
        save(own, out)
        return own
    tensors = flat_tensors(content, source=str(checkpoint))
    model = convert_state(tensors, fusion=fusion, source=str(checkpoint), listens=vggish is not None, size=size)
    encoder = model.part("audio")
    if vggish is not None and encoder is not None:
        fill(encoder, split_pca(read_checkpoint(vggish))[0], source=str(vggish))
    save(model, out)
    return model


def convert_state(
    tensors: Mapping[str, Tensor],
    *,
    fusion: Fusion = "tpavi",
    source: str = "checkpoint",
    listens: bool = False,
    size: int | None = None,
) -> Net:
    """The model of a published state dict.

    Args:
        tensors: Tensors by their published names.
        fusion: Kind of fusion, as in `convert`.
        source: Named in errors.
        listens: Give AVSBench's model or EASE a VGGish, still random.
        size: Side of the pictures, as in `convert`.
    """
    layout = recognise(tensors, fusion=fusion, source=source, listens=listens, size=size)
    if layout.listens and listens:
        raise WeightsError(f"{source}: holds its own VGGish, as every file of {layout.system}. Leave out `--vggish`.")
    model: Any = create_model(layout.name, **layout.options)
    about = f"Converted from {Path(source).name} ({layout.system})."
    audio = {}
    if not layout.listens and listens:
        audio = {f"audio.{key}": value for key, value in model.audio.state_dict().items()}
    elif not layout.listens:
        about += " Without an audio encoder: give embeddings to `decode`."
    licence = record_of(layout.name).licences.get(AUTHORS, "")
    model.config = replace(model.config, about=about, licence=licence, pairing="avsbench", **layout.config)
    fill(model, {**layout.kept(model), **audio, **layout.rename(tensors)}, source=source)
    return model


def recognise(
    tensors: Mapping[str, Tensor],
    *,
    fusion: Fusion = "tpavi",
    source: str = "checkpoint",
    listens: bool = False,
    size: int | None = None,
) -> Layout:
    """Recognise a published state dict.

    A size that is not given is read from the file's name.

    Raises:
        WeightsError: The file is of no known kind.
    """
    named = re.search(r"(?<!\d)(224|384)(?!\d)", Path(source).name)
    hints = Hints(fusion, listens, int(named[1]) if size is None and named else size)
    found = (read(tensors, hints) for read in readers().values())
    layout = next((layout for layout in found if layout is not None), None)
    if layout is None:
        some = ", ".join(sorted(tensors)[:5])
        raise WeightsError(
            f"{source}: no checkpoint of AVSBench's model or of the zoo (docs/zoo.md lists it); it holds "
            f"{len(tensors)} tensors such as {some}."
        )
    return layout


def _trained(content: Mapping[str, Any], *, source: str) -> Net:
    """The model of a checkpoint of our own training."""
    config = parse_config(content[OWN], source=source)
    model = create_model(config.name, **config.options)
    model.config = config
    tensors = flat_tensors(content, source=source)
    fill(model, {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}, source=source)
    return model
