"""One export of the smallest model, looked at from all sides; the whole catalogue is `slow`."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from sonomask.checkpoints.folder import load
from sonomask.data.drawn.world import scene
from sonomask.data.tree import write_video
from sonomask.errors import MediaError, WeightsError
from sonomask.export import write as exporter
from sonomask.export.graph import Frontend
from sonomask.export.write import export
from sonomask.inference.loading import load_onnx
from sonomask.inference.segmenter import Segmenter
from sonomask.models.catalog import create_model, list_models
from sonomask.safe_reading.onnx_graphs import open_session

pytestmark = pytest.mark.filterwarnings("ignore")

REFUSED = {
    "igan_resnet50": {"backbone": "resnet18"},
    "lgvt_swin_b_224": {"backbone": "swin_tiny_patch4_window7_224", "size": 64},
    "two_stage_maskrcnn": {"detector": "maskrcnn_resnet18_fpn", "backbone": "resnet18", "audio": "light"},
    "pixels_that_sound": {},
}
OPTIONS = {"mssl": {"labels": ["dog", "cat"]}, "vct": {"size": 64}, "ease": {"size": 64, "queries": 9}}
EXPORTED = [n for n in list_models() if not n.startswith(("igan", "lgvt", "two_stage", "pixels"))]


@pytest.fixture(scope="module")
def model():
    return load("avs_mini.synthetic")


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("export") / "mini", frontend="separate")


def test_batch_time_and_size_are_free_and_the_logits_agree(made):
    assert made.free == ("batch", "time", "size")
    assert made.difference < 1e-3 * made.span
    assert sorted(path.name for path in made.folder.iterdir()) == ["config.json", "frontend.onnx", "model.onnx"]


@pytest.mark.slow
def test_pixels_as_keys_leave_the_batch_free_too(tmp_path):
    assert "batch" in export(create_model("avs_mini", fusion="both").eval(), tmp_path / "both").free


def test_a_graph_tells_nothing_of_the_machine_that_wrote_it(made):
    assert b".py" not in (made.folder / "model.onnx").read_bytes()


def test_no_operator_is_a_custom_one(made):
    onnx = pytest.importorskip("onnx")
    for file in ("model.onnx", "frontend.onnx"):
        graph = onnx.load(made.folder / file)
        onnx.checker.check_model(graph)
        assert {node.domain for node in graph.graph.node} == {""}


def test_a_video_gets_the_masks_of_torch(made, model, tmp_path):
    write_video(tmp_path / "v.mp4", scene(3, size=(64, 96), seconds=2), 8)
    nets = (load_onnx(made.folder / "model.onnx"), model)
    ours, theirs = (list(Segmenter(net, rate=2)(tmp_path / "v.mp4")) for net in nets)
    assert [m.times for m in ours] == [m.times for m in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.probability, b.probability, atol=1e-3, rtol=0)


def test_the_front_end_beside_the_model_gives_log_mel_patches(made):
    waveform = torch.randn(1, 2, 15_600) / 4
    (found,) = open_session(made.folder / "frontend.onnx").run(None, {"waveform": waveform.numpy()})
    np.testing.assert_allclose(found, Frontend()(waveform).numpy(), atol=1e-4)


def test_what_disagrees_is_not_left_behind(model, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "_traced", lambda *_: None)
    monkeypatch.setattr(exporter, "_compare", lambda *_: (1.0, 2.0))
    with pytest.raises(WeightsError, match="differ by 1"):
        export(model, tmp_path / "bad")
    assert list(tmp_path.iterdir()) == []


def test_what_the_exporter_says_of_its_own_work_is_not_shown():
    optimiser = logging.getLogger("onnxscript.optimizer._constant_folding")
    with exporter._quiet():
        assert not optimiser.isEnabledFor(logging.WARNING)
    assert optimiser.isEnabledFor(logging.WARNING)


def test_an_existing_folder_is_kept(made, model):
    with pytest.raises(MediaError, match="exists"):
        export(model, made.folder)


def test_a_folder_that_is_no_model_is_never_replaced(model, tmp_path):
    (tmp_path / "thesis").mkdir()
    with pytest.raises(WeightsError, match="not a model"):
        export(model, tmp_path / "thesis", overwrite=True)


def test_the_config_beside_it_tells_what_is_free(made):
    config = json.loads((made.folder / "config.json").read_text())
    assert config["export"]["free"] == ["batch", "time", "size"]
    assert config["name"] == "avs_mini"


def test_a_graph_of_one_size_has_frames_stretched_to_it(tmp_path, monkeypatch):
    def written(_, file, *__):
        file.write_bytes(b"")
        return ("batch",), 0.0, 1.0

    monkeypatch.setattr(exporter, "_write_graph", written)
    net = create_model("avs_mini")
    net.config = replace(net.config, sizing="inside", image_size=(96, 96))
    config = json.loads((export(net, tmp_path / "x").folder / "config.json").read_text())
    assert (config["sizing"], config["image_size"]) == ("exact", [96, 96])


@pytest.mark.parametrize("name", REFUSED)
def test_a_net_that_no_graph_can_hold_is_refused_with_the_reason(name, tmp_path):
    net = create_model(name, **REFUSED[name])
    with pytest.raises(WeightsError, match="can't be exported: it"):
        export(net, tmp_path / "x")


def test_every_net_is_either_tried_or_refused():
    refused = {name.split("_")[0] for name in REFUSED}
    assert {name.split("_")[0] for name in list_models()} == refused | {name.split("_")[0] for name in EXPORTED}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "torch-export"])
@pytest.mark.parametrize("name", EXPORTED)
def test_every_other_net_of_the_catalogue_agrees_with_torch(name, kind, tmp_path):
    torch.manual_seed(0)
    net = create_model(name, **OPTIONS.get(name.split("_")[0], {}))
    assert not net.not_exported
    made = export(net, tmp_path / "x", format=kind, size=(64, 64))
    assert made.difference <= 1e-3 * made.span
    assert "batch" in made.free
