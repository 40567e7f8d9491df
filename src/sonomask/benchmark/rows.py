"""The rows of the paper's tables: which network, how trained at full and at reduced size, what was published."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sonomask.benchmark.floors import FLOORS
from sonomask.models.catalog import record_of
from sonomask.models.record import Figure


@dataclass(frozen=True)
class Row:
    """A system.

    Attributes:
        group: Task that it comes from.
        model: Catalogue name.
        options: Options of the network.
        small: Options that replace these where a benchmark is run at reduced size, with random weights.
        kept: Options that replace both where the backbone is frozen (`Plan.frozen`); None for a row that learns whole even
            then.
        training: Options of `AVSModule` at reduced size.
        stages: Options of trainings that follow one another, each from the weights of the one before.
        pictures: Whether it has a ResNet-18 at reduced size, which can start from given weights.
        matching: Whether L_AVM of the subset is among its losses.
        after: Subset and row whose weights it starts from; it is run on other subsets only.
        whole: Subsets on which the row is the complete model that its authors publish figures for, see `published`.
        label: Name in tables.
    """

    group: str
    model: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Any] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Mapping[str, Any], ...] = ({},)
    pictures: bool = True
    matching: bool = False
    after: tuple[str, str] | None = None
    whole: tuple[str, ...] = ("s4", "ms3")

    def on(self, subset: str) -> bool:
        """Whether the system runs on a subset."""
        return self.after is None or self.after[0] != subset

    @property
    def needs_weights(self) -> bool:
        """Whether the system has to be trained; False for one that is ready as built."""
        return record_of(self.model).needs_weights

    def published(self, subset: str) -> Figure | None:
        """The published figure of the full-size model; None where none is known with its source."""
        figures = record_of(self.model).figures if subset in self.whole else ()
        return next((f for f in figures if (f.preset, f.data) == (self.model, subset)), None)


LITE = {"backbone": "tf_efficientnet_lite2"}
"""The picture side of the built-in readers, with which rows whose backbone is frozen begin."""


def _ours(fusion: str, label: str, **more: Any) -> Row:
    training = {"learning_rate": 0.002, "dice_weight": 0.3, "freeze_audio": False}
    small = {"backbone": "resnet18", "width": 64, "dilations": [1, 3, 6], "audio": "light"}
    kept = {**LITE, "width": 32, "fine": False}
    return Row("AVS", "avs_resnet50", label, {"fusion": fusion}, small, kept, training, **more)


EAR = {"audio": "tagger"}

TAGGER = {**EAR, "sound_channels": 1024}
"""The audio encoder of rows at reduced size that start from given weights, in place of the light one."""


ROWS: dict[str, Row] = {
    "pixels_that_sound": Row("training-free", "pixels_that_sound", "Pixels that Sound"),
    "lvs": Row("SSL", "lvs", "LVS", kept={**LITE, **EAR}, training={"learning_rate": 1e-3}),
    "mssl": Row(
        "SSL", "mssl", "MSSL", kept={**LITE, **EAR}, training={"learning_rate": 1e-3}, stages=({"stage": 1}, {"stage": 2}),
    ),
    "3dc": Row(
        "VOS", "3dc_resnet50", "3DC", small={"depth": 18, "width": 32}, training={"learning_rate": 1e-3},
        pictures=False,
    ),
    "sst": Row(
        "VOS", "sst_resnet50", "SST", small={"backbone": "resnet18", "width": 96, "layers": 2}, kept=LITE,
        training={"learning_rate": 3e-4},
    ),
    "igan": Row(
        "SOD", "igan_resnet50", "iGAN", small={"backbone": "resnet18"}, kept=LITE,
        training={"learning_rate": 1e-3, "adversary_rate": 0.4, "betas": [0.5, 0.999]},
    ),
    "lgvt": Row(
        "SOD", "lgvt_swin_b_224", "LGVT", small={"backbone": "swin_tiny_patch4_window7_224"},
        training={"learning_rate": 3e-4, "betas": [0.5, 0.999]}, pictures=False,
    ),
    "two_stage": Row(
        "two-stage", "two_stage_maskrcnn_v2", "Mask R-CNN + choice",
        small={"detector": "maskrcnn_resnet18_fpn", "backbone": "resnet18", "audio": "light", "score": 0.2},
        training={"learning_rate": 1e-3, "freeze_audio": False}, stages=({"stage": "detect"}, {"stage": "select"}),
    ),
    "none": _ours("none", "AVS, no audio", whole=()),
    "add": _ours("add", "AVS, A+V addition", whole=()),
    "add_avm": _ours("add", "AVS, A+V addition + L_AVM", matching=True, whole=()),
    "tpavi": _ours("tpavi", "AVS, TPAVI", whole=("s4",)),
    "tpavi_avm": _ours("tpavi", "AVS, TPAVI + L_AVM", matching=True, whole=("ms3",)),
    "tpavi_from_s4": _ours("tpavi", "AVS, TPAVI, from S4", after=("s4", "tpavi"), whole=()),
}  # fmt: skip
"""In the order of the tables."""


def row_of(name: str) -> Row:
    """The row of a name, of an answer that needs no network, or of a model's folder."""
    if name in FLOORS:
        return Row("floor", name, FLOORS[name].label)
    return ROWS.get(name) or Row("given", name, Path(name).name)
