"""COMBO and VCT: what is theirs alone."""

import pytest
import torch

from sonomask.batches import Batch
from sonomask.models.catalog import create_model
from sonomask.models.nets.combo import mixed_sounds
from sonomask.models.nets.vct import Grouping
from sonomask.models.parts.mask_decoder import Predictions, class_maps, inside, logits_of

TINY = {"width": 32, "queries": 8, "depth": 1, "layers": 4, "audio_hidden": 32, "points": 64}
COMBO = {"backbone": "resnet18", "audio": "light", **TINY}
VCT = {"backbone": "resnet18", "size": 64, "drop_path": 0, **TINY}
SWIN = {**VCT, "backbone": "swin_tiny_patch4_window7_224"}


def build(name, **options):
    torch.manual_seed(0)
    return create_model(name, **options).eval()


def inputs(b=1, t=3):
    generator = torch.Generator().manual_seed(1)
    images, maskige = torch.randn(2, b, t, 3, 64, 64, generator=generator)
    return images, torch.randn(b, t, 1, 96, 64, generator=generator), maskige


def clips(classes=2, categories=("dog", "car")):
    images, logmel, maskige = inputs(b=2)
    masks = torch.zeros(2, 3, 64, 64, dtype=torch.long)
    masks[:, :, 10:40, 20:50] = classes - 1
    there = torch.ones(2, 3, dtype=torch.bool)
    return Batch(images, logmel, masks, there, there, ("a", "b"), categories, maskige)


@pytest.mark.parametrize(("name", "options"), [("combo_resnet50", COMBO), ("vct_swin_b", SWIN)])
def test_the_second_picture_is_asked_for_and_tells(name, options):
    model, (images, logmel, maskige) = build(name, **options), inputs()
    assert model.config.maskige
    with torch.no_grad():
        ours, other = (model(images, logmel, maskige=r).logits for r in (maskige, maskige.flip(-1)))
        with pytest.raises(ValueError, match="maskige for each frame"):
            model(images, logmel)
    assert not torch.allclose(ours, other)


def test_without_regions_half_of_the_encoders_is_not_built():
    alone, both = build("combo_resnet50", **COMBO, maskige=False), build("combo_resnet50", **COMBO)
    assert not alone.config.maskige
    assert not [n for n, _ in alone.named_parameters() if ".maskige." in n or ".gates." in n]
    assert sum(p.numel() for p in both.backbone.parameters()) > 2 * sum(p.numel() for p in alone.backbone.parameters())


def test_frames_get_their_own_sound_unless_it_is_mixed_as_the_reference_does():
    own, mixed = (build("combo_resnet50", **COMBO, audio_queries=how) for how in ("own", "mixed"))
    images, _, maskige = inputs()
    sound = torch.rand(1, 3, 128)
    other = sound.clone()
    other[:, 0] = torch.randn(128)
    for model, alike in ((own, True), (mixed, False)):
        with torch.no_grad():
            first, second = (model.decode(images, s, maskige=maskige).logits[:, 2] for s in (sound, other))
        assert torch.equal(first, second) is alike


def test_mixed_sounds_lie_as_a_repeat_and_a_reshape_lay_them():
    for frames, queries in ((5, 100), (10, 100), (3, 8)):
        sounds = torch.arange(frames)[:, None].repeat(1, queries).reshape(queries, frames).T
        assert torch.equal(mixed_sounds(frames, queries), sounds)


def test_mixed_sounds_are_those_of_the_frames_that_exist():
    model, (images, _, maskige) = build("combo_resnet50", **COMBO, audio_queries="mixed"), inputs(t=5)
    sound, valid = torch.rand(1, 5, 128), torch.tensor([[True, True, True, False, False]])
    with torch.no_grad():
        padded = model.decode(images, sound, valid, maskige).logits[:, :3]
        alone = model.decode(images[:, :3], sound[:, :3], maskige=maskige[:, :3]).logits
    torch.testing.assert_close(padded, alone, atol=1e-4, rtol=1e-4)


def test_unfused_pixels_hear_nothing():
    model = build("combo_resnet50", **COMBO, fusion="none")
    pixels, sound = torch.randn(2, 32, 4, 4), torch.randn(2, 128)
    seen, heard = model.fusion(pixels, sound)
    assert torch.equal(heard, sound)
    assert torch.equal(seen, pixels + model.fusion.level.weight[0][:, None, None])


def test_an_unknown_option_is_told():
    with pytest.raises(ValueError, match="`audio_queries`: expected own or mixed"):
        build("combo_resnet50", **COMBO, audio_queries="shared")


def test_a_mask_that_is_nowhere_closes_no_cell():
    masks = torch.full((1, 2, 8, 8), -1.0)
    masks[0, 1, :4] = 1
    assert inside(masks, (2, 2)).tolist() == [[[True] * 4, [True, True, False, False]]]


def test_two_maps_become_the_logit_whose_sigmoid_is_the_softmax_of_the_second():
    classes, masks = torch.randn(1, 6, 3), torch.randn(1, 6, 4, 4)
    maps = class_maps(classes, masks, (8, 8))
    said = Predictions((classes,), (masks,))
    torch.testing.assert_close(logits_of(said, (8, 8), semantic=False).sigmoid(), maps.softmax(1)[:, 1:])
    assert torch.equal(logits_of(said, (8, 8), semantic=True), maps)


def test_the_maps_are_sums_over_queries():
    classes, masks = torch.randn(1, 3, 4), torch.randn(1, 3, 2, 2)
    ours = class_maps(classes, masks, (2, 2))
    for k in range(3):
        whole = sum(classes[0, q].softmax(0)[k] * masks[0, q].sigmoid() for q in range(3))
        torch.testing.assert_close(ours[0, k], whole)


def test_vct_gives_each_pixel_to_the_query_that_fits_it_best():
    group = Grouping(8).eval()
    queries, x = torch.randn(1, 3, 8), torch.randn(1, 20, 8)
    with torch.no_grad():
        ours = group(queries, x)
        best = (group.q(queries) @ group.k(x).mT)[0].argmax(0)
        for q in range(3):
            mine = group.v(x)[0, best == q]
            torch.testing.assert_close(ours[0, q], group.out(mine.sum(0) / (len(mine) + 1)))


def test_vct_knows_its_own_size_only():
    model, (images, logmel, maskige) = build("vct_swin_b", **VCT), inputs()
    with pytest.raises(ValueError, match="VCT knows 64×64 pixels only"):
        model(images[..., :32], logmel, maskige=maskige[..., :32])


def test_vct_frames_do_not_know_each_other():
    model, (images, logmel, maskige) = build("vct_swin_b", **VCT), inputs()
    with torch.no_grad():
        whole = model(images, logmel, maskige=maskige).logits
        alone = model(images[:, 1:2], logmel[:, 1:2], maskige=maskige[:, 1:2]).logits
    torch.testing.assert_close(whole[:, 1:2], alone, atol=1e-4, rtol=1e-4)


def test_vct_prototypes_learn_the_category_or_the_labels_of_a_frame():
    named = build("vct_swin_b", **VCT, prototypes=2, categories=("car", "dog"))
    kinds = named._kinds(clips(), clips().masks.flatten(0, 1))
    assert kinds.tolist() == [[0, 1]] * 3 + [[1, 0]] * 3
    labelled = build("vct_swin_b", **VCT, prototypes=5, num_classes=5)
    assert labelled._kinds(clips(5), clips(5).masks.flatten(0, 1)).tolist() == [[1, 0, 0, 0, 1]] * 6
    with pytest.raises(ValueError, match="expected those of the model, got bird"):
        named._kinds(clips(categories=("bird", "dog")), clips().masks.flatten(0, 1))


def test_vct_with_prototypes_trains_them_and_their_scale():
    model, batch = build("vct_swin_b", **VCT, prototypes=2, categories=("car", "dog")).train(), clips()
    terms = model.objective(batch)
    torch.stack(list(terms.values())).sum().backward()
    assert {"class", "mask", "dice", "prototypes"} == set(terms)
    assert model.prototype_loss.scale.grad.abs() > 0
    assert model.visual_queries.prototypes.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "options"), [("combo_resnet50", COMBO), ("vct_swin_b", VCT)])
def test_a_few_steps_on_one_batch_find_its_masks(name, options):
    model, batch = build(name, **options).train(), clips()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = torch.stack(list(model.objective(batch).values())).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        found = model(batch.images, batch.logmel, maskige=batch.maskige).logits[:, :, 0] > 0
    truth = batch.masks > 0
    assert losses[-1] < 0.6 * losses[0]
    assert (found & truth).sum() / (found | truth).sum() > 0.7
