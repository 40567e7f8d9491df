"""All figures of binary masks from one pass over the predictions."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torchmetrics import Metric

from sonomask.metrics.boundary import boundary_fscore
from sonomask.metrics.fscore import COUNT, counts, curves
from sonomask.metrics.jaccard import jaccard
from sonomask.metrics.protocols import Protocol, protocol
from sonomask.metrics.timing import Delays, delays

NAME_BYTES = 48  # of a category, so that processes can exchange it as a tensor


class AVSMetrics(Metric):
    """IoU and F-score under any number of protocols, false marks in silence, categories, outlines and delays.

    Keeps a few kilobytes for each clip, sorted by its place in the data set, so that figures depend neither on batches nor on
    processes; a clip that is given twice counts once.

    Args:
        protocols: Names of `PROTOCOLS`.
        boundary: Whether to give the boundary F-score too.
        categories: Whether to give the IoU of each category.
        step: Seconds between frames.
    """

    full_state_update = False

    def __init__(
        self, protocols: Iterable[str] = ("avsbench",), *, boundary: bool = False, categories: bool = False,
        step: float = 1.0, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.protocols = {name: protocol(name) for name in protocols}
        self.boundary, self.categories, self.step = boundary, categories, step
        for name in (*_COLUMNS, *(f"iou@{t}" for t in self._thresholds())):
            self.add_state(_attribute(name), [], dist_reduce_fx="cat")

    def _thresholds(self) -> list[float]:
        return sorted({0.5, *(p.threshold for p in self.protocols.values())})

    def update(
        self,
        logits: Float[Tensor, "B T H W"],
        masks: Shaped[Tensor, "B T H W"],
        *,
        indices: Int[Tensor, " B"],
        labelled: Bool[Tensor, "B T"] | None = None,
        valid: Bool[Tensor, "B T"] | None = None,
        categories: Sequence[str] = (),
    ) -> None:
        """Add clips.

        Args:
            logits: Scores before the sigmoid.
            masks: 0 or not.
            indices: Place of each clip in the data set.
            labelled: Frames that have a truth; all unless given.
            valid: Frames that exist.
            categories: Categories of the clips, if known.

        Raises:
            ValueError: Shapes differ, or a logit is not finite.
        """
        if logits.shape != masks.shape or logits.ndim != 4:
            raise ValueError(
                f"Expected logits and masks (B, T, H, W), got {tuple(logits.shape)} and {tuple(masks.shape)}."
            )
        if not torch.isfinite(logits).all():
            raise ValueError("`logits`: expected finite scores, got NaN or infinity. Look for it in the input's sound.")
        b, t = logits.shape[:2]
        counted = torch.ones(b, t, dtype=torch.bool, device=logits.device)
        for part in (labelled, valid):
            counted = counted if part is None else counted & part
        scores, truth = logits.flatten(0, 1), masks.flatten(0, 1) > 0
        found = scores.sigmoid() > 0.5
        true, marked, positive = (x * counted.flatten().reshape(-1, *[1] * (x.ndim - 1)) for x in counts(scores, truth))
        sounding = (positive > 0).reshape(b, t)
        curve = curves(true, marked, positive).unflatten(0, (b, t))
        values: dict[str, Tensor] = {
            "index": indices, "counted": counted, "sounding": sounding,
            "found": found.flatten(1).float().mean(1).reshape(b, t),
            "curve": (curve * sounding[..., None]).sum(1), "best": curve.amax(2) * sounding,
            "true": true.reshape(b, t, COUNT).sum(1), "marked": marked.reshape(b, t, COUNT).sum(1),
            "positive": positive.reshape(b, t).sum(1),
            "boundary": boundary_fscore(found, truth).reshape(b, t) if self.boundary else torch.zeros(b, t),
            "category": _encode(categories, b),
        }  # fmt: skip
        for threshold in self._thresholds():
            parts = jaccard(scores, truth, threshold)
            values[f"iou@{threshold}"] = torch.stack([x.reshape(b, t) for x in parts], 2) * counted[..., None]
        for name, value in values.items():
            getattr(self, _attribute(name)).append(value.to(self.device))

    def compute(self) -> dict[str, float]:
        """Each figure by "protocol/metric": `miou`, `fscore`; and those that have no protocol under "frames/…"."""
        return {f"{row['protocol']}/{row['metric']}": row["value"] for row in self.table()}

    def table(self) -> list[dict[str, Any]]:
        """Rows of protocol, metric, value and the count of what was averaged.

        Raises:
            ValueError: Nothing was added.
        """
        columns = self._columns()
        rows = []
        for name, how in self.protocols.items():
            rows += [{"protocol": name, **row} for row in _score(how, columns)]
        rows += [{"protocol": "frames", **row} for row in self._of_frames(columns)]
        return rows

    def _columns(self) -> dict[str, Tensor]:
        names = (*_COLUMNS, *(f"iou@{t}" for t in self._thresholds()))
        held = {name: getattr(self, _attribute(name)) for name in names}
        if not len(held["index"]):
            raise ValueError("No clip was scored. Is the split empty?")
        whole = {name: torch.cat(value) if isinstance(value, list) else value for name, value in held.items()}
        order = whole["index"].argsort(stable=True)
        index = whole["index"][order]
        first = torch.ones_like(index, dtype=torch.bool)
        first[1:] = index[1:] != index[:-1]
        return {name: value[order[first]].cpu() for name, value in whole.items()}

    def _of_frames(self, columns: dict[str, Tensor]) -> list[dict[str, Any]]:
        silent = columns["counted"] & ~columns["sounding"]
        found = columns["found"]
        rows = [
            _row("silent_pixels_marked", found[silent]),
            _row("silent_frames_marked", (found[silent] > 0).float()),
            _row("sounding_frames_missed", (found[columns["sounding"]] == 0).float()),
        ]
        for onset in (True, False):
            rows += self._delays(columns, onset=onset)
        if self.boundary:
            rows.append(_row("boundary_fscore", columns["boundary"][columns["sounding"]]))
        if self.categories:
            names = [_decode(row) for row in columns["category"]]
            iou = columns["iou@0.5"][..., 0]
            for category in sorted(set(names)):
                mine = torch.tensor([name == category for name in names])[:, None] & columns["counted"]
                rows.append(_row(f"miou[{category}]", iou[mine]))
        return [row for row in rows if row["count"]]

    def _delays(self, columns: dict[str, Tensor], *, onset: bool) -> list[dict[str, Any]]:
        total = Delays()
        for found, truth, counted in zip(columns["found"] > 0, columns["sounding"], columns["counted"], strict=True):
            total += delays(found[counted], truth[counted], onset=onset, step=self.step)
        name = "onset" if onset else "offset"
        changes = len(total.seconds) + total.missed + total.standing
        share = torch.tensor([0.0] * (changes - total.missed) + [1.0] * total.missed)
        return [_row(f"{name}_delay_seconds", torch.tensor(total.seconds)), _row(f"{name}s_missed", share)]


_COLUMNS = (
    "index",
    "counted",
    "sounding",
    "found",
    "curve",
    "best",
    "true",
    "marked",
    "positive",
    "boundary",
    "category",
)


def _score(how: Protocol, columns: dict[str, Tensor]) -> list[dict[str, Any]]:
    """IoU and F-score under one protocol."""
    counted, sounding = columns["counted"], columns["sounding"].sum(1)
    iou, both, either = columns[f"iou@{how.threshold}"].unbind(2)
    if how.unit == "dataset":
        curve = curves(*(columns[name].sum(0, keepdim=True) for name in ("true", "marked", "positive")))
        total = both.double().sum() / either.double().sum().clamp(min=1)
        return [_row("miou", total[None], int(counted.sum())), _row("fscore", curve.max()[None], int(sounding.sum()))]
    if how.unit == "frame":
        return [_row("miou", iou[counted]), _row("fscore", columns["best"][counted])]
    size = how.batch if how.unit == "batch" else 1
    ious, scores = [], []
    for part in torch.arange(len(counted)).split(size):
        frames = counted[part]
        if frames.any():
            ious.append(iou[part][frames].mean())
        if sounding[part].sum():
            scores.append((columns["curve"][part].sum(0) / sounding[part].sum()).max())
        elif how.unit == "batch":
            scores.append(torch.tensor(0.0))
    return [_row("miou", _stack(ious), int(counted.sum())), _row("fscore", _stack(scores), int(sounding.sum()))]


def _row(metric: str, values: Tensor, count: int | None = None) -> dict[str, Any]:
    value = values.double().mean().item() if values.numel() else 0.0
    return {"metric": metric, "value": value, "count": values.numel() if count is None else count}


def _stack(values: list[Tensor]) -> Tensor:
    return torch.stack(values) if values else torch.zeros(0)


def _attribute(name: str) -> str:
    return "column_" + name.replace("@", "_").replace(".", "_")


def _encode(names: Sequence[str], count: int) -> Tensor:
    rows = [name.encode()[:NAME_BYTES].ljust(NAME_BYTES, b"\0") for name in names] or [bytes(NAME_BYTES)] * count
    return torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).reshape(count, NAME_BYTES)


def _decode(row: Tensor) -> str:
    return bytes(row.tolist()).rstrip(b"\0").decode(errors="ignore") or "(none)"
