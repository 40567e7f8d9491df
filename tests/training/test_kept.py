"""What a frozen part makes of a picture is computed once, kept, and is the same when it is read."""

import copy

import pytest
import torch
from torch import nn

from sonomask.checkpoints.backbones import load_backbone
from sonomask.checkpoints.folder import load
from sonomask.cli.main import main
from sonomask.models.catalog import create_model
from sonomask.training.kept import Kept


class Eyes(nn.Module):
    """Two maps, one of them through a batch norm."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.BatchNorm2d(5))
        self.seen = []

    def forward(self, x):
        self.seen.append(len(x))
        return [self.fine(x), self.coarse(x)]


@pytest.fixture
def eyes():
    return Eyes().train()


def _close(found, wanted):
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=2e-3, atol=2e-3)


def test_each_picture_is_seen_once_whatever_the_batch_and_the_run(eyes, tmp_path):
    pictures = torch.randn(5, 3, 8, 8)
    wanted = copy.deepcopy(eyes).eval()(pictures)
    Kept.attach(eyes, tmp_path)
    with torch.autocast("cpu", torch.bfloat16):  # kept in float32's precision, rounded to half
        _close(eyes(pictures[[0, 1, 1, 0]]), [w[[0, 1, 1, 0]] for w in wanted])
    _close(eyes(pictures), wanted)
    again = copy.deepcopy(eyes)
    again.forward.release()
    Kept.attach(again, tmp_path)
    _close(again(pictures.flip(0)), [w.flip(0) for w in wanted])
    assert (eyes.seen, again.seen) == ([2, 3], [2, 3])
    assert eyes.training
    assert eyes.coarse[1].num_batches_tracked == 0
    assert not any(p.requires_grad for p in eyes.parameters())


def test_other_weights_are_another_store_and_a_single_tensor_stays_one(eyes, tmp_path):
    pictures = torch.randn(2, 3, 8, 8)
    for _ in range(2):
        eyes.fine.weight.data += 1
        wanted = copy.deepcopy(eyes).eval()(pictures)
        kept = Kept.attach(eyes, tmp_path)
        _close(eyes(pictures), wanted)
        kept.release()
    ear = nn.Linear(3, 7)
    wanted = ear(pictures[0, :, 0, :3])
    Kept.attach(ear, tmp_path)
    torch.testing.assert_close(ear(pictures[0, :, 0, :3]), wanted.detach(), rtol=2e-3, atol=2e-3)


def test_rows_that_a_killed_run_left_half_written_are_made_again(eyes, tmp_path):
    pictures = torch.randn(4, 3, 8, 8)
    wanted = copy.deepcopy(eyes).eval()(pictures)
    Kept.attach(eyes, tmp_path)
    eyes(pictures)
    rows = next(tmp_path.rglob("rows.bin"))
    rows.write_bytes(rows.read_bytes()[:-10])
    eyes.forward.release()
    Kept.attach(eyes, tmp_path)
    _close(eyes(pictures), wanted)
    assert eyes.seen == [4, 1]


def test_a_backbone_begins_as_the_reader_of_a_world_model():
    torch.manual_seed(0)
    world = load("world.real")
    model = create_model("avs_resnet50", backbone="tf_efficientnet_lite2", audio="light", width=8).eval()
    load_backbone(model, "world.real")
    picture = nn.functional.interpolate(torch.rand(1, 3, 4, 4), (128, 128), mode="bilinear")
    own, theirs = ([torch.tensor(v)[:, None, None] for v in (c.mean, c.std)] for c in (model.config, world.config))
    reader, x, wanted = world.readers[0], (picture - theirs[0]) / theirs[1], []
    with torch.inference_mode():
        x = reader.stem["norm"](reader.stem["conv"](x))
        net, ours = model.backbone.net, (picture - own[0]) / own[1]
        inner = (net.bn1(net.conv_stem(ours)) - x)[..., :-1, :-1].abs().max()  # the padded edge is another grey
        for number, stage in enumerate(reader.stages):
            x = stage(x)
            if number in (1, 2, 4, 6):
                wanted.append(x)
        found = model.backbone(ours)
    assert inner < 1e-4
    for one, two in zip(found, wanted, strict=True):
        assert (one - two).abs().mean() < 0.1 * two.abs().mean()


def test_only_a_world_model_lends_its_reader():
    model = create_model("avs_resnet50", backbone="tf_efficientnet_lite2", audio="light", width=8)
    with pytest.raises(ValueError, match="no reader of pictures"):
        load_backbone(model, "avs_mini.synthetic")


@pytest.mark.filterwarnings("ignore")
def test_training_on_kept_maps_leaves_the_backbone_as_it_began(tmp_path):
    options = "{backbone: tf_efficientnet_lite2, fusion: add, audio: tagger, sound_channels: 1024, width: 8}"
    words = ["--model.model", "avs_resnet50", "--model.options", options, "--model.backbone_weights", "world_duo.real",
             "--model.audio_weights", "world_duo.real", "--model.keep_maps", str(tmp_path / "kept"), "--data", "synthetic",
             "--data.train=4", "--data.val=2", "--data.size=64", "--data.batch_size=2", "--data.workers=0",
             "--trainer.accelerator=cpu", "--trainer.max_epochs=2", "--model.learning_rate=0.01",
             "--out", str(tmp_path / "run")]  # fmt: skip
    assert main(["train", *words]) == 0
    trained = load(str(tmp_path / "run" / "best"))
    began = create_model("avs_resnet50", backbone="tf_efficientnet_lite2", audio="light", width=8)
    load_backbone(began, "world_duo.real")
    for key, value in began.backbone.state_dict().items():
        assert torch.equal(value, trained.backbone.state_dict()[key]), key
    assert {p.name.split("-")[0] for p in (tmp_path / "kept").iterdir()} == {"backbone", "taggerencoder"}
