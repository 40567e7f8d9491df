"""An exported graph in the interface of a network of torch, for comparisons."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from sonomask.batches import Output
from sonomask.inference.loading import load_onnx


class OnnxNet(nn.Module):
    """Hands normalised clips to a graph and gives its logits."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.scorer = load_onnx(file, torch.get_num_threads())
        self.config = self.scorer.config

    def forward(self, images, logmel, valid=None, maskige=None) -> Output:
        """As a network's."""
        given = {"images": images, "logmel": logmel if self.config.listens else None, "maskige": maskige}
        fed = {name: value.contiguous().numpy() for name, value in given.items() if value is not None}
        logits = torch.from_numpy(self.scorer.session.run(["logits"], fed)[0])
        return Output(logits if valid is None else logits * valid[:, :, None, None, None])
