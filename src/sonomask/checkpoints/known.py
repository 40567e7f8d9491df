"""Published files that runs begin from: their names, where they come from, and whether they are here."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from sonomask.errors import WeightsError

__all__ = ["KNOWN", "KnownFile", "fetch", "places", "present"]


@dataclass(frozen=True)
class KnownFile:
    """A public file.

    Attributes:
        file: Its name.
        address: Address at which its authors offer it.
        digest: First digits of its SHA-256, as its name or its authors tell; "" where they tell none.
        megabytes: About how large.
        licence: Licence of the weights.
        what: Contents of the file.
    """

    file: str
    address: str
    digest: str
    megabytes: int
    licence: str
    what: str


KNOWN: dict[str, KnownFile] = {
    "vggish": KnownFile(
        "vggish-10086976.pth", "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
        "10086976", 289, "Apache-2.0", "VGGish, the audio encoder of AVSBench",
    ),
    "resnet50": KnownFile(
        "resnet50-19c8e357.pth", "https://download.pytorch.org/models/resnet50-19c8e357.pth", "19c8e357", 103,
        "BSD-3-Clause (torchvision)", "ResNet-50 on ImageNet (V1), the backbone of AVSBench",
    ),
    "pvt_v2_b5": KnownFile(
        "pvt_v2_b5.pth", "https://github.com/whai362/PVT/releases/download/v2/pvt_v2_b5.pth", "", 328, "Apache-2.0",
        "PVT-v2-B5 on ImageNet, the backbone of AVSBench",
    ),
    "resnet18": KnownFile(
        "resnet18-f37072fd.pth", "https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd", 47,
        "BSD-3-Clause (torchvision)", "ResNet-18 on ImageNet (V1), the picture side of LVS and MSSL",
    ),
    "maskrcnn": KnownFile(
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth",
        "https://download.pytorch.org/models/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", "73cbd019", 186,
        "BSD-3-Clause (torchvision)", "Mask R-CNN v2 on COCO, the detector of the two-stage row",
    ),
    "swin_b": KnownFile(
        "swin_base_patch4_window7_224.ms_in1k.safetensors",
        "https://huggingface.co/timm/swin_base_patch4_window7_224.ms_in1k/resolve/main/model.safetensors", "", 351, "MIT",
        "Swin-B on ImageNet under timm's names, the backbone of LGVT",
    ),
    "swin_b_22k": KnownFile(
        "swin_base_patch4_window12_384_22k.pth",
        "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window12_384_22k.pth", "", 450,
        "MIT", "Swin-B on ImageNet-22k, its authors' file, the backbone of VCT",
    ),
}  # fmt: skip
"""By the name that `backbone_weights` and `audio_weights` take in place of a path."""


def places() -> list[Path]:
    """Folders that are searched: that of `SONOMASK_WEIGHTS`, `weights` here, torch's cache, into which is fetched."""
    own = os.environ.get("SONOMASK_WEIGHTS")
    return [*([Path(own)] if own else []), Path("weights"), Path(torch.hub.get_dir()) / "checkpoints"]


def present(known: KnownFile) -> Path | None:
    """Path of the file if it is on this machine."""
    return next((place / known.file for place in places() if (place / known.file).is_file()), None)


def fetch(name: str) -> str:
    """The path of a file of `KNOWN`, fetched if it is not here; anything else is a path already.

    Raises:
        WeightsError: It can't be fetched, or is not the file of that name.
    """
    if name not in KNOWN or Path(name).exists():
        return name
    known = KNOWN[name]
    found = present(known)
    if found is None:
        found = places()[-1] / known.file
        found.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(known.address, str(found), hash_prefix=known.digest or None, progress=False)
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"{known.file} is not here and can't be fetched ({error}). Get it from {known.address} and put it into the "
                f"folder {places()[0]}."
            ) from error
        return str(found)
    with found.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(known.digest):
        raise WeightsError(
            f"{found}: expected SHA-256 {known.digest}…, got {digest[:8]}…. Get it anew: {known.address}."
        )
    return str(found)
