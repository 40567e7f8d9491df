"""What every model of the catalogue promises, and the parts against their plain forms."""

import pytest
import torch
import written_out

from sonomask.models.catalog import create_model, list_models
from sonomask.models.nets.avs import AVS
from sonomask.models.optimize import optimize
from sonomask.models.parts.aspp import DilatedSum
from sonomask.models.parts.tpavi import TPAVI

FUSIONS = ["tpavi", "visual", "both", "add", "none"]


@pytest.fixture
def mini():
    def build(**options) -> AVS:
        torch.manual_seed(0)
        return stir(create_model("avs_mini", **options))

    return build


def stir(model):
    """Batch norms that start at zero would hide what is behind them."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.weight, 1, 0.1)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
    return model


def clips(b=2, t=5, size=64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(b, t, 3, size, size, generator=generator), torch.randn(b, t, 1, 96, 64, generator=generator)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_gives_a_score_for_each_pixel(fusion, mini):
    with torch.inference_mode():
        output = mini(fusion=fusion).eval()(*clips())
    assert output.logits.shape == (2, 5, 1, 64, 64)
    assert torch.isfinite(output.logits).all()
    assert [x is not None for x in output.sound] == [fusion in ("tpavi", "both", "add")] * 4


@pytest.mark.parametrize("size", [64, 50])
def test_a_decoder_that_stops_at_the_finest_map_still_answers_at_full_size(size, mini):
    with torch.inference_mode():
        logits = mini(fusion="none", fine=False).eval()(*clips(b=1, t=1, size=size)).logits
    assert logits.shape == (1, 1, 1, size, size)


@pytest.mark.parametrize("fusion", ["tpavi", "add"])
def test_a_start_makes_fusion_heard_at_once(fusion):
    def change(start):
        torch.manual_seed(0)
        model = create_model("avs_mini", fusion=fusion, start=start).train()
        images, logmel = clips(b=1, t=2)
        with torch.no_grad():
            one, other = (model(images, x).logits for x in (logmel, -logmel))
        return (one - other).abs().max()

    assert change(10.0) > 2 * change(0.0)


def test_in_training_the_match_is_the_attention_to_a_pixels_own_second(mini):
    model, (images, logmel) = mini(fusion="tpavi").train(), clips()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    output = model(images, logmel)
    for match, attention in zip(output.match, model.attention(images, logmel), strict=True):
        own = attention.diagonal(dim1=1, dim2=4).permute(0, 3, 1, 2) * match[0].numel()
        torch.testing.assert_close(own, match.detach(), atol=1e-4, rtol=1e-4)
    assert model.eval()(images, logmel).match == ()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_reach_every_parameter(fusion, mini):
    model = mini(fusion=fusion).train()
    output = model(*clips(size=64))
    (output.logits.square().mean() + sum(f.square().mean() for f in output.fused)).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    if fusion in ("visual", "none"):
        silent = [n for n in silent if not n.startswith("audio.") and ".align." not in n]
    assert silent == []


@pytest.mark.parametrize("fusion", ["tpavi", "both", "add"])
def test_gradients_of_two_batches_add_up(fusion, mini):
    model, (images, logmel) = mini(fusion=fusion).eval(), clips()
    model(images, logmel).logits.square().mean().backward()
    once = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model(images, logmel).logits.square().mean().backward()
    for name, p in model.named_parameters():
        if name in once:
            torch.testing.assert_close(p.grad, 2 * once[name], msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("fusion", ["tpavi", "both", "add", "none"])
def test_a_batch_of_two_equals_two_batches_of_one(fusion, mini):
    model, (images, logmel) = mini(fusion=fusion).eval(), clips()
    with torch.inference_mode():
        whole = model(images, logmel).logits
        pieces = torch.cat([model(images[i : i + 1], logmel[i : i + 1]).logits for i in range(2)])
    torch.testing.assert_close(whole, pieces, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("t", "size"), [(1, 64), (3, 96), (12, 64)])
def test_time_and_size_are_free(t, size, mini):
    with torch.inference_mode():
        assert mini().eval()(*clips(1, t, size)).logits.shape == (1, t, 1, size, size)


def test_frames_that_do_not_exist_score_zero_and_change_nothing(mini):
    model, (images, logmel) = mini(fold=1).eval(), clips(1)
    valid = torch.tensor([[True, True, False, True, False]])
    with torch.inference_mode():
        whole, gated = model(images, logmel).logits, model(images, logmel, valid).logits
    assert (gated[0, ~valid[0]] == 0).all()
    torch.testing.assert_close(gated[0, valid[0]], whole[0, valid[0]], atol=1e-4, rtol=1e-4)


def test_without_sound_a_listening_model_says_what_is_missing(mini):
    with pytest.raises(ValueError, match="sound"):
        mini().eval()(clips()[0], None)


@pytest.mark.parametrize("shape", [(5, 3, 64, 64), (1, 5, 1, 64, 64)])
def test_images_of_another_shape_are_refused(shape, mini):
    with pytest.raises(ValueError, match="images"):
        mini()(torch.zeros(shape), clips(1)[1])


def test_the_catalogue_can_be_searched_and_refuses_strangers():
    assert set(list_models("avss_*")) == {"avss_resnet50", "avss_pvt_v2_b5"}
    with pytest.raises(ValueError, match=r"got 'avs_minni'\. Did you mean avs_mini"):
        create_model("avs_minni")
    with pytest.raises(ValueError, match="models --networks"):
        create_model("x")


@pytest.mark.parametrize("keys", ["tpavi", "visual", "both"])
@pytest.mark.parametrize("train", [False, True])
def test_tpavi_equals_the_whole_matrix_and_so_do_its_gradients(keys, train):
    torch.manual_seed(0)
    ours = stir(TPAVI(16, 8, keys=keys)).train(train)
    theirs = stir(TPAVI(16, 8, keys=keys)).train(train)
    theirs.load_state_dict(ours.state_dict())
    x, sound = torch.randn(2, 3, 16, 6, 5), torch.randn(2, 3, 8)
    weight = torch.randn(2, 3, 16, 6, 5)
    out, _ = ours(x, sound)
    plain, _ = written_out.tpavi(theirs, x, sound)
    torch.testing.assert_close(out, plain, atol=1e-5, rtol=1e-5)
    (out * weight).sum().backward()
    (plain * weight).sum().backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if a.grad is not None or b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, atol=1e-3, rtol=1e-3, msg=lambda m, name=name: f"{name}: {m}")


def test_attention_is_the_matrix_that_the_paper_draws():
    torch.manual_seed(0)
    block, x, sound = TPAVI(16, 8), torch.randn(1, 2, 16, 3, 4), torch.randn(1, 2, 8)
    with torch.inference_mode():
        aligned = block.align(sound)[0]  # T C
        theta = block.theta(x[0]).permute(0, 2, 3, 1)  # T h w C'
        phi = block.phi(aligned[..., None, None])[..., 0, 0]  # T C'
        torch.testing.assert_close(block.attention(x, sound)[0], theta @ phi.mT / 24, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (3, 20), (14, 14), (30, 30)])
def test_taps_that_only_meet_padding_can_be_left_out(size):
    torch.manual_seed(0)
    block, x = DilatedSum(4, 6), torch.randn(2, 4, *size)
    with torch.inference_mode():
        torch.testing.assert_close(block(x), written_out.dilated_sum(block, x), atol=1e-5, rtol=1e-5)


def test_a_long_clip_costs_memory_in_proportion():
    block, x, sound = TPAVI(32, 8).eval(), torch.randn(1, 300, 32, 14, 14), torch.randn(1, 300, 8)
    with torch.inference_mode():  # the matrix would be 58,800² floats: 14 GB
        assert block(x, sound)[0].shape == x.shape


@pytest.mark.parametrize("fusion", ["tpavi", "add", "none"])
def test_optimising_keeps_the_scores(fusion, mini):
    model, inputs = mini(fusion=fusion).eval(), clips(1)
    with torch.inference_mode():
        torch.testing.assert_close(optimize(model)(*inputs).logits, model(*inputs).logits, atol=2e-4, rtol=0)


def test_bf16_drifts_but_not_far(mini):
    model, inputs = mini().eval(), clips(1)
    with torch.inference_mode():
        exact, rough = model(*inputs).logits, optimize(model, dtype=torch.bfloat16)(*inputs).logits.float()
    assert (exact - rough).abs().max() < 0.1 * exact.abs().max() + 0.05
