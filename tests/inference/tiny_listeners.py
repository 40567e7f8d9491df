"""Tiny PE-A-Frame and PE-AV with random weights in hub format."""

import string

import torch

ENCODER = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "head_dim": 8,
}


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase]
    words += ["##" + letter for letter in string.ascii_lowercase]
    pieces = models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")  # noqa: S106 - no password
    tokens = Tokenizer(pieces)
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=tokens, **marks)


def text_options(tokens):
    return {
        "model_type": "modernbert",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": len(tokens),
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "max_position_embeddings": 64,
    }


def audio_options():
    stem = {"encoder_hidden_size": 4, "downsampling_ratios": [2, 8, 10, 12], "codebook_dim": 8, "hidden_size": 8}
    return {**ENCODER, "dac_config": {**stem, "n_codebooks": 1, "codebook_size": 8}}


def pe_audio(folder):
    from transformers import PeAudioConfig, PeAudioFeatureExtractor, PeAudioFrameLevelModel, PeAudioProcessor

    t = tokenizer()
    torch.manual_seed(7)
    model = PeAudioFrameLevelModel(PeAudioConfig(text_config=text_options(t), audio_config=audio_options()))
    model.text_audio_logit_scale.data.fill_(3.0)  # else it says the same of all
    model.save_pretrained(folder)
    PeAudioProcessor(PeAudioFeatureExtractor(), t).save_pretrained(folder)


def pe_audio_video(folder):
    from transformers import (
        PeAudioFeatureExtractor,
        PeAudioVideoConfig,
        PeAudioVideoModel,
        PeAudioVideoProcessor,
        PeVideoVideoProcessor,
    )

    t = tokenizer()
    vision = {
        "architecture": "vit_pe_core_tiny_patch16_384",
        "num_classes": 8,
        "do_pooling": True,
        "initializer_range": 0.02,
        "model_args": {"img_size": 32, "depth": 1},
    }
    both = {**ENCODER, "audio_config": audio_options(), "video_config": {**ENCODER, "vision_config": vision}}
    torch.manual_seed(8)
    model = PeAudioVideoModel(PeAudioVideoConfig(text_config=text_options(t), audio_video_config=both))
    model.audio_video_logit_scale.data.fill_(3.0)
    model.save_pretrained(folder)
    plain = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    pictures = PeVideoVideoProcessor(size={"height": 32, "width": 32}, **plain)
    PeAudioVideoProcessor(PeAudioFeatureExtractor(), pictures, t).save_pretrained(folder)
