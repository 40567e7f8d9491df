"""AVSegFormer on the reference's deterministic weights, and its promises beside those of every net."""

import json

import numpy as np
import pytest
import torch

from sonomask.checkpoints.convert import convert_state
from sonomask.models.catalog import create_model
from sonomask.models.nets.avsegformer import MapMLP, Mixer, objective

SMALL = {
    "backbone": "resnet18", "audio": "light", "width": 32, "queries": 7, "depth": 1, "hidden": 16, "dropout": 0.0
}  # fmt: skip


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(**more):
    torch.manual_seed(0)
    return create_model("avsegformer_resnet50", **{**SMALL, **more}).eval()


def converted(shared, fill, case):
    """The model of a case, made from the reference's keys as a user's file is."""
    keys = json.loads((shared / f"golden/zoo/avsegformer/keys_{case}.json").read_text())["keys"]
    return convert_state(fill({key: shape for key, (shape, _) in keys.items()})).eval()


@pytest.mark.parametrize(
    "case",
    [
        "pvt_s4_224", "res50_s4_224", "pvt_avss_224", "res50_avss_224",
        pytest.param("pvt_s4_512", marks=pytest.mark.slow), pytest.param("res50_s4_512", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_logits_and_feature_are_those_of_the_reference(case, shared, fill):
    name, size = case.rsplit("_", 1)
    about = json.loads((shared / f"golden/zoo/avsegformer/{case}.json").read_text())
    numbers = np.load(shared / f"golden/zoo/avsegformer/{case}.npz")
    count = about["logits"]["shape"][0]
    images, sound = randn(count, 3, int(size), int(size), seed=1234), randn(count, 128, seed=4321).relu()
    valid = torch.tensor([[True, True, True, True, False]]) if "avss" in case else None
    with torch.inference_mode():
        output = converted(shared, fill, name).decode(images[None], sound[None], valid)
    for key, ours in (("logits", output.logits[0]), ("mask_feature", output.fused[0][0])):
        taken = ours[tuple(slice(None, None, step) for step in about[key]["stride"])]
        torch.testing.assert_close(taken, torch.from_numpy(numbers[key]), atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("case", "shape"),
    [("s4_dice", (10, 1, 32, 32)), ("ms3_dice", (10, 1, 32, 32)), ("avss_label_10HW", (10, 71, 16, 16))],
)
def test_losses_and_their_gradients_are_those_of_the_reference(case, shape, shared):
    expected = json.loads((shared / "golden/zoo/avsegformer/losses.json").read_text())[case]
    seed = 1234
    feature = randn(10, 256, 8, 8, seed=seed + 1).requires_grad_()
    generator = torch.Generator().manual_seed(seed + (2 if shape[1] == 1 else 4))
    if shape[1] == 1:
        logits = randn(*shape, seed=seed).requires_grad_()
        truth = (torch.rand(10, 1, 32, 32, generator=generator) > 0.6).long()[:, 0]
        labelled = [0, 5] if case == "s4_dice" else list(range(10))
    else:
        logits = randn(*shape, seed=seed + 3).requires_grad_()
        truth = torch.randint(0, 71, (10, 16, 16), generator=generator)
        truth[:, :8] = 0  # rows of pixels
        labelled = [0, 5, 6, 7]
    terms = objective(logits[labelled], feature[labelled], truth[labelled])
    sum(terms.values()).backward()
    main, mix = (term.detach() for term in terms.values())
    assert float(main) == pytest.approx(expected["parts"]["iou_loss"], abs=1e-5)
    assert float(mix) == pytest.approx(expected["parts"]["mix_loss"], abs=1e-6)
    assert float(logits.grad.abs().sum()) == pytest.approx(expected["pred_grad_abs_sum"], rel=1e-4)
    assert float(feature.grad.abs().sum()) == pytest.approx(expected["feature_grad_abs_sum"], rel=1e-4)


def test_frames_one_by_one_give_what_all_together_give():
    images, sound = randn(2, 3, 3, 64, 64, seed=0), randn(2, 3, 1, 96, 64, seed=1)
    with torch.inference_mode():
        single, together = small()(images, sound), small(at_once=6)(images, sound)
    torch.testing.assert_close(single.logits, together.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(single.fused[0], together.fused[0], atol=1e-5, rtol=1e-5)


def test_a_single_frame_is_a_batch():
    with torch.inference_mode():
        assert small()(randn(1, 1, 3, 64, 64, seed=0), randn(1, 1, 1, 96, 64, seed=1)).logits.shape == (1, 1, 1, 64, 64)


def test_sides_need_not_be_multiples_of_thirty_two():
    with torch.inference_mode():
        assert small()(randn(1, 1, 3, 70, 90, seed=0), randn(1, 1, 1, 96, 64, seed=1)).logits.shape[-2:] == (70, 90)


def test_the_mlp_is_three_convolutions_over_the_maps_of_the_queries():
    torch.manual_seed(0)
    mlp, queries, feature = MapMLP(7, 12, 5), randn(2, 7, 5, seed=0), randn(2, 5, 60, 50, seed=1)
    x = torch.einsum("nqc,nchw->nqhw", queries, feature)
    expected = mlp.layers[2](mlp.layers[1](mlp.layers[0](x).relu()).relu())
    torch.testing.assert_close(mlp(queries, feature), expected, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():  # 3000 pixels, in two slices
        torch.testing.assert_close(mlp(queries, feature), expected, atol=1e-5, rtol=1e-5)


def test_the_mixer_is_an_attention_of_the_sound_over_the_pixels():
    torch.manual_seed(0)
    mixer, x, heard = Mixer(16, heads=4), randn(2, 16, 3, 5, seed=0), randn(2, 16, seed=1)
    tokens = x.flatten(2).mT
    key, value = mixer.kv_proj(tokens).unflatten(-1, (2, 4, 4)).permute(2, 0, 3, 1, 4)  # each N heads pixels d
    query = mixer.q_proj(heard).unflatten(-1, (4, 1, 4))
    found = torch.nn.functional.scaled_dot_product_attention(query, key, value).flatten(1)
    expected = x * mixer.proj(found).sigmoid()[..., None, None]
    torch.testing.assert_close(mixer(x, heard), expected, atol=1e-5, rtol=1e-5)


def test_without_sound_it_says_so():
    with pytest.raises(ValueError, match="listens"):
        small()(randn(1, 1, 3, 64, 64, seed=0), None)


@pytest.mark.parametrize(("options", "protocol", "size"), [({}, "batch2", 512), ({"num_classes": 71}, "avss", 224)])
def test_the_protocol_and_the_size_of_the_published_figure_travel_with_the_config(options, protocol, size):
    config = small(**options).config
    assert (config.protocol, config.image_size) == (protocol, (size, size))
