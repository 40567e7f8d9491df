"""EASE (Viertola et al., 2026): the flat state dict of its network, whose sizes the file does not tell."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sonomask.checkpoints.published.layout import NO_HINTS, Hints, Layout, Names
from sonomask.errors import WeightsError

_NORMS = {"1": "self_norm", "2": "cross_norm", "3": "norm"}

DINOV3: Names = (
    (r"patch_embed\.cls_token$", "cls_token"),
    (r"patch_embed\.register_tokens$", "reg_token"),
    (r"patch_embed\.patch_embeddings\.", "patch_embed.proj."),
    (r"\.attention\.([qkv])_proj\.", r".attn.\1_proj."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".gamma_\1"),
    (r"\.mlp\.up_proj\.", ".mlp.fc1."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)
"""A DINOv3 under the names of transformers, as EASE changed them, becomes timm's."""

BACKBONE_FILES: Names = (
    (r"^(model\.)?layer\.", "blocks."),
    (r"^embeddings\.", "patch_embed."),
    *DINOV3,
    (r"^storage_tokens$", "reg_token"),
    (r"\.ls([12])\.gamma$", r".gamma_\1"),
    (r"\.([qv])_bias$", r".\1_proj.bias"),
    (r"^stages_(\d)\.", r"stages.\1."),
)
"""Files of a backbone alone, Meta's, those of transformers and timm's, under the names of timm's unfused network."""

NAMES: Names = (
    (r"^network\.", ""),
    (r"^q\.", "queries."),
    (r"^q_gen\.query\.", "generate.query."),
    (r"^q_gen\.layers\.(\d)\.norm([1-3])\.", lambda m: f"generate.layers.{m[1]}.{_NORMS[m[2]]}."),
    (r"^q_gen\.layers\.(\d)\.ffn\.0\.", r"generate.layers.\1.linear1."),
    (r"^q_gen\.layers\.(\d)\.ffn\.2\.", r"generate.layers.\1.linear2."),
    (r"^q_gen\.layers\.", "generate.layers."),
    (r"^q_gen\.output_proj\.", "generate.out."),
    (r"^class_head\.", "to_class."),
    (r"^mask_head\.", "to_mask."),
    (r"^upscale\.scale_blocks\.(\d)\.conv1\.", r"upscale.\1.up."),
    (r"^upscale\.scale_blocks\.(\d)\.conv2\.", r"upscale.\1.smooth."),
    (r"^upscale\.scale_blocks\.(\d)\.norm\.", r"upscale.\1.norm."),
    (r"^audio_enhance\.audio_proj\.", "listen.project."),
    (r"^audio_enhance\.edge_fc_s1\.0\.", "listen.edge."),
    (r"^audio_enhance\.edge_fc_s2\.0\.", "listen.edge_again."),
    (r"^audio_enhance\.offset_s1\.0\.", "listen.offset."),
    (r"^audio_enhance\.offset_s2\.0\.", "listen.offset_again."),
    (r"^audio_enhance\.fusion_s1\.", "listen.weigh."),
    (r"^audio_enhance\.gumbel_clustering\.cluster_centers$", "listen.kinds"),
    (r"^fuser\.fc\.", "fuse.choose."),
    (r"^fuser\.aud_proj\.", "fuse.project."),
    (r"^fuser\.gumbel_clustering\.cluster_centers$", "fuse.clusters"),
    (r"^fuser\.av_cross_interaction\.([qkv])_proj\.", r"fuse.hear.\1."),
    (r"^fuser\.va_cross_interaction\.([qkv])_proj\.", r"fuse.see.\1."),
    (r"^encoder\.backbone\.(model\.)?layer\.", "encoder.backbone.blocks."),  # before EASE renamed them
    (r"^encoder\.backbone\.embeddings\.", "encoder.backbone.patch_embed."),
    (r"^encoder\.backbone\.", "backbone.net."),
)

DEAD = (
    r"^criterion\.empty_weight$",  # weights of the loss: constants
    r"(^|\.)attn_mask_probs$",  # of masked attention, which inference does without
    r"(^|\.)encoder\.pixel_(mean|std)$",  # in the config
    r"\.mask_token$",  # of DINOv3's own training
    r"(^|\.)audio_enhance\.fusion_s2\.",  # its softmax runs over one number
)

KINDS = "fuser.gumbel_clustering.cluster_centers"
BACKBONES = {320: "pvt_v2_b5", 768: "dinov3_base", 1024: "dinov3_large"}
PVT_QUERIES = {29: 224, 49: 384}


def recognise(tensors: Mapping[str, Tensor], hints: Hints = NO_HINTS) -> Layout | None:
    """Recognise an EASE; None for any other file.

    Raises:
        WeightsError: It does not tell the size of its pictures, and neither does its name.
    """
    bare = {key.removeprefix("network."): value for key, value in tensors.items()}
    if KINDS not in bare or "q_gen.query.weight" not in bare:
        return None
    queries, width = bare["q.weight"].shape
    if width not in BACKBONES:
        raise WeightsError(f"This EASE has tokens of {width} channels; known are {', '.join(map(str, BACKBONES))}.")
    size = PVT_QUERIES.get(queries) if width == 320 else hints.size
    if size not in PVT_QUERIES.values():
        raise WeightsError(
            "EASE's files with DINOv3 don't tell whether they are for pictures of 224 or 384 pixels, and this one's name "
            "doesn't either. Say it with --size."
        )
    count = len(bare["class_head.weight"]) - 1
    options: dict[str, Any] = {"audio": "vggish" if hints.listens else None}
    if count > 2:
        options["num_classes"] = count
        if width == 768 and size == 224:
            options["fusions"] = 12  # its config alone fuses before every block
    return Layout("EASE", f"ease_{BACKBONES[width]}_{size}", options, (*NAMES, *DINOV3), DEAD, listens=False)
