"""Tensor names in the published files of COMBO and VCT (detectron2), and what can be inferred from them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from sonomask.checkpoints.published.layout import NO_HINTS, Hints, Layout, Names

_BACKBONE = r"^(backbone\.(?:frames|maskige))\."


def _down(template: str, by: int = 1) -> Callable[[re.Match[str]], str]:
    """Counts from another number: the file's group 2, less `by`."""
    return lambda match: match.expand(template.replace("#", str(int(match[2]) - by)))


SHARED: Names = (
    (r"^backbone\.", "backbone.frames."),
    (r"^pre_sam_backbone\.", "backbone.maskige."),
    (r"^scale_factor_module\.", "backbone.gates."),
    (r"^audio_backbone\.", "audio."),
    (r"^sem_seg_head\.audio_transformation\.embeddings\.", "listen."),
    (r"^sem_seg_head\.pixel_decoder\.input_proj\.", "pixels.project."),
    (r"^sem_seg_head\.pixel_decoder\.transformer\.level_embed", "pixels.encoder.level_embed"),
    (r"^sem_seg_head\.pixel_decoder\.transformer\.encoder\.", "pixels.encoder."),
    (r"^sem_seg_head\.pixel_decoder\.adapter_1\.norm\.", "pixels.lateral.1."),
    (r"^sem_seg_head\.pixel_decoder\.adapter_1\.", "pixels.lateral.0."),
    (r"^sem_seg_head\.pixel_decoder\.layer_1\.norm\.", "pixels.merge.1."),
    (r"^sem_seg_head\.pixel_decoder\.layer_1\.", "pixels.merge.0."),
    (r"^sem_seg_head\.pixel_decoder\.mask_features\.", "pixels.out."),
    (
        r"^sem_seg_head\.predictor\.transformer_cross_attention_layers\.(\d+)\.multihead_attn\.",
        r"decoder.layers.\1.cross_attn.",
    ),
    (r"^sem_seg_head\.predictor\.transformer_cross_attention_layers\.(\d+)\.norm\.", r"decoder.layers.\1.cross_norm."),
    (
        r"^sem_seg_head\.predictor\.transformer_self_attention_layers\.(\d+)\.self_attn\.",
        r"decoder.layers.\1.self_attn.",
    ),
    (r"^sem_seg_head\.predictor\.transformer_self_attention_layers\.(\d+)\.norm\.", r"decoder.layers.\1.self_norm."),
    (r"^sem_seg_head\.predictor\.transformer_ffn_layers\.", "decoder.layers."),
    (r"^sem_seg_head\.predictor\.decoder_norm\.", "decoder.norm."),
    (r"^sem_seg_head\.predictor\.query_feat\.", "decoder.queries."),
    (r"^sem_seg_head\.predictor\.query_embed\.", "decoder.places."),
    (r"^sem_seg_head\.predictor\.level_embed\.", "decoder.levels."),
    (r"^sem_seg_head\.predictor\.class_embed\.", "decoder.to_class."),
    (r"^sem_seg_head\.predictor\.mask_embed\.layers\.(\d)(\.)", lambda m: f"decoder.to_mask.{2 * int(m[1])}."),
)

COMBO: Names = (
    *SHARED,
    # detectron2's ResNet
    (rf"{_BACKBONE}stem\.conv1\.norm\.", r"\1.net.bn1."),
    (rf"{_BACKBONE}stem\.conv1\.", r"\1.net.conv1."),
    (rf"{_BACKBONE}res([2-5])\.", _down(r"\1.net.layer#.")),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
    (r"\.conv([1-3])\.norm\.", r".bn\1."),
    # PVT-v2
    (rf"{_BACKBONE}patch_embed1\.", r"\1.net.patch_embed."),
    (rf"{_BACKBONE}patch_embed([2-4])\.", _down(r"\1.net.stages_#.downsample.")),
    (rf"{_BACKBONE}block([1-4])\.", _down(r"\1.net.stages_#.blocks.")),
    (rf"{_BACKBONE}norm([1-4])\.(?=weight|bias)", _down(r"\1.net.stages_#.norm.")),
    (r"\.mlp\.dwconv\.dwconv\.", ".mlp.dwconv."),
    # fusion
    (r"^sem_seg_head\.fusion_module\.level_embed\.", "fusion.level."),
    (r"^sem_seg_head\.fusion_module\.audio_pos\.", "fusion.place."),
    (r"^sem_seg_head\.fusion_module\.b_attn\.layer_norm_([va])_list\.0\.", r"fusion.norm_\1."),
    (r"^sem_seg_head\.fusion_module\.b_attn\.attn_list\.0\.([va])_proj\.", r"fusion.\1."),
    (r"^sem_seg_head\.fusion_module\.b_attn\.attn_list\.0\.(values|out)_([va])_proj\.", r"fusion.\1_\2."),
    (r"^sem_seg_head\.fusion_module\.b_attn\.gamma_v_list\.0", "fusion.gamma_v"),
    (r"^sem_seg_head\.fusion_module\.b_attn\.gamma_a", "fusion.gamma_a"),
)

VCT: Names = (
    *SHARED,
    (rf"{_BACKBONE}layers\.(\d)\.downsample\.", _down(r"\1.net.layers_#.downsample.", -1)),
    (rf"{_BACKBONE}layers\.(\d)\.", _down(r"\1.net.layers_#.", 0)),
    (rf"{_BACKBONE}patch_embed\.", r"\1.net.patch_embed."),
    (rf"{_BACKBONE}norm([0-3])\.", _down(r"\1.norms.#.", 0)),
    (r"^sem_seg_head\.predictor\.visual_query_block\.prototype\.", "visual_queries.prototypes."),
    (r"^sem_seg_head\.predictor\.visual_query_block\.pre_proj\.", "visual_queries.before."),
    (
        r"^sem_seg_head\.predictor\.visual_query_block\.query_mixer\.layers\.(\d)\.",
        lambda m: f"visual_queries.mix.{2 * int(m[1])}.",
    ),
    (r"^sem_seg_head\.predictor\.visual_query_block\.pre_attn\.multihead_attn\.", "visual_queries.prompt."),
    (r"^sem_seg_head\.predictor\.visual_query_block\.pre_attn\.norm\.", "visual_queries.prompt_norm."),
    (r"^sem_seg_head\.predictor\.visual_query_block\.assign_attn\.([qkv])_proj\.", r"visual_queries.group.\1."),
    (r"^sem_seg_head\.predictor\.visual_query_block\.assign_attn\.proj\.", "visual_queries.group.out."),
    (r"^sem_seg_head\.predictor\.audio_proj\.", "prototype_loss.sound."),
    (r"^sem_seg_head\.predictor\.proto_proj\.", "prototype_loss.kind."),
    (r"^criterion\.logit_scale", "prototype_loss.scale"),
)
DEAD = (
    r"^criterion\.empty_weight$",  # weights of the loss: constants
    r"\.relative_position_index$",  # of Swin: follows from the window
)
"""Keys that the files of both hold and that say nothing."""

DEAD_VCT = (*DEAD, r"^audio_backbone\.embeddings\.")  # VCT reads VGGish's last map
DEAD_UNFUSED = (*DEAD, r"^sem_seg_head\.fusion_module\.audio_pos\.")  # built, but COMBO without fusion never reads it

SWIN_STAGES: Names = (
    (r"^layers\.([0-3])\.downsample\.", lambda match: f"layers_{int(match[1]) + 1}.downsample."),
    (r"^layers\.([0-3])\.", r"layers_\1."),
)
"""The official file of a Swin with ImageNet's weights under timm's names."""

DERIVED = r"num_batches_tracked$|relative_position_index$|attn_mask$"
"""Counters of batch norms, which detectron2 has none of, and Swin's tables."""

S4_CATEGORIES = (
    "helicopter", "mynah_bird_singing", "typing_on_computer_keyboard", "playing_violin", "playing_glockenspiel",
    "playing_piano", "lions_roaring", "baby_laughter", "male_speech", "lawn_mowing", "playing_ukulele", "playing_tabla",
    "driving_buses", "cap_gun_shooting", "chainsawing_trees", "playing_acoustic_guitar", "cat_meowing", "female_singing",
    "ambulance_siren", "dog_barking", "horse_clip-clop", "coyote_howling", "race_car",
)  # fmt: skip
"""The order of the prototypes of VCT for S4."""

SWIN = "backbone.layers.0.blocks.0.norm1.weight"
QUERIES = "sem_seg_head.predictor.query_feat.weight"


def recognise(tensors: Mapping[str, Tensor], _: Hints = NO_HINTS) -> Layout | None:
    """Recognise a COMBO or VCT; None for any other file.

    S4's and MS3's files of COMBO have the same keys and shapes, and the same use; of VCT S4's has prototypes, MS3's none.
    """
    if QUERIES not in tensors or not any(key.startswith("pre_sam_backbone.") for key in tensors):
        return None
    count = len(tensors["sem_seg_head.predictor.class_embed.weight"]) - 1
    options: dict[str, Any] = {} if count == 2 else {"num_classes": count}
    if SWIN in tensors:
        prototypes = tensors.get("sem_seg_head.predictor.visual_query_block.prototype.weight")
        if prototypes is not None:
            options["prototypes"] = len(prototypes)
            if len(prototypes) == len(S4_CATEGORIES):
                options["categories"] = S4_CATEGORIES
        return Layout("VCT", "vct_swin_b", options, VCT, DEAD_VCT, derived=DERIVED)
    name = "combo_resnet50" if "backbone.stem.conv1.weight" in tensors else "combo_pvt_v2_b5"
    options["audio_queries"] = "mixed"  # as the weights were trained
    if not any(".b_attn." in key for key in tensors):
        return Layout("COMBO", name, {**options, "fusion": "none"}, COMBO, DEAD_UNFUSED, derived=DERIVED)
    return Layout("COMBO", name, options, COMBO, DEAD, derived=DERIVED)
