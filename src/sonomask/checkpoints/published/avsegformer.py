"""AVSegFormer (Gao et al., AAAI 2024): the bare `state_dict()` of its model."""

import re
from collections.abc import Mapping

from torch import Tensor

from sonomask.checkpoints.published.layout import NO_HINTS, Hints, Layout, Names, backbone, dead_branch

_NORMS = {"1": "self_norm", "2": "cross_norm", "3": "norm"}


def _layer(match: re.Match[str]) -> str:
    room = "generator" if match[1].startswith("query_gen") else "decoder"
    return f"{room}.{match[2]}.{_NORMS[match[3]]}."


NAMES: Names = (
    *backbone(r"backbone\.", r"backbone\."),
    (r"^vggish\.", "audio."),
    (r"^head\.transformer\.encoder\.", "encoder."),
    (r"^head\.level_embed$", "encoder.level_embed"),
    (r"^head\.query_generator\.query\.", "query."),
    (r"^head\.learnable_query\.", "learned_query."),
    (r"^head\.(query_generator|transformer\.decoder)\.layers\.(\d+)\.norm([1-3])\.", _layer),
    (r"^head\.query_generator\.layers\.(\d+)\.ffn\.0\.", r"generator.\1.linear1."),
    (r"^head\.query_generator\.layers\.(\d+)\.ffn\.2\.", r"generator.\1.linear2."),
    (r"^head\.query_generator\.layers\.", "generator."),
    (r"^head\.transformer\.decoder\.layers\.", "decoder."),
    (r"^head\.fusion_block\.", "mixer."),
    (r"^head\.fc\.", "mask."),
    (r"^head\.(in_proj|mlp|lateral_conv|out_conv)\.", r"\1."),
)

DEAD = (
    dead_branch(r"backbone\."),
    r"^head\.fpn\.",  # a pyramid that is built, stored and never run
    r"^head\.attn_fc\.",  # a second output, likewise
)


def recognise(tensors: Mapping[str, Tensor], _: Hints = NO_HINTS) -> Layout | None:
    """Recognise an AVSegFormer; None for any other file.

    S4's and MS3's files have the same keys and shapes, and the same use; AVSS's has 71 classes.
    """
    last = tensors.get("head.fc.4.weight")
    if last is None or "head.query_generator.query.weight" not in tensors:
        return None
    name = f"avsegformer_{'resnet50' if 'backbone.conv1.weight' in tensors else 'pvt_v2_b5'}"
    return Layout("AVSegFormer", name, {"num_classes": len(last)} if len(last) > 1 else {}, NAMES, DEAD)
