"""A training step against the paper's equations written out: loss, gradients of each part, weights after Adam.

Everything is computed in float64. TPAVI's batch norms start at 1, so that nothing hides behind a fusion that starts as the
identity; with the reference's own code in place of these equations, the same step agreed to 1e-7.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
import written_out

from sonomask.batches import Batch
from sonomask.training.module import AVSModule

SUBSETS = {"s4": "avs_resnet50", "ms3": "avs_resnet50", "avss": "avss_resnet50"}
MATCHING = {"s4": None, "ms3": "ms3", "avss": "avss"}
RATE = 1e-4


def module(subset, backbone="resnet18"):
    torch.manual_seed(0)
    options = {"backbone": backbone, "audio": "light", "width": 32, "backbone_options": {}}
    made = AVSModule(
        SUBSETS[subset], options | ({"num_classes": 71} if subset == "avss" else {}), learning_rate=RATE,
        matching=MATCHING[subset], matching_weight=0.5,
    )  # fmt: skip
    for fuse in made.model.fusion:
        torch.nn.init.ones_(fuse.bn.weight)
    made = made.double().train()
    made._freeze()
    return made


def batch(subset):
    """Two clips; of AVSS one with five frames of which one has a mask (v1s), and one with ten (v2)."""
    b, t, size = 2, 10 if subset == "avss" else 5, 64
    generator = torch.Generator().manual_seed(1)
    labelled, valid = torch.ones(b, t, dtype=torch.bool), torch.ones(b, t, dtype=torch.bool)
    if subset == "s4":
        labelled[:, 1:] = False
    if subset == "avss":
        labelled[0, 1:], valid[0, 5:] = False, False
    return Batch(
        images=torch.randn(b, t, 3, size, size, generator=generator).double(),
        logmel=torch.randn(b, t, 1, 96, 64, generator=generator).double(),
        masks=torch.randint(0, 71 if subset == "avss" else 2, (b, t, size, size), generator=generator),
        labelled=labelled,
        valid=valid,
    )


def plain_model(model, clips):
    """Logits, fused maps and aligned sounds, frame by frame (N first); TPAVI sees clips of five seconds."""
    b, t = clips.valid.shape
    real = clips.valid.flatten().double()[:, None]
    sound = (model.audio(clips.logmel.flatten(0, 1)) * real).reshape(b * t // 5, 5, -1)
    fused, heard = [], []
    maps = model.backbone(clips.images.flatten(0, 1))
    for dilated, fuse, x in zip(model.aspp, model.fusion, maps, strict=True):
        x = written_out.dilated_sum(dilated, x) * real[..., None, None]
        z, a = written_out.tpavi(fuse, x.reshape(b * t // 5, 5, *x.shape[1:]), sound)
        fused.append((z.flatten(0, 1) * real[..., None, None]).relu())
        heard.append(a.flatten(0, 1))
    logits = model.decoder(fused, size=tuple(clips.images.shape[-2:]))
    return logits * real[..., None, None], fused, heard


def plain_loss(subset, logits, fused, heard, clips):
    """Cross-entropy of the labelled frames, and half of L_AVM but for S4, whose official training has none."""
    chosen, truth = clips.labelled.flatten(), clips.masks.flatten(0, 1)
    if subset == "avss":
        each = -logits.log_softmax(1).gather(1, truth[:, None])[:, 0].mean((1, 2))
        loss = (each * chosen).sum() / chosen.sum()
    else:
        p, y = logits[chosen, 0].sigmoid(), truth[chosen].double()
        loss = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    if subset == "s4":
        return loss
    levels = []
    for maps, sounds in zip(fused, heard, strict=True):
        distances = []
        for x, a, scores in zip(maps, sounds, logits, strict=True):
            if subset == "avss":
                mask = F.adaptive_avg_pool2d((scores.argmax(0, keepdim=True) != 0).double(), x.shape[-2:])
            else:
                mask = F.adaptive_avg_pool2d(scores, x.shape[-2:]).sigmoid()
            seen = (x * mask).mean((1, 2)).log_softmax(0)
            said = a.softmax(0)
            distances.append((said * (said.log() - seen)).sum())
        levels.append((torch.stack(distances) * chosen).sum() / (chosen.sum() if subset == "avss" else 1))
    return loss + 0.5 * torch.stack(levels).mean()


def plain_adam(weight):
    """The first step of Adam."""
    m, v = 0.1 * weight.grad, 0.001 * weight.grad**2
    return weight.detach() - RATE * (m / 0.1) / ((v / 0.001).sqrt() + 1e-8)


@pytest.fixture(params=[(s, b) for s in SUBSETS for b in ("resnet18", "pvt_v2_b0")], ids="-".join, scope="module")
def step(request):
    """Ours and the plain form's loss, model with gradients, and weights after the step."""
    subset, backbone = request.param
    clips = batch(subset)
    ours = module(subset, backbone)
    theirs = copy.deepcopy(ours.model)
    wanted = plain_loss(subset, *plain_model(theirs, clips), clips)
    wanted.backward()
    loss = torch.stack(list(ours.terms(ours(clips), clips).values())).sum()
    loss.backward()
    after = {n: plain_adam(p) for n, p in theirs.named_parameters() if p.grad is not None}
    ours.configure_optimizers().step()
    return loss, wanted, ours.model, theirs, after


def test_the_loss_is_that_of_the_equations(step):
    loss, wanted, *_ = step
    torch.testing.assert_close(loss, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("part", ["backbone", "aspp", "fusion", "decoder"])
def test_the_gradients_of_each_part_point_the_same_way_and_are_as_long(step, part):
    *_, ours, theirs, _ = step

    def gradient(model):
        return torch.cat([p.grad.flatten() for p in getattr(model, part).parameters() if p.grad is not None])

    one, two = gradient(ours), gradient(theirs)
    assert two.norm() > 0
    torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-9 * two.abs().max().item())


def test_the_weights_after_adam_agree(step):
    *_, ours, _, after = step
    own = dict(ours.named_parameters())
    assert len(after) > 100
    for name, value in after.items():
        torch.testing.assert_close(own[name].detach(), value, rtol=0, atol=1e-9, msg=name)  # of a step of 1e-4


def test_the_batch_norms_have_seen_the_same(step):
    *_, ours, theirs, _ = step
    for name, value in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), value, rtol=1e-9, atol=1e-12, msg=name)
