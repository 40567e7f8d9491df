"""The options of a benchmark and the paths of its runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonomask.benchmark.floors import FLOORS
from sonomask.benchmark.rows import ROWS

__all__ = ["CLIPS", "KINDS", "REAL", "Plan"]

DATA = {"synthetic": "sonomask.data.datamodule.SyntheticDataModule"}
AVSBENCH = "sonomask.data.datamodule.AVSBenchDataModule"
CLIPS, REAL = "clips.csv", "real.csv"
"""Names of a run's files with the scores of each test clip, and of each labelled real clip."""
KINDS = {"s4": "single", "ms3": "multi"}


@dataclass(frozen=True)
class Plan:
    """The options of a benchmark, which apply to every system.

    Attributes:
        data: "synthetic", or a folder with AVSBench in it.
        out: Folder of everything.
        size: Height and width.
        steps: Training steps, of all stages of a row together.
        batch_size: Clips.
        small: Shallow networks with random weights, as stated in `rows.py`; otherwise the catalogue's.
        seeds: One run each.
        repeated: Rows that run with every seed; the others with the first. None for all rows.
        clips: Clips of the test split of the synthetic world.
        device: Device to score on.
        precision: Precision of training, as Lightning names it.
        frozen: Whether backbones stay as they begin, so that what they make of a picture is computed once (`training.kept`);
            `small` only, with a `world` model as `backbone_weights`.
        backbone_weights: A ResNet-18 from which every row that has one starts; random weights unless given. `small` only.
        audio_weights: A model (`world_duo.real`) whose tagger our rows and the two-stage one hear with, unchanged; a light
            encoder with random weights, which learns, unless given. `small` only.
        pairs: Row that the others are compared with, clip by clip.
        real: Folder of labelled real clips (`labelled`), on which every row is scored too; None for none.
    """

    data: str
    out: Path
    size: int = 224
    steps: int = 1000
    batch_size: int = 4
    small: bool = False
    seeds: tuple[int, ...] = (1,)
    repeated: tuple[str, ...] | None = None
    clips: int = 100
    device: str = "cpu"
    precision: str = "32"
    backbone_weights: str | None = None
    audio_weights: str | None = None
    frozen: bool = False
    pairs: str = "tpavi"
    real: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be frozen or compared.

        Raises:
            ValueError: Says what frozen backbones want, or which rows there are to compare with.
        """
        if self.pairs not in (*FLOORS, *ROWS):
            raise ValueError(f"`pairs`: expected one of {', '.join([*FLOORS, *ROWS])}, got {self.pairs!r}.")
        if self.frozen and not (self.small and self.backbone_weights and self.audio_weights):
            raise ValueError(
                "`frozen`: expected small rows that begin with given weights. Add --small --backbone-weights world_duo.real "
                "--audio-weights world_duo.real."
            )

    @property
    def kept(self) -> Path:
        """Path of the stored outputs of frozen parts, for all systems, seeds and subsets."""
        return self.out / "kept"

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """The seeds of a row."""
        once = (
            name in FLOORS
            or (name in ROWS and not ROWS[name].needs_weights)
            or (self.repeated is not None and name not in self.repeated)
        )
        return self.seeds[:1] if once else self.seeds

    def folder_of(self, name: str, subset: str, seed: int) -> Path:
        """Folder of a run's scores, logs and models."""
        return self.out / "runs" / f"{Path(name).name}_{subset}_{seed}"

    def data_options(self, subset: str, seed: int) -> list[str]:
        """Options of the data module."""
        own: dict[str, Any] = {"size": self.size, "batch_size": self.batch_size, "workers": 0, "seed": seed}
        if self.data == "synthetic":
            own |= {"kind": KINDS[subset], "train": self.steps * self.batch_size, "val": 20, "test": self.clips}
        else:
            own |= {"root": self.data, "subset": subset, "cache": self.out / "cache"}
        name = DATA.get(self.data, AVSBENCH)
        return ["--data.class_path", name, *(w for k, v in own.items() for w in (f"--data.init_args.{k}", str(v)))]
