"""EASE as a network of its own: frames, queries, training, and the files that training starts from."""

import re

import pytest
import timm
import torch

from sonomask.batches import Batch
from sonomask.checkpoints.backbones import load_backbone
from sonomask.models.catalog import create_model
from sonomask.models.nets.ease import SoundTokens, annealing
from sonomask.structures import ModelConfig

SMALL = {
    "backbone": "pvt_v2_b0", "size": 64, "queries": 9, "last": 1, "fusions": 2, "audio": "light", "sound_width": 32,
    "clusters": 7, "points": 64,
}  # fmt: skip
HAS_DINOV3 = bool(timm.list_models("vit_base_patch16_dinov3_qkvb"))
needs_dinov3 = pytest.mark.skipif(not HAS_DINOV3, reason="timm before 1.0.20 has no DINOv3")


def build(**options):
    torch.manual_seed(0)
    return create_model("ease_pvt_v2_b5_224", **{**SMALL, **options})


def clips():
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(2, 3, 64, 64, dtype=torch.long)
    masks[:, :, 10:40, 20:50] = 1
    there = torch.ones(2, 3, dtype=torch.bool)
    images, logmel = (
        torch.randn(2, 3, 3, 64, 64, generator=generator),
        torch.randn(2, 3, 1, 96, 64, generator=generator),
    )
    return Batch(images, logmel, masks, there, there, ("a", "b"), ("dog", "car"))


def test_frames_do_not_know_each_other():
    model, batch = build().eval(), clips()
    with torch.no_grad():
        whole = model(batch.images, batch.logmel).logits
        alone = model(batch.images[:, 1:2], batch.logmel[:, 1:2]).logits
    torch.testing.assert_close(whole[:, 1:2], alone, atol=1e-4, rtol=1e-4)


def test_a_query_that_keeps_to_its_mask_looks_at_patches_inside_and_at_all_other_tokens():
    model = build()
    masks = torch.full((1, 9, 16, 16), -1.0)
    masks[0, 3, :8] = 1
    seen = model._seen(masks, 9, (4, 4), 1.0)
    assert seen[0, 3].tolist() == [True] * 9 + [True] * 8 + [False] * 8
    assert seen[0, 4].tolist() == [True] * 9 + [False] * 16
    assert seen[0, 9:].all()
    assert model._seen(masks, 9, (4, 4), 0.0).all()


def test_queries_are_freed_block_by_block_as_the_training_goes_on():
    model = build(last=2)
    for progress, kept in ((0.0, [1, 1]), (0.35, [0.5**0.9, 1]), (0.65, [0, 0.5**0.9]), (1.0, [0, 0])):
        model.progress = progress
        assert [model._kept(i) for i in range(2)] == pytest.approx(kept)
    assert annealing(6)[2] == (0.4, 0.5)  # as configured, with a gap


def test_when_all_are_free_the_masks_in_between_change_nothing():
    model, batch = build().eval(), clips()
    sound = torch.rand(2, 3, 128)
    with torch.no_grad():
        said = {}
        for progress in (0.0, 1.0):
            model.progress = progress
            said[progress] = model.predict(batch.images, sound)
        last = model.predict(batch.images, sound, every=False)
    assert len(last.masks) == 1
    assert len(said[1.0].masks) == 2
    torch.testing.assert_close(said[1.0].masks[-1], last.masks[0])
    assert not torch.allclose(said[0.0].masks[-1], last.masks[0])


def test_training_draws_noise_and_inference_none():
    tokens, sound = SoundTokens(128, 16, 7), torch.rand(2, 128)
    assert torch.equal(tokens.eval()(sound), tokens(sound))
    assert not torch.equal(tokens.train()(sound), tokens(sound))


def test_queries_and_patches_that_fill_no_square_are_refused():
    with pytest.raises(ValueError, match="want 9 queries"):
        build(queries=10)
    with pytest.raises(ValueError, match="knows 64×64 pixels only"):
        build().decode(torch.zeros(1, 1, 3, 96, 96), torch.zeros(1, 1, 128))


@needs_dinov3
def test_with_dinov3_any_size_of_whole_patches_will_do_and_gradients_reach_all():
    model = build(backbone="vit_small_patch16_dinov3_qkvb", last=2).train()
    terms = model.objective(clips())
    assert set(terms) == {"class", "mask", "dice"}
    torch.stack(list(terms.values())).sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None and not n.startswith("audio.")]
    assert silent == []
    assert model.decode(torch.zeros(1, 2, 3, 32, 48), torch.zeros(1, 2, 128)).logits.shape == (1, 2, 1, 32, 48)
    with pytest.raises(ValueError, match="that 16 divides, got 40×48"):
        model.decode(torch.zeros(1, 1, 3, 40, 48), torch.zeros(1, 1, 128))


def test_another_network_is_refused():
    with pytest.raises(ValueError, match="expected a pvt_v2"):
        build(backbone="vit_tiny_patch16_224")


def test_a_few_steps_on_one_batch_find_its_masks():
    model, batch = build().train(), clips()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for step in range(30):
        model.progress = step / 30
        optimizer.zero_grad()
        loss = torch.stack(list(model.objective(batch).values())).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        found = model.eval()(batch.images, batch.logmel).logits[:, :, 0] > 0
    truth = batch.masks > 0
    assert losses[-1] < 0.6 * losses[0]
    assert (found & truth).sum() / (found | truth).sum() > 0.7


def test_the_presets_say_what_they_want():
    for size in (224, 384):
        with torch.device("meta"):
            config = create_model(f"ease_pvt_v2_b5_{size}", audio=None).config
        assert isinstance(config, ModelConfig)
        assert config.image_size == (size, size)


@needs_dinov3
@pytest.mark.parametrize("names", ["Meta's", "transformers'", "timm's"])
def test_training_starts_from_a_dinov3_file_of_any_of_three_namings(names, tmp_path):
    model = build(backbone="vit_small_patch16_dinov3_qkvb", last=2)
    own = model.backbone.net.state_dict()
    state = {key: torch.randn_like(value) for key, value in own.items()}
    file = {}
    for key, value in state.items():
        if "_proj." in key and names != "transformers'":
            room, part, kind = key.split(".attn.")[0], key.split(".attn.")[1][0], key.rsplit(".", 1)[1]
            if part != "q":
                continue
            others = [state.get(f"{room}.attn.{p}_proj.{kind}", torch.zeros_like(value)) for p in "kv"]
            if names == "timm's" and kind == "bias":
                file |= {f"{room}.attn.q_bias": value, f"{room}.attn.v_bias": others[1]}
            else:
                file[f"{room}.attn.qkv.{kind}"] = torch.cat([value, *others])
        elif names == "timm's":
            file[key] = value
        elif names == "Meta's":
            renamed = re.sub(r"\.gamma_([12])$", r".ls\1.gamma", key)
            file[renamed.replace("reg_token", "storage_tokens")] = value
        else:
            for ours, theirs in (
                (r"^(cls_token)$", r"embeddings.\1"), (r"^reg_token$", "embeddings.register_tokens"),
                (r"^patch_embed\.proj", "embeddings.patch_embeddings"), (r"^blocks\.", "layer."),
                (r"\.attn\.proj\.", ".attention.o_proj."), (r"\.attn\.", ".attention."),
                (r"\.gamma_([12])$", r".layer_scale\1.lambda1"), (r"\.fc1\.", ".up_proj."), (r"\.fc2\.", ".down_proj."),
            ):  # fmt: skip
                key = re.sub(ours, theirs, key)
            file[key] = value
    file["mask_token"] = torch.zeros(1, 1, 384)
    torch.save(file, tmp_path / "dinov3.pth")
    load_backbone(model, tmp_path / "dinov3.pth")
    loaded = model.backbone.net.state_dict()
    assert [key for key in state if not torch.equal(loaded[key], state[key])] == []


def test_training_starts_from_a_whole_pvt_of_which_it_takes_what_it_has(tmp_path):
    torch.manual_seed(1)
    whole = timm.create_model("pvt_v2_b0").state_dict()
    torch.save(whole, tmp_path / "pvt.pth")
    model = build()
    load_backbone(model, tmp_path / "pvt.pth")
    loaded = model.backbone.net.state_dict()
    assert [key for key in loaded if not torch.equal(loaded[key], whole[key])] == []
    assert not [key for key in loaded if key.startswith(("stages.3", "stages.2.blocks.1.attn.sr"))]
