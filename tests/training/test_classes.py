"""Perfect predictions score 1, however many classes the model has."""

import pytest
import torch
import torch.nn.functional as F
from lightning import LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from sonomask.batches import Batch, Clip, Output
from sonomask.metrics import metrics_of
from sonomask.models.catalog import create_model
from sonomask.training.evaluate import evaluate
from sonomask.training.module import AVSModule

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of CPUs and workers
CLASSES = (1, 2, 5, 71)


def clips(classes, count=3, t=2, side=32):
    """Every class is seen; the picture is the truth itself."""
    labels = torch.arange(side * side).reshape(side, side) % max(classes, 2)
    masks = labels.expand(t, -1, -1).contiguous()
    there = torch.ones(t, dtype=torch.bool)
    images = masks[:, None].expand(-1, 3, -1, -1).float()
    return [Clip(images, torch.zeros(t, 1, 96, 64), masks, there, there, str(i)) for i in range(count)]


class Perfect(nn.Module):
    """Reads the truth from the picture."""

    def __init__(self, config):
        super().__init__()
        self.config = config

    def forward(self, images, **_):
        labels = images[:, :, 0].long()
        if not self.config.semantic:
            return Output(40.0 * labels[:, :, None] - 20)
        return Output(20.0 * F.one_hot(labels, self.config.num_classes).movedim(-1, 2))


class Data(LightningDataModule):
    eval_batch_size = 2

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def val_dataloader(self):
        return DataLoader(clips(self.classes), batch_size=2, collate_fn=Batch.collate)


def options(classes):
    return {"fusion": "none", "num_classes": classes}


@pytest.mark.parametrize("classes", CLASSES)
def test_perfect_predictions_score_1_in_training(classes, tmp_path):
    module = AVSModule("avs_mini", options(classes), compile=False)
    module.run = Perfect(module.model.config)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = Trainer(**quiet, use_distributed_sampler=False, default_root_dir=tmp_path)
    (scores,) = trainer.validate(module, Data(classes), verbose=False)
    assert scores["val/miou"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("classes", CLASSES)
def test_perfect_predictions_score_1_in_evaluate(classes):
    model = Perfect(create_model("avs_mini", **options(classes)).config)
    report = evaluate(model, Data(classes).val_dataloader())
    values = {row["metric"]: row["value"] for row in report.rows}
    assert values["miou"] == pytest.approx(1, abs=1e-4)
    assert values["fscore"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["avs_mini", "avsegformer_resnet50", "combo_resnet50", "vct_swin_b"])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_a_model_gives_as_many_logits_as_its_config_says(name, classes):
    small = {
        "avs_mini": {},
        "avsegformer_resnet50": {"backbone": "resnet18", "width": 32, "queries": 7, "depth": 1, "hidden": 16},
        "combo_resnet50": {"backbone": "resnet18", "maskige": False, "width": 32, "queries": 8, "depth": 1, "layers": 3},
        "vct_swin_b": {
            "backbone": "resnet18", "size": 64, "maskige": False, "width": 32, "queries": 8, "depth": 1, "layers": 4,
        },
    }[name]  # fmt: skip
    more = {} if name == "vct_swin_b" else {"audio": "light"}
    model = create_model(name, num_classes=classes, **small, **more).eval()
    images, logmel = torch.randn(1, 1, 3, 64, 64), torch.randn(1, 1, 1, 96, 64)
    with torch.inference_mode():
        assert model(images, logmel).logits.shape == (1, 1, classes, 64, 64)
    assert model.config.num_classes == classes
    labels = torch.randint(0, max(classes, 2), (1, 1, 64, 64))
    with torch.inference_mode():
        logits = model(images, logmel).logits
    scores = metrics_of(model.config, ["avsbench"])
    scores.update(logits if classes > 1 else logits[:, :, 0], labels, indices=torch.zeros(1, dtype=torch.long))
    assert 0 <= scores.table()[0]["value"] <= 1
