"""What every net of the catalogue promises (found by its record), and what single ones do."""

from typing import get_args

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from sonomask.batches import Batch
from sonomask.checkpoints.backbones import NAMES
from sonomask.checkpoints.folder import load, save
from sonomask.checkpoints.places import BUILT_IN, CONFIG, built_in
from sonomask.checkpoints.published import readers
from sonomask.data.avsbench import SUBSETS
from sonomask.metrics import PROTOCOLS, SEMANTIC_PROTOCOLS
from sonomask.models.catalog import create_model, record_of, records
from sonomask.models.nets.pixels_that_sound import sparse_correlation
from sonomask.models.nets.sst import grid_mask, positions, strided_mask
from sonomask.models.nets.two_stage import components
from sonomask.models.parts.net import PartName
from sonomask.models.parts.towers import heat_logits
from sonomask.safe_reading.config import check_config, read_config

RECORDS = records()
PRESETS = {net: next(iter(record.presets)) for net, record in RECORDS.items()}
TRAINED = [net for net, record in RECORDS.items() if record.needs_weights]
OF_PRESET = {preset: record.small for record in RECORDS.values() for preset in record.presets}


def build(name, **more):
    torch.manual_seed(0)
    preset = PRESETS.get(name, name)
    return create_model(preset, **{**OF_PRESET[preset], **more})


def batch(b=2, t=3, size=64):
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(b, t, size, size, dtype=torch.long)
    masks[:, :, 10:40, 20:50] = 1
    return Batch(
        images=torch.randn(b, t, 3, size, size, generator=generator),
        logmel=torch.randn(b, t, 1, 96, 64, generator=generator),
        masks=masks,
        labelled=torch.ones(b, t, dtype=torch.bool),
        valid=torch.ones(b, t, dtype=torch.bool),
        names=("a", "b"),
        categories=("dog", "car"),
    )


def test_a_built_in_model_tells_the_licence_of_its_record():
    licences = {folder: licence for record in RECORDS.values() for folder, licence in record.licences.items()}
    for name in built_in():
        assert read_config(BUILT_IN / name / CONFIG).licence == licences[name]


@pytest.mark.parametrize("name", RECORDS)
def test_a_net_scores_every_pixel_and_zeroes_frames_that_do_not_exist(name):
    model, clips = build(name).eval(), batch()
    valid = torch.tensor([[True, True, False], [True, True, True]])
    with torch.inference_mode():
        logits = model(clips.images, clips.logmel if model.config.listens else None, valid).logits
    assert logits.shape == (2, 3, 1, 64, 64)
    assert torch.isfinite(logits).all()
    assert (logits[~valid] == 0).all()


@pytest.mark.parametrize("name", RECORDS)
def test_a_batch_of_two_equals_two_of_one_and_two_calls_are_equal(name):
    model, clips = build(name).eval(), batch()
    with torch.inference_mode():
        whole = model(clips.images, clips.logmel).logits
        again = model(clips.images, clips.logmel).logits
        one = torch.cat([model(clips.images[i : i + 1], clips.logmel[i : i + 1]).logits for i in range(2)])
    assert torch.equal(whole, again)
    torch.testing.assert_close(whole.sigmoid(), one.sigmoid(), atol=1e-3, rtol=0)


def sure_of_classes(model):
    """Or stage 2 of MSSL counts no pair."""
    torch.nn.init.uniform_(model.class_audio.weight, 0, 0.1)
    torch.nn.init.uniform_(model.class_image.weight, 0, 0.1)


def one_detection(model):
    """One thing is detected in every frame."""
    model.detect = lambda frames: ((frames[:, :1] > 0).float(), torch.ones(len(frames), 1))


PREPARED = {"mssl": ({"stage": 2}, sure_of_classes), "two_stage": ({}, one_detection)}
"""What the gradients of some nets need besides random weights."""


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_weight_that_is_trained_each_in_a_place_of_its_own(name):
    more, prepare = PREPARED.get(name, ({}, None))
    model, clips = build(name, **more).train(), batch(b=3)
    model.started()
    if prepare is not None:
        prepare(model)
    clips = Batch(**{**vars(clips), "categories": ("dog", "car", "cat")})
    terms = model.objective(clips)
    if terms is None:
        terms = {"own": model(clips.images, clips.logmel).logits.square().mean()}
    torch.stack(list(terms.values())).sum().backward()
    silent = [
        n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    unused = (f"{model.parts.audio}.",) if model.keeps_audio else ()  # its batch norms need no gradient when kept
    assert [n for n in silent if not n.startswith(unused)] == []
    places = [p.grad.data_ptr() for p in model.parameters() if p.grad is not None]
    assert len(set(places)) == len(places)  # or what is gathered over batches would add up in one place


@pytest.mark.parametrize("name", RECORDS)
def test_a_frame_alone_silence_and_half_precision_are_finite(name):
    model, clips = build(name).eval(), batch(b=1, t=1)
    silence = torch.full_like(clips.logmel, 0.01).log()
    with torch.inference_mode():
        assert torch.isfinite(model(clips.images, silence).logits).all()
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.isfinite(model(clips.images, clips.logmel).logits.float()).all()


@pytest.mark.parametrize("name", RECORDS)
def test_the_parts_that_a_net_declares_are_there(name):
    model = build(name)
    for part in get_args(PartName):
        found = model.part(part)
        assert (found is None) == (getattr(model.parts, part) is None)
        assert found is None or next(found.parameters(), None) is not None
    for place in model.recomputable:
        model.get_submodule(place).set_grad_checkpointing()
    assert model.pretrained_names in NAMES


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_tells_what_is_true(name):
    record = RECORDS[name]
    assert record.purpose
    assert record.paper
    assert set(record.readers) <= set(readers())
    assert bool(record.readers) <= bool(record.licences)
    protocols = PROTOCOLS | SEMANTIC_PROTOCOLS
    for figure in record.figures:
        assert figure.preset in record.presets
        assert figure.data in SUBSETS
        assert figure.protocol in protocols
        assert 0 < figure.miou < 100
        assert 0 < figure.fscore < 100
        assert figure.source
        assert "remember" not in figure.source
    for fields in (record.config, record.semantic):
        check_config(fields)


@pytest.mark.parametrize("name", RECORDS)
def test_an_unknown_option_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match="nonsense") as refused:
        build(name, nonsense=1)
    assert "\n" not in str(refused.value)


def test_every_built_in_model_has_a_licence_in_its_record():
    for name in built_in():
        config = read_config(BUILT_IN / name / CONFIG)
        assert name in record_of(config.name).licences


@pytest.mark.parametrize("name", ["igan_resnet50", "lgvt_swin_b_224"])
def test_a_model_and_its_adversary_never_train_one_another(name):
    model, clips = build(name).train(), batch(b=1)
    terms = model.objective(clips)
    theirs = {"judge", "energy"} & set(terms)
    for key, value in terms.items():
        model.zero_grad()
        value.backward(retain_graph=True)
        moved = {
            n.split(".")[0] == "adversary" for n, p in model.named_parameters() if p.grad is not None and p.grad.any()
        }
        assert moved == {key in theirs}, key


def test_mssl_tags_clips_that_have_no_category_as_it_did_when_training_began():
    model, clips = build("mssl").train(), batch()
    torch.nn.init.uniform_(model.class_audio.weight, 0, 0.2)
    model.started()
    nameless = Batch(**{**vars(clips), "categories": ("", "")})
    first = model._truth(nameless, clips.logmel[:, 0])
    torch.nn.init.zeros_(model.class_audio.weight)
    assert torch.equal(model._truth(nameless, clips.logmel[:, 0]), first)
    assert ((first == 0) | (first >= 0.72)).all()


def test_mssl_names_the_categories_that_it_lacks():
    with pytest.raises(ValueError, match="bird missing"):
        build("mssl")._truth(Batch(**{**vars(batch()), "categories": ("dog", "bird")}), batch().logmel[:, 0])


def test_a_still_clip_through_inflated_weights_gives_what_the_picture_gives():
    from torchvision.models import resnet50

    torch.manual_seed(0)
    flat = resnet50(weights=None).eval()
    model = create_model("3dc_resnet50", depthwise=False, width=8).eval()
    model.encoder.load_state_dict(model.encoder.inflated(flat.state_dict()))
    clip = torch.randn(1, 3, 1, 64, 64).expand(-1, -1, 9, -1, -1)
    with torch.no_grad():
        x = flat.maxpool(flat.bn1(flat.conv1(clip[:, :, 0])).relu())
        ours = model.encoder(clip)[0][:, :, 4]
        torch.testing.assert_close(ours, flat.layer1(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("mask", "steps"), [(grid_mask, 3), (strided_mask, 2)])
def test_sst_sees_every_cell_within_a_few_steps(mask, steps):
    for size in ((3, 4, 5), (5, 14, 14), (1, 7, 3)):
        sees = mask(*size).float()
        assert (torch.linalg.matrix_power(sees, steps) > 0).all()
        assert sees.diagonal().all()
        assert torch.equal(sees, sees.T)


def test_sst_can_attend_in_strides():
    clips = batch()
    grid, strided = build("sst_resnet50").eval(), build("sst_resnet50", attention="strided").eval()
    strided.load_state_dict(grid.state_dict())
    with torch.no_grad():
        assert not torch.equal(grid(clips.images, None).logits, strided(clips.images, None).logits)
    with pytest.raises(ValueError, match="attention"):
        build("sst_resnet50", attention="all")


def test_sst_uses_a_reference_mask_where_it_has_one():
    model, clips = build("sst_resnet50", affinity=True).eval(), batch()
    marked = torch.zeros(2, 3, 64, 64, dtype=torch.bool)
    marked[:, 0, :32] = True
    with torch.no_grad():
        assert not torch.equal(
            model(clips.images, None).logits, model(clips.images, None, reference=marked).logits
        )  # fmt: skip


def test_components_are_the_connected_parts():
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[1:6, 1:6] = mask[5:10, 6:12] = True  # they touch at a corner
    mask[14:19, 14:19] = True
    mask[0, 19] = True  # too small
    parts = components(mask)
    assert sorted(int(p.sum()) for p in parts) == [25, 55]


def test_two_stage_keeps_its_detections_on_disk(tmp_path):
    model, clips = build("two_stage_maskrcnn", cache=str(tmp_path)).eval(), batch()
    found = (torch.eye(64)[None], torch.tensor([0.9]))
    model._detect_one = lambda _: found
    first = model.detect(clips.images.flatten(0, 1))
    model._detect_one = None  # it must not look again
    again = model.detect(clips.images.flatten(0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_oracle_chooses_what_fits_the_truth():
    model, clips = build("two_stage_maskrcnn").eval(), batch(b=1, t=1)
    inside, beside = torch.zeros(64, 64), torch.zeros(64, 64)
    inside[10:40, 20:50], beside[45:60, 5:20] = 1, 1
    model._detect_one = lambda _: (torch.stack([beside, inside]), torch.tensor([0.9, 0.8]))
    logits = model.oracle(clips.images, clips.masks).logits
    assert torch.equal((logits[0, 0, 0] > 0).long(), clips.masks[0, 0])


def test_the_sparse_correlation_finds_the_cell_that_moves_with_the_sound():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 300, generator=generator)
    target = 2 * features[:, 17] + features[:, 200] + 0.1 * torch.randn(40, generator=generator)
    features, target = features - features.mean(0), target - target.mean()
    weight = sparse_correlation(features, target, 0.15)
    assert weight.argsort(descending=True)[:2].tolist() == [17, 200]
    assert (weight > 0).sum() < 40
    assert (sparse_correlation(features, -features[:, 0] * 0, 0.15) == 0).all()


def test_pixels_that_sound_marks_what_moves_as_the_sound_swells_and_nothing_in_silence():
    model = create_model("pixels_that_sound")
    t, generator = 50, torch.Generator().manual_seed(0)
    loud = (torch.arange(t) % 10 < 3).float()
    scene = torch.rand(3, 96, 96, generator=generator)
    frames = scene.repeat(t, 1, 1, 1) + 0.01 * torch.randn(t, 3, 96, 96, generator=generator)
    for i in range(t):
        across = int(20 + 3 * float(loud[: i + 1].sum()) % 20)  # moves when it sounds
        frames[i, :, 40:64, across : across + 24] = torch.tensor([1.0, 0.1, 0.1])[:, None, None]
        other = int(60 + 8 * torch.rand((), generator=generator))  # moves all the time
        frames[i, :, 70:90, other : other + 16] = torch.tensor([0.1, 0.1, 1.0])[:, None, None]
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.config.mean, model.config.std))
    logmel = (0.01 + loud * 0.5 + 0.05).log().view(1, t, 1, 1, 1).expand(-1, -1, 1, 96, 64)
    with torch.inference_mode():
        logits = model(((frames - mean) / std)[None], logmel).logits[0, :, 0]
        silent = model(((frames - mean) / std)[None], torch.full_like(logmel, 0.01).log()).logits
    marked = (logits > 0).float().mean(0)
    assert marked[40:64, 15:60].mean() > 5 * marked[66:94, 56:90].mean()
    assert marked[40:64, 15:60].mean() > 0.1
    assert (silent < 0).all()


@pytest.mark.parametrize("name", TRAINED)
def test_a_saved_model_comes_back_with_the_same_answers(name, tmp_path):
    model, clips = build(name).eval(), batch(b=1)
    save(model, tmp_path / "model")
    with torch.inference_mode():
        ours = model(clips.images, clips.logmel).logits
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "model")(clips.images, clips.logmel).logits, ours)


def test_pixels_that_sound_needs_no_weights():
    assert load("pixels_that_sound").config.dense


def test_what_sst_makes_while_it_is_traced_is_not_kept_for_later():
    for make in (lambda: grid_mask(2, 3, 3), lambda: strided_mask(2, 3, 3), lambda: positions(2, 3, 3, 12)):
        with FakeTensorMode():
            assert isinstance(make(), FakeTensor)
        assert not isinstance(make(), FakeTensor)


def test_a_heat_map_as_logits_hardly_depends_on_the_rounding_of_the_runtime():
    heat = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    logits = heat_logits(heat, (8, 8))
    assert torch.allclose(logits.sigmoid(), heat, atol=1.01e-4)
    assert (heat_logits((heat + 3e-7).clamp(max=1), (8, 8), lowest=False) - logits).abs().max() < 1e-3 * 18


def test_lgvt_answers_where_all_was_made_in_inference_mode():
    clips = batch(b=1, t=1)
    model = build("lgvt_swin_b_224").eval()
    with torch.inference_mode():
        wanted = model(clips.images, None).logits
        made = build("lgvt_swin_b_224").eval()
        torch.testing.assert_close(made(clips.images, None).logits, wanted)
