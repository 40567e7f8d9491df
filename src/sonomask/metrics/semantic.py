"""Mean IoU and F-score of the 71-class task (AVSS)."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

BETA2 = 0.3
MISTAKES = 20  # rows of the most frequent ones


def class_scores(
    labels: Int[Tensor, "N H W"], truth: Int[Tensor, "N H W"], classes: int
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K"], Bool[Tensor, "N K"]]:
    """IoU and F of each class in each frame, and whether the class is in the truth or the prediction there."""
    n = len(labels)
    offset = torch.arange(n, device=labels.device)[:, None] * classes
    mine, theirs = labels.flatten(1).long(), truth.flatten(1).long()

    def areas(values: Tensor, keep: Tensor | None = None) -> Tensor:
        places = (values + offset)[keep] if keep is not None else (values + offset).flatten()
        return torch.bincount(places, minlength=n * classes).reshape(n, classes).double()

    both, found, wanted = areas(mine, mine == theirs), areas(mine), areas(theirs)
    union = found + wanted - both
    precision, recall = both / found.clamp(min=1), both / wanted.clamp(min=1)
    score = (1 + BETA2) * precision * recall / (BETA2 * precision + recall).clamp(min=1e-12)
    return both / union.clamp(min=1), score, union > 0


class SemanticMetrics(Metric):
    """Figures of AVSS, with padded frames (as AVSBench) and without (as COMBO and VCT), from one pass.

    A class's figure is the mean over the frames in which it is seen or predicted; the figure of the data set is the mean
    over all classes, where one that never appears counts as 0. Beside it: `…_drop_last`, AVSBench's "without
    background", which by mistake leaves out the last class; `…_foreground`, which leaves out background, class 0; and
    `…_seen`, over the classes that appear.

    Args:
        classes: K, background included.
        names: Names of the classes, for `details`; their numbers unless given.
        details: Keep which class is taken for which, for rows `iou[NAME]` and `taken[NAME for NAME]`.
    """

    full_state_update = False
    iou: Tensor
    score: Tensor
    seen: Tensor

    confusion: Tensor

    def __init__(self, classes: int = 71, *, names: Sequence[str] = (), details: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes, self.details = classes, details
        self.names = tuple(names) or tuple(map(str, range(classes)))
        self.add_state("confusion", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("iou", "score", "seen"):
            self.add_state(name, torch.zeros(2, classes, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        logits: Float[Tensor, "B T K H W"],
        masks: Int[Tensor, "B T H W"],
        *,
        valid: Bool[Tensor, "B T"] | None = None,
        labelled: Bool[Tensor, "B T"] | None = None,
        indices: Int[Tensor, " B"] | None = None,  # noqa: ARG002 - sums need no order
        categories: Sequence[str] = (),  # noqa: ARG002
    ) -> None:
        """Add clips; padded frames have label 0 and logits 0.

        Raises:
            ValueError: A label is no class.
        """
        if masks.numel() and (masks.min() < 0 or masks.max() >= self.classes):
            raise ValueError(f"`masks`: expected labels 0 to {self.classes - 1}, got up to {masks.max().item()}.")
        labels = logits.argmax(2)
        frames = torch.ones_like(masks[..., 0, 0], dtype=torch.bool)
        real = frames if valid is None else valid.bool()
        padded = frames if labelled is None else labelled | ~real
        if self.details:
            pairs = masks[padded & real].flatten().long() * self.classes + labels[padded & real].flatten()
            self.confusion += torch.bincount(pairs, minlength=self.classes**2).reshape(self.classes, -1)
        for row, chosen in enumerate((padded, padded & real)):
            if not chosen.any():
                continue
            iou, score, seen = class_scores(labels[chosen], masks[chosen], self.classes)
            self.iou[row] += (iou * seen).sum(0)
            self.score[row] += (score * seen).sum(0)
            self.seen[row] += seen.sum(0)

    def compute(self) -> dict[str, float]:
        """Each figure by "protocol/metric"."""
        return {f"{row['protocol']}/{row['metric']}": row["value"] for row in self.table()}

    def table(self) -> list[dict[str, Any]]:
        """Rows of protocol, metric, value and the count of class-frames averaged."""
        rows = []
        for row, name in enumerate(("avss", "avss_unpadded")):
            seen = self.seen[row]
            for metric, total in (("miou", self.iou[row]), ("fscore", self.score[row])):
                values = total / seen.clamp(min=1)
                kinds = {"": values, "_drop_last": values[:-1], "_foreground": values[1:], "_seen": values[seen > 0]}
                for suffix, some in kinds.items():
                    value = some.mean().item() if some.numel() else 0.0
                    rows.append({"protocol": name, "metric": metric + suffix, "value": value, "count": int(seen.sum())})
        return rows + self._of_classes()

    def _of_classes(self) -> list[dict[str, Any]]:
        """Each class's IoU over the frames it is in, and the most frequent mistakes, as shares of the true class's pixels."""
        if not self.details:
            return []
        seen = self.seen[1]
        rows = [
            {"protocol": "classes", "metric": f"iou[{name}]", "value": float(total / count), "count": int(count)}
            for name, total, count in zip(self.names, self.iou[1], seen, strict=True)
            if count
        ]
        wrong = self.confusion - torch.diag(self.confusion.diagonal())
        for place in wrong.flatten().argsort(descending=True)[:MISTAKES].tolist():
            truth, found = divmod(place, self.classes)
            if wrong[truth, found]:
                share = float(wrong[truth, found] / self.confusion[truth].sum())
                name = f"taken[{self.names[truth]} for {self.names[found]}]"
                rows.append({"protocol": "classes", "metric": name, "value": share, "count": int(wrong[truth, found])})
        return rows
