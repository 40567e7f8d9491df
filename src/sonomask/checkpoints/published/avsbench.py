"""The model of S4, MS3 and AVSS of "Audio-Visual Segmentation" (Zhou et al., ECCV 2022): `model.state_dict()`."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sonomask.checkpoints.published.layout import NO_HINTS, Hints, Layout, Names, backbone, dead_branch, level

NAMES: Names = (
    *backbone(r"resnet\.", r"encoder_backbone\."),
    # dilated sums, TPAVI
    (r"^conv([1-4])\.conv2d_list\.", level("aspp.", "convs.")),
    (r"^tpavi_b([1-4])\.", level("fusion.")),
    (r"\.align_channel\.", ".align."),
    (r"\.W_z\.0\.", ".out."),
    (r"\.W_z\.1\.", ".bn."),
    (r"\.norm_layer\.", ".norm."),
    # decoder
    (r"^path([1-4])\.", level("decoder.blocks.")),
    (r"\.resConfUnit1\.", ".skip."),
    (r"\.resConfUnit2\.", ".merge."),
    (r"^output_conv\.", "decoder.head."),
)

DEAD = (
    dead_branch(r"resnet\."),
    r"^path4\.resConfUnit1\.",  # the coarsest level has no path to join
    r"^(resnet\.)?fc\.|^head\.",  # ImageNet's classes
)

FLAT = r"^fusion\.\d\.(theta|phi|g|out)\.weight$"  # 1×1×1 convolutions there, 1×1 here


def recognise(tensors: Mapping[str, Tensor], hints: Hints = NO_HINTS) -> Layout | None:
    """Recognise a model of AVSBench; None for any other file."""
    last = tensors.get("output_conv.4.weight")
    resnet = "resnet.conv1.weight" in tensors
    if last is None or not (resnet or "encoder_backbone.patch_embed1.proj.weight" in tensors):
        return None
    stages = tuple(i for i in range(4) if f"tpavi_b{i + 1}.theta.weight" in tensors)
    fusion = hints.fusion if stages else "none"
    options: dict[str, Any] = {"fusion": fusion, "stages": stages, "audio": "vggish" if hints.listens else None}
    if len(last) > 1:
        options["num_classes"] = len(last)
    name = f"{'avss' if len(last) > 1 else 'avs'}_{'resnet50' if resnet else 'pvt_v2_b5'}"
    unused = (r"^tpavi_b",) if fusion == "none" else ()  # the TPAVI that the file may hold is not asked for
    return Layout("AVSBench", name, options, NAMES, (*DEAD, *unused), FLAT, listens=False)
