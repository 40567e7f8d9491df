"""Files that runs begin from: found, checked, fetched, or told in one line where to get them."""

import hashlib
from dataclasses import replace

import pytest
import timm
import torch

from sonomask.audio.vggish import VGGish
from sonomask.checkpoints import known
from sonomask.checkpoints.backbones import load_backbone
from sonomask.cli.main import main
from sonomask.errors import WeightsError
from sonomask.models.catalog import create_model
from sonomask.training.module import AVSModule

SMALL = {"backbone": "resnet18", "audio": "light", "width": 16}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of weights; torch's cache is empty and nothing can be fetched."""

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setenv("SONOMASK_WEIGHTS", str(tmp_path / "mine"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.mark.usefixtures("here")
def test_a_file_that_is_not_here_is_told_with_where_to_get_it():
    with pytest.raises(WeightsError, match=r"vggish-10086976.pth is not here.*no network.*https://.*mine"):
        known.fetch("vggish")


@pytest.mark.usefixtures("here")
def test_a_path_is_a_path():
    assert known.fetch("somewhere/else.pth") == "somewhere/else.pth"


def test_a_file_under_the_name_of_another_is_refused(here):
    (here / "vggish-10086976.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match="expected SHA-256 10086976"):
        known.fetch("vggish")


def test_a_run_begins_from_named_files_and_its_config_says_so(here, monkeypatch):
    torch.save(VGGish().state_dict(), here / "vggish-10086976.pth")
    digest = hashlib.sha256((here / "vggish-10086976.pth").read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(known.KNOWN, "vggish", replace(known.KNOWN["vggish"], digest=digest))
    module = AVSModule("avs_resnet50", {**SMALL, "audio": "vggish"}, audio_weights="vggish")
    own = torch.load(here / "vggish-10086976.pth", weights_only=True)
    assert torch.equal(module.model.audio.features[0].weight, own["features.0.weight"])
    assert "audio from" in module.model.config.about
    assert "vggish-10086976.pth" in module.model.config.about
    assert "random weights" in AVSModule("avs_resnet50", SMALL).model.config.about


def test_timms_own_weights_fill_the_backbone(monkeypatch):
    made = timm.create_model
    torch.manual_seed(1)
    theirs = made("resnet18", pretrained=False, features_only=True)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **o: theirs if pretrained else made(name, **o))
    model = create_model("avs_resnet50", **SMALL)
    load_backbone(model, "pretrained")
    assert torch.equal(model.backbone.net.conv1.weight, theirs.conv1.weight)


def test_timms_weights_that_cant_be_fetched_are_told_in_one_line(monkeypatch):
    made = timm.create_model

    def offline(name, pretrained, **options):
        if pretrained:
            raise OSError("We couldn't connect\nand so on")
        return made(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    model = create_model("avs_resnet50", **SMALL)
    with pytest.raises(
        ValueError, match=r"resnet18 are not in the cache.*connect\).*huggingface.co/timm/resnet18"
    ) as caught:
        load_backbone(model, "pretrained")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no backbone of timm"):
        load_backbone(create_model("lvs"), "pretrained")


def test_the_list_tells_what_is_here_and_what_is_missing(here, capsys):
    (here / "pvt_v2_b5.pth").write_bytes(b"")
    assert main(["weights"]) == 0
    printed = capsys.readouterr().out
    assert f"here: {here / 'pvt_v2_b5.pth'}" in printed
    assert (
        "missing; fetched when it is named, from https://download.pytorch.org/models/resnet50-19c8e357.pth" in printed
    )
    assert "Apache-2.0" in printed
