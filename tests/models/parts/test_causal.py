"""A stream's frame gets what it would get as the last of a clip."""

import pytest
import torch

from sonomask.models.catalog import create_model
from sonomask.models.optimize import optimize

SMALL = {"backbone": "mobilenetv4_conv_small", "audio": "light", "width": 32, "dilations": (1, 3)}


def stirred(name="avs_mini", **options):
    """Batch norms that start at zero would hide what is behind them."""
    torch.manual_seed(0)
    model = create_model(name, **{**SMALL, **options}).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.weight, 1, 0.1)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
    return model


def stream(frames, size=64, dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(1, frames, 3, size, size, generator=generator, dtype=torch.float64)
    return images.to(dtype), torch.randn(1, frames, 1, 96, 64, generator=generator, dtype=torch.float64).to(dtype)


@torch.inference_mode()
def by_steps(model, images, logmel, rate=1, **options):
    past, logits = model.start(**options), []
    for i in range(images.shape[1]):
        output, past = model.step(images[:, i], logmel[:, i], past, time=i / rate)
        logits.append(output.logits)
    return torch.cat(logits, 1)


@torch.inference_mode()
def by_clips(model, images, logmel, seconds, rate=1):
    """For every frame the whole clip that ends there, its last frame."""
    logits = []
    for i in range(images.shape[1]):
        clip = list(range(i, -1, -rate))[:seconds][::-1]
        logits.append(model(images[:, clip], logmel[:, clip]).logits[:, -1:])
    return torch.cat(logits, 1)


@pytest.mark.parametrize("fusion", ["tpavi", "visual", "both", "add", "none"])
def test_every_step_equals_the_last_frame_of_the_clip_that_ends_there(fusion):
    model, clip = stirred(fusion=fusion).double(), stream(8)
    torch.testing.assert_close(by_steps(model, *clip), by_clips(model, *clip, seconds=5), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("seconds", "fold"), [(3, None), (100, None), (None, 1), (None, 2)])
def test_the_past_reaches_as_far_as_the_fusion_sees(seconds, fold):
    model, clip = stirred(fold=fold).double(), stream(7)
    steps = by_steps(model, *clip, **({} if seconds is None else {"seconds": seconds}))
    torch.testing.assert_close(steps, by_clips(model, *clip, seconds=seconds or fold), atol=1e-10, rtol=1e-10)


def test_the_past_changes_the_answer():
    model, clip = stirred().double(), stream(3)
    alone = by_steps(model, *clip, seconds=1)
    assert (by_steps(model, *clip)[:, 0] - alone[:, 0]).abs().max() == 0
    assert (by_steps(model, *clip)[:, 2] - alone[:, 2]).abs().max() > 1e-3


@pytest.mark.parametrize("rate", [2, 5])
def test_more_frames_a_second_see_frames_one_second_apart(rate):
    model, clip = stirred().double(), stream(3 * rate, size=32)
    steps, clips = by_steps(model, *clip, rate=rate, seconds=3), by_clips(model, *clip, seconds=3, rate=rate)
    full = slice(2 * rate, None)  # before, the nearest that there is stands in for a frame that was not
    torch.testing.assert_close(steps[:, full], clips[:, full], atol=1e-10, rtol=1e-10)


def test_what_is_too_old_is_forgotten():
    model, (images, logmel) = stirred().double(), stream(3)
    with torch.inference_mode():
        _, past = model.step(images[:, 0], logmel[:, 0], model.start(), time=0.0)
        _, past = model.step(images[:, 1], logmel[:, 1], past, time=1.0)
        late, _ = model.step(images[:, 2], logmel[:, 2], past, time=60.0)
        alone, _ = model.step(images[:, 2], logmel[:, 2], model.start())
    torch.testing.assert_close(late.logits, alone.logits)


def test_the_past_does_not_grow():
    model, (images, logmel) = stirred(fusion="both"), stream(1, size=32, dtype=torch.float32)
    past = model.start(2)
    with torch.inference_mode():
        for i in range(80):
            _, past = model.step(images[:, 0], logmel[:, 0], past, time=i / 25)
    assert len(past.kept) == 2 * 25 + 1
    assert past.kept[-1][1][0].key.shape == (1, 1, 16)


@pytest.mark.parametrize(("name", "options"), [
    ("avs_resnet50", {"backbone": "resnet50", "dilations": (3, 6, 12, 18)}),
    ("avs_lite", {"backbone": "tf_efficientnet_lite0", "width": 64, "dilations": (1, 3, 6)}),
    ("avss_resnet50", {"backbone": "resnet18"}),
    ("avs_mini", {"fusion": "both"}),
])  # fmt: skip
def test_optimised_models_step_as_they_go_forward(name, options):
    model = optimize(stirred(name, **options))
    clip, seconds = stream(3, size=32, dtype=torch.float32), {"avs_lite": 1}.get(name, 5)
    torch.testing.assert_close(by_steps(model, *clip), by_clips(model, *clip, seconds), atol=2e-4, rtol=1e-4)


def test_bf16_steps_drift_but_not_far():
    model, clip = stirred(), stream(3, dtype=torch.float32)
    exact, rough = by_steps(model, *clip), by_steps(optimize(model, torch.bfloat16), *clip)
    assert rough.dtype == torch.float32
    assert (exact - rough).abs().max() < 0.1 * exact.abs().max() + 0.05


def test_several_streams_step_together():
    model = stirred().double()
    (images, logmel), (others, sounds) = stream(2), stream(2, seed=2)
    both = by_steps(model, torch.cat([images, others]), torch.cat([logmel, sounds]))
    torch.testing.assert_close(both[1:], by_steps(model, others, sounds), atol=1e-10, rtol=1e-10)


def test_steps_refuse_training_mode_time_that_goes_back_and_missing_sound():
    model, (images, logmel) = stirred(), stream(1, dtype=torch.float32)
    _, past = model.step(images[:, 0], logmel[:, 0], model.start(), time=3.0)
    with pytest.raises(ValueError, match="time"):
        model.step(images[:, 0], logmel[:, 0], past, time=3.0)
    with pytest.raises(ValueError, match="sound"):
        model.step(images[:, 0], None, past)
    with pytest.raises(ValueError, match="training"):
        model.train().step(images[:, 0], logmel[:, 0], past)
    with pytest.raises(ValueError, match="seconds"):
        model.start(0)
