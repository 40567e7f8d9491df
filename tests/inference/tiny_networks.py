"""Tiny networks with random weights in hub format, to test the adapters against transformers' own classes."""

import torch


def tokenizer():
    from transformers import CLIPTokenizer

    letters = [chr(c) for c in range(33, 127)]
    words = [*letters, *[x + "</w>" for x in letters], "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[])


def sam2(folder):
    import transformers
    from transformers import Sam2Config, Sam2Model, Sam2Processor

    images = getattr(transformers, "Sam2ImageProcessor", None) or transformers.Sam2ImageProcessorFast  # so in 5.3

    c = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [64, 64],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [8, 4, 4, 4],
                "global_attention_blocks": [3],
                "window_positional_embedding_background_size": [4, 4],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 16,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )
    torch.manual_seed(0)
    Sam2Model(c).save_pretrained(folder)
    Sam2Processor(
        images(size={"height": 64, "width": 64}, mask_size={"height": 16, "width": 16}), target_size=64
    ).save_pretrained(folder)


def owl(folder):
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

    t = tokenizer()
    c = Owlv2Config(
        text_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": len(t),
            "max_position_embeddings": 16,
            "bos_token_id": len(t) - 2,
            "eos_token_id": len(t) - 1,
            "pad_token_id": len(t) - 1,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
        },
        projection_dim=16,
    )
    torch.manual_seed(1)
    model = Owlv2ForObjectDetection(c)
    model.box_head.dense2.weight.data *= 0.01  # else its boxes are lines
    model.box_head.dense2.bias.data[2:] = 1.0
    model.save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessor(size={"height": 64, "width": 64}), t).save_pretrained(folder)


def image_processor(transformers):
    images = getattr(transformers, "Sam3ImageProcessor", None) or transformers.Sam3ImageProcessorFast  # so in 5.3
    return images(size={"height": 112, "width": 112}, mask_size={"height": 32, "width": 32})


def sam3_options(width, tokens):
    small = {"hidden_size": width, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return {
        "vision_config": {
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 112,
                "patch_size": 14,
                "window_size": 4,
                "global_attn_indexes": [1],
                "pretrain_image_size": 112,
            },
            "fpn_hidden_size": width,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        "text_config": {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": tokens,
            "max_position_embeddings": 32,
            "projection_dim": 32,
            "bos_token_id": tokens - 2,
            "eos_token_id": tokens - 1,
            "pad_token_id": tokens - 1,
        },
        "geometry_encoder_config": small,
        "detr_encoder_config": small,
        "detr_decoder_config": {**small, "num_queries": 6},
        "mask_decoder_config": {"hidden_size": width, "num_attention_heads": 2},
    }


def sam3(folder):
    import transformers

    t = tokenizer()
    torch.manual_seed(2)
    transformers.Sam3Model(transformers.Sam3Config(**sam3_options(32, len(t)))).save_pretrained(folder)
    transformers.Sam3Processor(image_processor(transformers), t, target_size=112).save_pretrained(folder)


def sam3_video(folder):
    import transformers

    t, width = tokenizer(), 128  # the tracker's code splits its memory into parts of 64
    options = sam3_options(width, len(t))
    tracker = {
        "model_type": "sam3_tracker_video",
        "vision_config": {"model_type": "sam3_vision_model", **options["vision_config"]},
        "prompt_encoder_config": {"hidden_size": width, "image_size": 112, "patch_size": 14, "mask_input_channels": 4},
        "mask_decoder_config": {
            "hidden_size": width,
            "mlp_dim": 16,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
        "image_size": 112,
        "memory_attention_hidden_size": width,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 16,
        "memory_attention_rope_feat_sizes": [8, 8],
        "memory_encoder_hidden_size": width,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": width,
        "memory_fuser_embed_dim": width,
        "memory_fuser_intermediate_dim": 16,
        "memory_fuser_num_layers": 1,
    }
    c = transformers.Sam3VideoConfig(
        detector_config={"model_type": "sam3", **options},
        tracker_config=tracker,
        low_res_mask_size=32,
        score_threshold_detection=0.0,  # random networks are sure of nothing
        new_det_thresh=0.0,
        assoc_iou_thresh=0.05,
    )
    torch.manual_seed(6)
    model = transformers.Sam3VideoModel(c)
    model.tracker_model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(50)  # else it sees nothing anywhere
    model.save_pretrained(folder)
    transformers.Sam3VideoProcessor(
        image_processor(transformers),
        transformers.Sam2VideoVideoProcessor(size={"height": 112, "width": 112}),
        t,
        target_size=112,
    ).save_pretrained(folder)


def dino(folder):
    from transformers import (
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
    )

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        ".",
        "?",
        *"abcdefghijklmnopqrstuvwxyz",
        "dog",
        "red",
        "car",
        "person",
        "##s",
    ]
    t = BertTokenizer(vocab={w: i for i, w in enumerate(words)})
    c = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin",
            "image_size": 64,
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 2,
            "out_indices": [2, 3, 4],
        },
        text_config={
            "model_type": "bert",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": len(words),
            "pad_token_id": 0,
        },
        d_model=32,
        encoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        num_queries=8,
        max_text_len=32,
        num_feature_levels=4,
        positional_embedding_temperature=20,
        disable_custom_kernels=True,
    )
    torch.manual_seed(3)
    GroundingDinoForObjectDetection(c).save_pretrained(folder)
    GroundingDinoProcessor(
        GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}), t
    ).save_pretrained(folder)


def sam2_video(folder):
    from transformers import (
        Sam2ImageProcessor,
        Sam2VideoConfig,
        Sam2VideoModel,
        Sam2VideoProcessor,
        Sam2VideoVideoProcessor,
    )

    c = Sam2VideoConfig(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [64, 64],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [8, 4, 4, 4],
                "global_attention_blocks": [3],
                "window_positional_embedding_background_size": [4, 4],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 128,
        },
        prompt_encoder_config={"hidden_size": 128, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
        image_size=64,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=16,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,  # the code of transformers knows no other
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=16,
        memory_fuser_num_layers=1,
    )
    torch.manual_seed(4)
    model = Sam2VideoModel(c)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(50)  # else it sees nothing anywhere
    model.save_pretrained(folder)
    Sam2VideoProcessor(
        Sam2ImageProcessor(size={"height": 64, "width": 64}, mask_size={"height": 16, "width": 16}),
        Sam2VideoVideoProcessor(size={"height": 64, "width": 64}),
        target_size=64,
    ).save_pretrained(folder)


def edgetam(folder):
    """Its picture encoder is a timm network that is fetched by name, so SAM 2's small one stands for it."""
    from transformers import (
        EdgeTamVideoConfig,
        EdgeTamVideoModel,
        Sam2ImageProcessor,
        Sam2VideoProcessor,
        Sam2VideoVideoProcessor,
    )

    c = EdgeTamVideoConfig(
        vision_config={
            "model_type": "sam2_vision_model",
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [64, 64],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [8, 4, 4, 4],
                "global_attention_blocks": [3],
                "window_positional_embedding_background_size": [4, 4],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 128,
        },
        prompt_encoder_config={"hidden_size": 128, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
        image_size=64,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_mlp_hidden_size=16,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_attention_rope_k_sizes=[2, 2],
        perceiver_resampler_num_latents=4,
        perceiver_resampler_num_latents_2d=4,
        perceiver_resampler_num_layers=1,
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=16,
        memory_fuser_num_layers=1,
    )
    torch.manual_seed(5)
    model = EdgeTamVideoModel(c)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(50)  # else it sees nothing anywhere
    model.save_pretrained(folder)
    Sam2VideoProcessor(
        Sam2ImageProcessor(size={"height": 64, "width": 64}, mask_size={"height": 16, "width": 16}),
        Sam2VideoVideoProcessor(size={"height": 64, "width": 64}),
        target_size=64,
    ).save_pretrained(folder)
