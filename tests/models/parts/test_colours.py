"""What an unsure map becomes where the picture has colours and edges."""

import pytest
import torch

from sonomask.models.catalog import create_model
from sonomask.models.parts.colours import SURE, settle


def scene(seed=0):
    """A red square of 48 on a noisy green ground, a map that is sure of the square's middle and of the far ground only."""
    torch.manual_seed(seed)
    images = torch.zeros(1, 3, 96, 128)
    images[:, 1] = 0.5
    images[:, :, 24:72, 40:88] = torch.tensor([0.7, -0.5, -0.5])[:, None, None]
    images += 0.05 * torch.randn_like(images)
    truth = torch.zeros(1, 1, 24, 32)
    truth[:, :, 6:18, 10:22] = 1
    logits = torch.full_like(truth, -3.0)
    logits[:, :, 3:16, 12:25] = -0.2  # unsure, and shifted
    logits[:, :, 9:13, 13:18] = 3.0
    logits[:, :, 13:20, 6:14] = 0.3
    return logits, images, truth


def iou(logits, truth):
    marked = logits > 0
    return ((marked & (truth > 0)).sum() / (marked | (truth > 0)).sum()).item()


def test_an_unsure_mask_takes_the_outline_of_the_thing_that_it_lies_on():
    logits, images, truth = scene()
    logits[truth > 0] = logits[truth > 0].clamp(min=-0.5)  # the ground may be sure, the thing is not
    assert iou(logits, truth) < 0.5
    assert iou(settle(logits, images), truth) > 0.9


def test_what_is_sure_stays_as_it_is():
    logits, images, _ = scene()
    sure = logits.abs() > SURE
    assert torch.equal(settle(logits, images)[sure], logits[sure])


@pytest.mark.parametrize("value", [-0.4, 0.4])
def test_a_picture_of_one_colour_changes_no_decision(value):
    logits, images, _ = scene()
    flat = torch.full_like(logits, value)
    assert torch.equal(settle(flat, torch.zeros_like(images)) > 0, flat > 0)


def test_pictures_of_a_batch_do_not_mix():
    logits, images, _ = scene()
    other, others, _ = scene(1)
    together = settle(torch.cat([logits, -other]), torch.cat([images, others.flip(-1)]))
    torch.testing.assert_close(together[:1], settle(logits, images))
    torch.testing.assert_close(together[1:], settle(-other, others.flip(-1)))


def test_gradients_reach_the_map():
    logits, images, _ = scene()
    logits.requires_grad_()
    settle(logits, images).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).any()


def test_a_model_with_colours_has_the_weights_of_one_without():
    plain, coloured = (create_model("world", colours=c) for c in (False, True))
    assert plain.state_dict().keys() == coloured.state_dict().keys()
