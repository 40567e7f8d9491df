"""Options that act on a part of the model, on models that have it and on those that don't."""

import pytest
import torch

from sonomask.cli.main import main
from sonomask.models.catalog import records
from sonomask.training.module import PART_OPTIONS, AVSModule

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning misses a trainer
OPTIONS = {"backbone_rate": 0.1, "freeze_backbone": 1, "audio_rate": 0.5, "adversary_rate": 0.4}


@pytest.mark.parametrize("option", PART_OPTIONS)
@pytest.mark.parametrize("net", records())
def test_an_option_for_a_part_works_or_is_refused_by_name(net, option):
    record = records()[net]
    preset = next(iter(record.presets))
    part, _ = PART_OPTIONS[option]
    if getattr(record.build(config=_config(preset), **{**record.presets[preset], **record.small}).parts, part) is None:
        with pytest.raises(ValueError, match=f"`{option}`: {preset} has no part '{part}'"):
            AVSModule(preset, dict(record.small), **{option: OPTIONS[option]})
        return
    module = AVSModule(preset, dict(record.small), freeze_audio=False, **{option: OPTIONS[option]})
    optimizer = module.configure_optimizers()
    own = {id(p) for p in module.model.part(part).parameters()}
    grouped = [group for group in optimizer.param_groups if {id(p) for p in group["params"]} <= own]
    if option.endswith("_rate"):
        assert [group["lr"] for group in grouped] == [OPTIONS[option] * 1e-4]


def _config(preset):
    from sonomask.models.catalog import create_model, record_of

    return create_model(preset, **record_of(preset).small).config


@pytest.mark.parametrize("name", ["lvs", "sst_resnet50", "3dc_resnet50", "pixels_that_sound"])
def test_a_backbone_that_can_not_be_recomputed_is_told_so(name):
    with pytest.raises(ValueError, match=f"`checkpoint_backbone`: {name} has no network"):
        AVSModule(name, checkpoint_backbone=True)


def test_the_gradients_of_a_frozen_backbone_are_taken_away():
    module = AVSModule("lvs", freeze_backbone=1)
    for weight in module.model.parameters():
        weight.grad = torch.ones_like(weight)
    module.on_before_optimizer_step(None)
    assert all(p.grad is None for p in module.model.image.parameters())
    assert all(p.grad is not None for p in module.model.audio.parameters())


def test_the_command_answers_with_one_line(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("""
model: {model: avs_mini, adversary_rate: 0.5}
data:
  class_path: sonomask.data.datamodule.SyntheticDataModule
  init_args: {train: 2, val: 2, test: 2, size: 32, workers: 0}
""")
    assert main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "`adversary_rate`: avs_mini has no part 'adversary'" in error
    assert "Traceback" not in error
