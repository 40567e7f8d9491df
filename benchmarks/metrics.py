"""The F-score's 255-pass loop beside ours, in one run.

uv run python benchmarks/metrics.py
"""

import torch
from model import race, row
from torch import Tensor

from sonomask.metrics.fscore import BETA2, THRESHOLDS, counts, curves


def loop(logits: Tensor, truth: Tensor) -> Tensor:
    """F at each threshold of each frame (N, 255), by comparing the picture with every threshold."""
    rows = []
    for frame, wanted in zip(logits.sigmoid(), truth.float()):
        curve = []
        for threshold in THRESHOLDS:
            marked = (frame >= threshold).float()
            true = (marked * wanted).sum()
            precision, recall = true / (marked.sum() + 1e-20), true / (wanted.sum() + 1e-20)
            curve.append((1 + BETA2) * precision * recall / (BETA2 * precision + recall))
        rows.append(torch.stack(curve).nan_to_num(0.0))
    return torch.stack(rows)


def contest(frames: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(frames, 224, 224, generator=generator)
    truth = torch.rand(frames, 224, 224, generator=generator) > 0.7
    assert torch.equal(loop(logits, truth), curves(*counts(logits, truth)))
    row(f"F curves of {frames} frames", *race(5, lambda: loop(logits, truth), lambda: curves(*counts(logits, truth))))


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| what | written out | ours | ratio | | | |\n|---|--:|--:|--:|--:|--:|--:|")
    for frames in (5, 20):
        contest(frames)


if __name__ == "__main__":
    main()
