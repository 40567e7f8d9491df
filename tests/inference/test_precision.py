"""What a lower precision costs: masks of the built-in models against float32's, TF32 acted out on a CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from cuda_autocast import Tf32

import sonomask
from sonomask.checkpoints.folder import load
from sonomask.checkpoints.places import built_in
from sonomask.inference.torch_scorer import chosen_precision

CLIP = str(Path(__file__).parents[2] / "examples" / "three_things.mp4")


def masks(name, **options):
    model = load(name, "cpu")
    segmenter = sonomask.Segmenter(
        model, device="cpu", rate=1.0, end=6, min_area=0.0, **options
    )  # as the model says it
    return [m.mask for m in segmenter(CLIP)]


def likeness(some, others):
    unions = [(a | b).sum() for a, b in zip(some, others, strict=True)]
    return np.mean([(a & b).sum() / u if u else 1.0 for a, b, u in zip(some, others, unions, strict=True)])


def test_the_simulation_keeps_ten_bits_and_rounds_to_the_nearest():
    one = torch.ones(1, 1)
    with Tf32():
        assert (one + 2**-11.5) @ one == 1  # less than half a step of 2^-10
        assert torch.matmul(one + 2**-10, one) == 1 + 2**-10
        assert torch.matmul(one + 1.5 * 2**-11, one) == 1 + 2**-10
        assert torch.add(one, 2**-20) == 1 + 2**-20


@pytest.mark.parametrize("name", built_in())
def test_what_auto_takes_on_cuda_keeps_the_masks(name):
    exact = masks(name, precision="float32")
    assert any(mask.any() for mask in exact)
    assert likeness(exact, masks(name, precision="bf16")) > 0.95  # near, and not what auto takes
    if chosen_precision("auto", torch.device("cuda"), recurrent=load(name, "cpu").config.recurrent) == "tf32":
        with Tf32():
            assert likeness(exact, masks(name, precision="float32")) >= 0.999
