"""The systems that the paper compares, on the references' deterministic weights, against their numbers."""

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sonomask.losses import masks as losses
from sonomask.models.nets.conv3d import MEAN, Conv3D
from sonomask.models.nets.igan import IGAN
from sonomask.models.nets.lgvt import LGVT
from sonomask.models.nets.lvs import LVS
from sonomask.models.nets.mssl import MSSL, distances, pair_loss
from sonomask.models.nets.sst import grid_mask
from sonomask.structures import ModelConfig

CONFIG = ModelConfig("test")
TOWER = r"\b(?:conv1_a|conv1)\b"


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def filled(shared, fill):
    """Fill a model with the golden weights, whose values depend on the reference's names."""

    def build(model, file, *renames, drop=r"$^"):
        keys = json.loads((shared / "golden" / "baselines" / file).read_text())
        values, found = fill({k: v for k, v in keys.items() if not re.search(drop, k)}), {}
        for key, value in values.items():
            name = key
            for pattern, replacement in renames:
                name = re.sub(pattern, replacement, name)
            found[name] = value
        own = model.state_dict()
        missing = {k for k in own if not k.endswith(("num_batches_tracked", "relative_position_index", "attn_mask"))}
        assert missing <= set(found), sorted(missing - set(found))[:5]
        model.load_state_dict({k: found[k].reshape(own[k].shape) if k in missing else own[k] for k in own})
        return model.eval()

    return build


@pytest.fixture
def numbers(shared):
    def read(file):
        with np.load(shared / "golden" / "baselines" / file) as data:
            return {k: torch.from_numpy(data[k]) if data[k].ndim else float(data[k]) for k in data.files}

    return read


def close(ours, theirs):
    theirs = torch.as_tensor(theirs, dtype=ours.dtype)
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max() + 1e-6


def truth_of(packed, *shape):
    return torch.from_numpy(np.unpackbits(packed.numpy())[: int(np.prod(shape))].reshape(shape)).float()


def towers(image, audio):
    return (
        (rf"^{audio}\.conv1_a\.", "audio.net.conv1."),
        (rf"^{audio}\.(?!net)", "audio.net."),
        (rf"^{image}\.", "image.net."),
    )


LVS_DROP = r"imgnet\.conv1_a|audnet\.conv1\.|conv1_flow|\.fc\."
MSSL_DROP = r"vision\.conv1_a|audio\.conv1\.|\.fc\."


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_lvs_has_the_maps_and_tri_map_logits_of_the_reference(mode, filled, numbers):
    model = filled(LVS(config=CONFIG), "LVS/keys.json", *towers("imgnet", "audnet"), drop=LVS_DROP)
    theirs = numbers("LVS/golden.npz" if mode == "eval" else "LVS/golden_trainmode.npz")
    with torch.no_grad():
        s = model.train(mode == "train").similarity(randn(3, 3, 224, 224, seed=1234), randn(3, 1, 257, 66, seed=1235))
    logits, positive, negative = model.contrast(s)
    close(s.diagonal().permute(2, 0, 1)[:, None], theirs["heatmap"])
    others = ~F.pad(torch.eye(3, dtype=torch.bool), (1, 1))
    close(logits[others], theirs["logits"][others])
    assert logits[~others].isneginf().all()  # the reference: about -750
    if mode == "eval":
        close(positive, theirs["pos"])
        close(negative, 1 - theirs["neg"] if (negative - theirs["neg"]).abs().max() > 0.1 else theirs["neg"])
        close(F.cross_entropy(logits, torch.zeros(3, dtype=torch.long)), theirs["loss"])


MSSL_NAMES = (
    *towers("vision", "audio"), (r"^class_a", "class_audio"), (r"^class_v", "class_image"),
    (r"^project_a", "project_audio"), (r"^project_v", "project_image"), (r"^avc", "pair"),
)  # fmt: skip


@pytest.fixture
def mssl(filled):
    model = MSSL(config=CONFIG)
    return filled(model, "MSSL/keys_stage2.json", *MSSL_NAMES, drop=MSSL_DROP)


def test_mssl_has_both_stages_of_the_reference(mssl, numbers):
    first, second = numbers("MSSL/stage1.npz"), numbers("MSSL/stage2.npz")
    with torch.no_grad():
        seen, heard = mssl.image(randn(3, 3, 256, 256, seed=1234)), mssl.audio(randn(3, 1, 51, 64, seed=1235))
        pair, a, v = mssl.stage_one(seen, heard)
        fine_a = mssl.fine(heard, mssl.class_audio, mssl.project_audio)
        fine_v = mssl.fine(seen, mssl.class_image, mssl.project_image)
    for ours, name in ((pair, "avc"), (a, "cls_a"), (v, "cls_v")):
        theirs = first[name]
        close(ours.sigmoid() if theirs.min() >= 0 and theirs.max() <= 1 and ours.min() < 0 else ours, theirs)
    close(fine_a, second["fine_a"])
    close(fine_v, second["fine_v"])
    near, far, counts = distances(fine_a, fine_v, a.sigmoid(), v.sigmoid())
    assert torch.equal(counts.bool(), second["eff"].bool())
    close(near, second["pos_dis"])
    close(far, second["neg_dis"])
    terms = [pair_loss(pair)] + [
        F.binary_cross_entropy_with_logits(x, first[f"label_{n}"].float()) for x, n in ((a, "a"), (v, "v"))
    ]
    close(torch.stack(terms), first["losses_avc_a_v"])


def test_mssl_locates_as_the_reference(mssl, numbers):
    theirs = numbers("MSSL/location.npz")
    with torch.no_grad():
        seen, heard = mssl.image(randn(3, 3, 256, 256, seed=1234)), mssl.audio(randn(3, 1, 51, 64, seed=1235))
        s = mssl.similarity(seen, heard)
        located = mssl.locate(s, heard, (256, 256))
    close(s, theirs["similarity"])
    located = located / located.amax((1, 2, 3), keepdim=True)
    close(located[:, 0, ::4, ::4], theirs["location"])


CSN_NAMES = (
    (r"^decoders\.0\.GC\.conv_l1", "context.left.0"), (r"^decoders\.0\.GC\.conv_l2", "context.left.1"),
    (r"^decoders\.0\.GC\.conv_r1", "context.right.0"), (r"^decoders\.0\.GC\.conv_r2", "context.right.1"),
    (r"^decoders\.0\.convG(\d)", r"context.conv\1"), (r"^decoders\.0\.RF4", "refine.0"),
    (r"^decoders\.0\.RF3", "refine.1"), (r"^decoders\.0\.RF2", "refine.2"), (r"^decoders\.0\.pred2", "head"),
    (r"convFS1", "skip"), (r"convFS2", "skip1"), (r"convFS3", "skip2"), (r"convMM(\d)", r"merge\1"),
)  # fmt: skip


@pytest.mark.parametrize("depth", [50, 152])
def test_3dc_has_the_logits_of_the_reference(depth, filled, numbers):
    name = f"resnet{depth}_csn_ir"
    model = filled(Conv3D(config=CONFIG, depth=depth, channels=2), f"3DC/keys_{name}.json", *CSN_NAMES,
                   drop=r"conv1_p|pred[345]|encoder\.(mean|std)")  # fmt: skip
    mean = torch.tensor(MEAN)[:, None, None, None]
    short = torch.rand(1, 3, 5, 112, 112, generator=torch.Generator().manual_seed(1234)) - mean
    long = torch.rand(1, 3, 8, 64, 96, generator=torch.Generator().manual_seed(4321)) - mean
    theirs = numbers(f"3DC/{name}.npz")
    with torch.no_grad():
        maps = model.encoder(short)
        close(maps[3][:, ::8], theirs["r5"])
        close(maps[0][:, ::32, :, ::2, ::2], theirs["r2"])
        close(model.scores(short)[..., ::2, ::2], theirs["logits"])
        close(model.scores(long), numbers(f"3DC/{name}_t8.npz")["logits"])


def test_grid_attention_is_that_of_the_kernel(numbers):
    theirs = numbers("SST/gridattn.npz")
    q, k, v = (
        randn(2, 8, 5, 7, 6, seed=1234 + i).flatten(2).transpose(1, 2)[:, None].requires_grad_() for i in range(3)
    )
    t, h, w = 5, 7, 6
    mask = grid_mask(t, h, w)
    assert (mask.sum(1) == h + w + t - 2).all()
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    close(out[:, 0].transpose(1, 2).unflatten(2, (t, h, w)), theirs["out"])
    ours = (q @ k.transpose(-1, -2)).masked_fill(~mask, -torch.inf)
    ours = ours[:, 0].sort(-1, descending=True).values[..., : h + w + t - 2]
    close(ours, theirs["scores"].flatten(2).transpose(1, 2).sort(-1, descending=True).values)


IGAN_NAMES = (
    (r"^backbone\.", "backbone.net."), (r"^noise_model\.noise_conv", "inject.mix"),
    (r"^neck\.conv_list\.(\d)\.reduce\.(\d)\.conv", lambda m: f"neck.{m[1]}.{2 * int(m[2])}"),
    (r"^neck\.conv_list\.(\d)\.reduce\.(\d)\.norm", lambda m: f"neck.{m[1]}.{2 * int(m[2]) + 1}"),
    (r"^decoder\.rcab_conv\.body\.3\.conv_du", "attend.gate"), (r"^decoder\.rcab_conv", "attend"),
    (r"^decoder\.aspp_head\.conv2d_list\.(\d)\.conv", r"head.convs.\1"),
)  # fmt: skip
JUDGE_NAMES = ((r"^conv(\d)", lambda m: f"convs.{int(m[1]) - 1}"), (r"^bn(\d)", lambda m: f"norms.{int(m[1]) - 1}"))


def test_igan_has_the_numbers_of_the_reference(filled, numbers):
    theirs, model = numbers("iGAN/golden_r50.npz"), IGAN(config=CONFIG)
    judge, model.adversary = model.adversary, torch.nn.Identity()
    filled(model, "iGAN/keys_generator_r50.json", *IGAN_NAMES)
    filled(judge, "iGAN/keys_discriminator.json", *JUDGE_NAMES)
    images, z = randn(2, 3, 224, 224, seed=1234), randn(2, 18, seed=1235).requires_grad_()
    with torch.no_grad():
        levels = model.encode(images)
        close(levels[3], theirs["neck3"])
        close(levels[0][:, ::4, ::4, ::4], theirs["neck0"])
        close(model.decode(levels, None, (224, 224))[..., ::2, ::2], theirs["pred_no_z"])
    pred = model.decode(levels, z, (224, 224))
    close(pred[..., ::2, ::2], theirs["pred"])
    close(judge(images, pred.sigmoid()), theirs["dis"])
    truth = truth_of(theirs["gt_packed"], 2, 1, 224, 224)
    close(losses.structure(pred, truth, per_pixel=False, smooth=True), theirs["structure_loss_official"])
    close(losses.structure(pred, truth, smooth=True), theirs["structure_loss_pixelweighted"])
    error = F.mse_loss(pred.sigmoid(), truth) / (2 * 0.3**2)
    close(error, theirs["llh"])
    close(torch.autograd.grad(error, z)[0], theirs["grad_z"])


LGVT_NAMES = (
    (r"^encoder\.layers\.(\d)\.downsample", lambda m: f"encoder.layers.{int(m[1]) + 1}.downsample"),
    (r"^conv(\d)\.conv_bn", lambda m: f"reduce.{int(m[1]) - 1}"), (r"^noise_conv", "inject.mix"),
    (r"^sal_dec\.racb54321", "attend.3"), (r"^sal_dec\.racb5432", "attend.2"), (r"^sal_dec\.racb543", "attend.1"),
    (r"^sal_dec\.racb54", "attend.0"), (r"body\.3\.conv_du", "gate"), (r"^sal_dec\.clc_layer", "widen.3"),
    (r"^sal_dec\.conv5432\b", "widen.2"), (r"^sal_dec\.conv543\b", "widen.1"), (r"^sal_dec\.conv54\b", "widen.0"),
    (r"conv2d_list", "convs"),
)  # fmt: skip
LGVT_DROP = r"racb_5|^layer5|conv_depth|conv54321|^encoder\.norm|relative_position_index|attn_mask"


def lgvt(filled, keys, backbone):
    model = LGVT(config=CONFIG, backbone=backbone)
    energy, model.adversary = model.adversary, torch.nn.Identity()
    filled(model, f"LGVT/{keys}.json", *LGVT_NAMES, drop=LGVT_DROP)
    model.adversary = filled(energy, "LGVT/keys_ebm.json", (r"^ebm\.", ""))
    return model


def test_lgvt_at_384_has_the_numbers_of_the_reference(filled, numbers):
    theirs, model = numbers("LGVT/golden.npz"), lgvt(filled, "keys_generator", "swin_base_patch4_window12_384")
    with torch.no_grad():
        levels = model.encode(randn(1, 3, 384, 384, seed=1234))
    z = randn(1, 32, 1, 1, seed=1235).flatten(1).requires_grad_()
    pred = model.decode(levels, z, (384, 384))
    close(pred[..., ::2, ::2], theirs["pred"])
    truth = truth_of(theirs["gt_packed"], 1, 1, 384, 384)
    close(losses.structure(pred, truth, per_pixel=False, smooth=True), theirs["structure_loss_official"])
    error = F.mse_loss(pred.sigmoid(), truth) / (2 * 0.3**2)
    close(error, theirs["llh"])
    close(torch.autograd.grad(error, z)[0].flatten(), theirs["posterior_grad_z"].flatten())
    three = randn(3, 32, 1, 1, seed=1237).flatten(1).requires_grad_()
    close(model.energy(three).flatten(), theirs["energy"].flatten())
    close(torch.autograd.grad(model.energy(three).sum(), three)[0].flatten(), theirs["ebm_grad_z"].flatten())


def test_lgvt_at_224_walks_both_chains_of_the_reference(filled, numbers):
    theirs, model = (
        numbers("LGVT/golden_224w7.npz"),
        lgvt(filled, "keys_generator_224w7", "swin_base_patch4_window7_224"),
    )
    z = randn(2, 32, 1, 1, seed=1235).flatten(1)
    truth = truth_of(theirs["gt_packed"], 2, 1, 224, 224)
    with torch.inference_mode(mode=False), torch.no_grad():
        levels = model.encode(randn(2, 3, 224, 224, seed=1234))
        close(model.decode(levels, z, (224, 224))[..., ::2, ::2], theirs["pred"])
    prior = model.prior(z, noise=0)
    posterior = model.posterior(z, levels, truth, noise=0, likelihood=F.mse_loss)
    close(prior.flatten(), theirs["z_prior_noisefree"].flatten())
    close(posterior.flatten(), theirs["z_post_noisefree"].flatten())
    close(model.energy(posterior).flatten(), theirs["en_pos"].flatten())
    close(model.energy(prior).flatten(), theirs["en_neg"].flatten())
    with torch.no_grad():
        close(model.decode(levels, posterior, (224, 224))[..., ::4, ::4], theirs["pred_post"])
