"""The rows of the paper's tables: which network, how trained at full and at reduced size, what was published."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PAPER = "Zhou et al., ECCV 2022, as remembered by the project's notes; check against the paper"


@dataclass(frozen=True)
class Row:
    """A system.

    Attributes:
        group: Task that it comes from.
        model: Catalogue name.
        options: Of the network.
        small: Options that replace these where a benchmark is run at reduced size, with random weights.
        training: Options of `AVSModule` at reduced size.
        stages: Options of trainings that follow one another, each from the weights of the one before.
        published: By subset, mIoU and F in percent, and where they were read; not our figures.
        label: Name in tables.
    """

    group: str
    model: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Mapping[str, Any], ...] = ({},)
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def _ours(fusion: str, label: str, **more: Any) -> Row:
    training = {"learning_rate": 0.002, "dice_weight": 0.3, "freeze_audio": False}
    small = {"backbone": "resnet18", "width": 64, "dilations": [1, 3, 6], "audio": "light"}
    return Row("AVS", "avs_resnet50", label, {"fusion": fusion}, small, training, **more)


ROWS: dict[str, Row] = {
    "pixels_that_sound": Row("training-free", "pixels_that_sound", "Pixels that Sound"),
    "lvs": Row("SSL", "lvs", "LVS", training={"learning_rate": 1e-3}, published={"s4": (37.94, 51.0), "ms3": (29.45, 33.0)}),
    "mssl": Row(
        "SSL", "mssl", "MSSL", training={"learning_rate": 1e-3}, stages=({"stage": 1}, {"stage": 2}),
        published={"s4": (44.89, 66.3), "ms3": (26.13, 36.3)},
    ),
    "3dc": Row(
        "VOS", "3dc_resnet50", "3DC", small={"depth": 18, "width": 32}, training={"learning_rate": 1e-3},
        published={"s4": (57.10, 75.9), "ms3": (36.92, 50.3)},
    ),
    "sst": Row(
        "VOS", "sst_resnet50", "SST", small={"width": 96, "layers": 2}, training={"learning_rate": 3e-4},
        published={"s4": (66.29, 80.1), "ms3": (42.57, 57.2)},
    ),
    "igan": Row(
        "SOD", "igan_resnet50", "iGAN", small={"backbone": "resnet18"},
        training={"learning_rate": 1e-3, "adversary_rate": 0.4, "betas": [0.5, 0.999]},
        published={"s4": (61.59, 77.8), "ms3": (42.89, 54.4)},
    ),
    "lgvt": Row(
        "SOD", "lgvt_swin_b_224", "LGVT", small={"backbone": "swin_tiny_patch4_window7_224"},
        training={"learning_rate": 3e-4, "betas": [0.5, 0.999]}, published={"s4": (74.94, 87.3), "ms3": (40.71, 59.3)},
    ),
    "two_stage": Row(
        "two-stage", "two_stage_maskrcnn_v2", "Mask R-CNN + choice",
        small={"detector": "maskrcnn_resnet18_fpn", "backbone": "resnet18", "audio": "light", "score": 0.2},
        training={"learning_rate": 1e-3, "freeze_audio": False}, stages=({"stage": "detect"}, {"stage": "select"}),
    ),
    "none": _ours("none", "AVS, no audio"),
    "add": _ours("add", "AVS, A+V addition"),
    "tpavi": _ours("tpavi", "AVS, TPAVI", published={"s4": (72.79, 84.8), "ms3": (47.88, 57.8)}),
}  # fmt: skip
"""In the order of the tables. Published figures are of full-size models on AVSBench."""
