"""Metrics of the user's own beside the protocols: any class of torchmetrics, named by its path."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric

from sonomask.batches import Batch
from sonomask.checkpoints.own import find

__all__ = ["OwnMetrics"]

PROTOCOL = "own"


class OwnMetrics(nn.ModuleList):
    """Metrics that are given the logits and the batch of every step.

    Each is a `torchmetrics.Metric` whose `update(logits, batch)` takes the logits (B T K H W) at the size of the truth and the
    `sonomask.batches.Batch`, and whose `compute()` gives a number, or numbers by name.

    Args:
        paths: "package.module.Class" of each; the folder of work is searched too.

    Raises:
        ValueError: There is no such class, it can't be made without arguments, or it is no metric.
    """

    def __init__(self, paths: Sequence[str] = ()) -> None:
        super().__init__()
        self.paths = list(paths)
        for path in self.paths:
            try:
                made = find(path)()
            except (ImportError, AttributeError, TypeError, ValueError) as error:
                raise ValueError(
                    f"`metrics`: {path!r} can't be made ({error}). Give the path of a class that needs no arguments, as "
                    "mine.Boundary."
                ) from error
            if not isinstance(made, Metric):
                raise ValueError(  # noqa: TRY004 - a word of the command line is wrong
                    f"`metrics`: expected {path!r} to be a `torchmetrics.Metric`, got {type(made).__name__}."
                )
            self.append(made)

    def _metrics(self) -> list[Any]:
        return list(self)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Give all of them a batch."""
        for metric in self._metrics():
            metric.update(logits, batch)

    def compute(self) -> dict[str, float]:
        """The figures of all by name, which are forgotten then."""
        found: dict[str, float] = {}
        for path, metric in zip(self.paths, self._metrics(), strict=True):
            name, value = path.rpartition(".")[2], metric.compute()
            values = value if isinstance(value, Mapping) else {"": value}
            found |= {f"{name}/{key}" if key else name: float(number) for key, number in values.items()}
            metric.reset()
        return found

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Rows of a report."""
        return [
            {"protocol": PROTOCOL, "metric": name, "value": value, "count": count}
            for name, value in self.compute().items()
        ]
