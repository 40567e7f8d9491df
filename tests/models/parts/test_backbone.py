"""Networks of timm by name: four levels, one, channels last, and sizes that a network refuses."""

from itertools import pairwise

import pytest
import torch

from sonomask.models.catalog import create_model
from sonomask.models.optimize import optimize
from sonomask.models.parts.backbone import Backbone

SMALL = {"audio": "light", "width": 16, "dilations": [1, 3]}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("swinv2_tiny_window8_256", (64, 96)),  # channels last, laid out for 256×256
        ("mambaout_femto", (64, 64)),  # channels last
        ("vit_tiny_patch16_224", (64, 96)),  # one level
        ("vit_small_patch14_dinov2", (56, 70)),  # one level at 1/14, laid out for 518×518
        ("xcit_nano_12_p8_224", (64, 64)),  # one level at 1/8
        ("resnet10t", (64, 64)),
    ],
)
def test_a_network_of_timm_gives_four_levels_and_a_model_that_learns(name, size):
    torch.manual_seed(0)
    model = create_model("avs_resnet50", backbone=name, **SMALL).train()
    maps = model.backbone(torch.randn(1, 3, *size))
    assert tuple(x.shape[1] for x in maps) == model.backbone.channels
    assert all(a.shape[-1] >= b.shape[-1] > 0 for a, b in pairwise(maps))
    logits = model(torch.randn(2, 2, 3, *size), torch.randn(2, 2, 1, 96, 64)).logits
    assert logits.shape == (2, 2, 1, *size)
    logits.square().mean().backward()
    silent = [n for n, p in model.backbone.named_parameters() if p.grad is None and "norm" not in n and "head" not in n]
    assert len(silent) < 8, silent  # class tokens and what lies behind the last map that is taken


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "mambaout_femto", "swinv2_tiny_window8_256"])
def test_the_optimised_form_is_the_same_function(name):
    torch.manual_seed(0)
    model = create_model("avs_resnet50", backbone=name, **SMALL).eval()
    images, sound = torch.randn(1, 2, 3, 224, 224), torch.randn(1, 2, 1, 96, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            optimize(model)(images, sound).logits, model(images, sound).logits, atol=2e-4, rtol=0
        )


def test_a_size_that_a_windowed_network_cannot_take_is_told_with_what_can():
    backbone = Backbone("maxvit_pico_rw_256")
    with pytest.raises(ValueError, match=r"no pictures of 224×224.*its own is 256×256.*img_size: \[224, 224\]"):
        backbone(torch.randn(1, 3, 224, 224))
    laid_out = Backbone("maxvit_pico_rw_256", {"img_size": [224, 224]})
    assert laid_out(torch.randn(1, 3, 224, 224))[-1].shape[-2:] == (7, 7)


def test_a_network_of_two_or_three_levels_is_refused():
    with pytest.raises(ValueError, match="4 feature levels, or one, 'levit_128s' has 3"):
        Backbone("levit_128s")
