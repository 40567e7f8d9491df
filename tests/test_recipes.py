"""The recipe of the built-in model, with a few steps of everything."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

import sonomask

RECIPE = Path(__file__).parents[1] / "recipes" / "real_world.py"


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["tpavi", "add", "none"])
def test_pictures_and_recordings_become_a_model_that_marks_a_video(fusion, small_tables, tmp_path):
    images, sounds = map(str, small_tables)
    command = [sys.executable, str(RECIPE), "--images", images, "--sounds", sounds, "--out", str(tmp_path)]
    small = ["--size", "64", "--frames", "160", "--steps", "2", "2", "2", "2"]
    subprocess.run([*command, "--fusion", fusion, *small], check=True, timeout=600)
    model = sonomask.load(str(tmp_path / f"model_{fusion}"))
    assert model.config.image_size == (64, 64)
    assert model.config.presence is not None
    assert model.config.listens == (fusion != "none")


def write_detector(folder, net):
    """A TensorFlow.js model, as far as the recipe reads it, of a network of timm with its batch norms folded in."""
    layers = [("conv_stem", "bn1", "Conv"), ("blocks.0.0.conv_dw", "blocks.0.0.bn1", "expanded_conv/depthwise")]
    layers.append(("blocks.0.0.conv_pw", "blocks.0.0.bn2", "expanded_conv/project"))
    blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(net.blocks) for j in range(len(stage))][1:]
    for number, block in enumerate(blocks, 1):
        for k, (conv, layer) in enumerate((("conv_pw", "expand"), ("conv_dw", "depthwise"), ("conv_pwl", "project"))):
            layers.append((f"{block}.{conv}", f"{block}.bn{k + 1}", f"expanded_conv_{number}/{layer}"))
    table, data = [], b""
    for conv, norm, layer in layers:
        weight, bn = net.get_submodule(conv).weight.detach(), net.get_submodule(norm)
        factor = (bn.weight / (bn.running_var + bn.eps).sqrt()).detach()
        parts = {"BatchNorm/batchnorm/sub": bn.bias.detach() - bn.running_mean * factor}
        if layer.endswith("depthwise"):
            parts |= {"depthwise_weights": weight.permute(2, 3, 0, 1), "BatchNorm/batchnorm/mul": factor}
        else:
            parts["Conv2D/merged_input"] = (weight * factor[:, None, None, None]).permute(2, 3, 1, 0)
        for part, value in parts.items():
            name = f"FeatureExtractor/MobilenetV2/{layer}/{part}"
            table.append({"name": name, "shape": list(value.shape), "dtype": "float32"})
            data += value.contiguous().numpy().tobytes()
    for i in range(2):
        (folder / f"shard{i}").write_bytes(data[i * 1000 :] if i else data[:1000])
    manifest = [{"paths": ["shard0", "shard1"], "weights": table}]
    (folder / "model.json").write_text(json.dumps({"weightsManifest": manifest}))
    return manifest


@pytest.fixture
def coco_backbone(monkeypatch):
    monkeypatch.syspath_prepend(RECIPE.parent)
    return importlib.import_module("coco_backbone")


@torch.no_grad()
def test_a_detectors_backbone_sees_the_same_under_our_names(coco_backbone, tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("mobilenetv2_100", pretrained=False, features_only=True, pad_type="same")
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values, low in ((module.weight, 0.5), (module.running_var, 0.5), (module.bias, -0.5)):
                values.uniform_(low, low + 1)
    write_detector(tmp_path, net)
    ours = timm.create_model("mobilenetv2_100", pretrained=False, features_only=True, pad_type="same")
    ours.load_state_dict(coco_backbone.rename(coco_backbone.read_model(tmp_path / "model.json")))
    picture = torch.rand(1, 3, 64, 64)
    theirs, own = picture * 2 - 1, (picture - coco_backbone.MEAN[:, None, None]) / coco_backbone.STD[:, None, None]
    for a, b in zip(net.eval()(theirs)[:2], ours.eval()(own)[:2], strict=True):  # edges are padded with another grey
        torch.testing.assert_close(a[..., 4:-4, 4:-4], b[..., 4:-4, 4:-4], rtol=1e-4, atol=1e-5)
    maps = torch.rand(1, 32, 64, 64)
    for stage, same in zip(net.blocks, ours.blocks, strict=True):
        torch.testing.assert_close(stage(maps), same(maps), rtol=1e-4, atol=1e-5)
        maps = stage(maps) / stage(maps).std()


@pytest.mark.parametrize("paths", [["../shard0", "shard1"], ["shard0"]])
def test_a_detector_whose_table_lies_is_refused(coco_backbone, paths, tmp_path):
    net = timm.create_model("mobilenetv2_100", pretrained=False, features_only=True, pad_type="same")
    manifest = write_detector(tmp_path, net)
    manifest[0]["paths"] = paths
    (tmp_path / "model.json").write_text(json.dumps({"weightsManifest": manifest}))
    with pytest.raises(ValueError, match="expected"):
        coco_backbone.read_model(tmp_path / "model.json")
