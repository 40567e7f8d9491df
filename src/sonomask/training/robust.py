"""Does a model listen? The clips of a test once more, with sounds that belong to nothing in sight.

Source: "AVSBench-Robust" (arXiv 2502.00358): silence, noise, and the sound of a clip of another category from the whole split.
Its pairs are not published, so figures are comparable where they were drawn by one seed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from sonomask.batches import Batch

__all__ = ["SOUNDS", "Offscreen", "Share", "Sound", "alter", "g_scores"]

Sound = Literal["own", "silence", "noise", "offscreen"]
SOUNDS: tuple[Sound, ...] = ("own", "silence", "noise", "offscreen")


class Offscreen:
    """For each clip of a data set the sound of another one, of another category.

    Args:
        batches: All of them, in order; gone through once.
        seed: Seed of the pairing: each clip draws among all sounds that are foreign to it.

    Raises:
        ValueError: A clip has no foreign one.

    Attributes:
        settings: Description of how pairs were drawn, for a report.
    """

    def __init__(self, batches: Iterable[Batch], seed: int) -> None:
        sounds: list[Tensor] = []
        names: list[str] = []
        categories: list[str] = []
        for batch in batches:
            count = len(batch.logmel)
            sounds += list(batch.logmel.half().cpu())  # the log-mel spans -5 to 10; 16 bits are precise to 0.004 there
            names += batch.names or [""] * count
            categories += batch.categories or [""] * count
        known = all(categories)
        settings = "of another category" if known else "of another clip, since the categories are not known"
        self.settings = f"{settings}, drawn from {len(sounds)} clips by seed {seed}"
        self.sounds, self.partners = sounds, []
        for i, category in enumerate(categories):
            foreign = [j for j in range(len(sounds)) if (categories[j] != category if known else j != i)]
            if not foreign:
                raise ValueError(
                    f"`sounds`: offscreen wants a clip of another category than {category or names[i]!r}, and there is none. "
                    "Leave it out, or take a larger split."
                )
            draw = torch.Generator().manual_seed(seed * 1_000_003 + i)
            self.partners.append(foreign[int(torch.randint(len(foreign), (), generator=draw))])
        self.at = 0

    def next(self, count: int) -> Tensor:
        """The sounds for the next so many clips, beginning anew after the last."""
        chosen = [self.sounds[self.partners[(self.at + k) % len(self.partners)]] for k in range(count)]
        self.at = (self.at + count) % len(self.partners)
        return torch.stack(chosen).float()


def alter(batch: Batch, sound: Sound, generator: torch.Generator, offscreen: Offscreen | None = None) -> Batch:
    """The batch with another sound and, unless it is its own, empty truth.

    Raises:
        ValueError: There is no such sound.
    """
    if sound == "own":
        return batch
    makers: dict[str, Callable[[], Tensor]] = {
        "silence": lambda: torch.full_like(batch.logmel, torch.log(torch.tensor(0.01)).item()),
        "noise": lambda: torch.randn(batch.logmel.shape, generator=generator) * 0.8 + 1.0,  # white noise at -20 dB
    }
    if offscreen is not None:
        makers["offscreen"] = lambda: offscreen.next(len(batch.logmel))
    if sound not in makers:
        raise ValueError(f"`sounds`: expected {', '.join(SOUNDS)}, got {sound!r}.")
    values = {**vars(batch), "logmel": makers[sound](), "masks": torch.zeros_like(batch.masks)}
    return Batch(**values)


class Share:
    """Mean share of a frame's pixels that are marked."""

    def __init__(self) -> None:
        self.total, self.frames = 0.0, 0

    def update(self, logits: Tensor, counted: Tensor) -> None:
        """Add frames, of which those that are counted are."""
        found = logits[:, :, 0] > 0 if logits.shape[2] == 1 else logits.argmax(2) > 0
        self.total += float(found.flatten(2).double().mean(2)[counted].sum())
        self.frames += int(counted.sum())

    def value(self) -> float:
        """0 to 1; 0 where nothing was added."""
        return self.total / max(1, self.frames)


def g_scores(against: Mapping[str, tuple[Sequence[Mapping[str, Any]], float]]) -> list[dict[str, Any]]:
    """Rows of protocol "robust": G-mIoU, G-F and the false-positive rate of each foreign sound, and their means.

    G = 2ab / (a + b) of a, the figure with the clips' own sounds, and b = 1 - the same figure with a foreign one against the
    *own* truth: who marks the dog whatever is heard has b near 0. The rate is the mean share of a frame's pixels that are
    marked. The authors don't say how they pool the three sounds; here each has its rows, and "mean" is their mean.

    Args:
        against: Figures by sound against the clips' own truth, of which the first mIoU and F are taken, and the share marked.

    Returns:
        Nothing if there are not both, own and foreign sounds.
    """
    if "own" not in against or len(against) < 2:
        return []

    def figure(sound: str, metric: str) -> tuple[float, int]:
        row = next(r for r in against[sound][0] if r["metric"] == metric)
        return row["value"], row["count"]

    rows: list[dict[str, Any]] = []
    foreign = [sound for sound in against if sound != "own"]
    for metric, name in (("miou", "g_miou"), ("fscore", "g_fscore")):
        a, count = figure("own", metric)
        for sound in foreign:
            b = 1 - figure(sound, metric)[0]
            rows.append({"metric": f"{sound}: {name}", "value": 2 * a * b / max(a + b, 1e-8), "count": count})
    rows += [
        {"metric": f"{s}: false_positive_rate", "value": against[s][1], "count": figure(s, "miou")[1]} for s in foreign
    ]
    for name in ("g_miou", "g_fscore", "false_positive_rate"):
        mine = [row for row in rows if row["metric"].endswith(f": {name}")]
        mean = sum(row["value"] for row in mine) / len(mine)
        rows.append({"metric": f"mean: {name}", "value": mean, "count": mine[0]["count"]})
    return [{"protocol": "robust", **row} for row in rows]
