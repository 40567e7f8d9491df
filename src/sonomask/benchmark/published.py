"""Published figures of the field on AVSBench, each with where it was read. None was measured here.

Figures of models of the catalogue stand in their records (`models.record.Figure`); those of other systems here.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sonomask.models.catalog import records

__all__ = ["FIELD", "Published", "markdown", "table"]

Pair = tuple[float, float | None] | None


class Published(NamedTuple):
    """A system's figures.

    Attributes:
        system: Its name.
        venue: Conference or journal, and year.
        network: Backbone, and the side of its pictures if that is not 224.
        s4: mIoU and F in percent; F is None, or the pair is, where the source tells none.
        ms3: The same.
        avss: The same.
        protocol: Known facts about the scoring protocol.
        source: Document in which the figures were read.
    """

    system: str
    venue: str
    network: str
    s4: Pair
    ms3: Pair
    avss: Pair
    protocol: str
    source: str


_CAVP, _STONES, _TESO = "README of CAVP", "README of Stepping-Stones", "result tables of TeSO's repository"
_KEVA = "README of SKA-VCT, 2026-02-27"

FIELD: tuple[Published, ...] = (
    Published("AuTR", "arXiv 2023", "ResNet-50", (75.0, 85.2), (49.4, 61.2), None, "", _CAVP),
    Published("CATR", "MM 2023", "ResNet-50", (74.8, 86.6), (52.8, 65.3), None, "", _CAVP),
    Published("CATR", "MM 2023", "PVT-v2-B5", (81.4, 89.6), (59.0, 70.0), (32.8, 38.5), "", _STONES),
    Published("AVSC", "MM 2023", "ResNet-50", (77.02, 85.24), (49.58, 61.51), None, "", _CAVP),
    Published("AVSC", "MM 2023", "PVT-v2-B5", (80.6, 88.2), (58.2, 65.1), None, "", _STONES),
    Published("AQFormer", "IJCAI 2023", "ResNet-50 (COCO)", (77.0, 86.4), (55.7, 66.9), None, "", _CAVP),
    Published("AQFormer", "IJCAI 2023", "PVT-v2-B5", (81.6, 89.4), (61.1, 72.1), None, "", _STONES),
    Published("ECMVAE", "ICCV 2023", "ResNet-50", (76.33, 86.5), (48.69, 60.7), None, "", _CAVP),
    Published("ECMVAE", "ICCV 2023", "PVT-v2-B5", (81.7, 90.1), (57.8, 70.8), None, "", _STONES),
    Published("DiffusionAVS", "arXiv 2023", "ResNet-50", (75.8, 86.9), (49.77, 62.1), None, "", _CAVP),
    Published("DiffusionAVS", "arXiv 2023", "PVT-v2-B5", (81.4, 90.2), (58.2, 70.9), None, "", _STONES),
    Published("AVSBG", "AAAI 2024", "ResNet-50", (74.13, 85.4), (44.95, 56.8), None, "", "READMEs of CAVP and Stepping-Stones"),
    Published("BAVS", "TMM 2024", "ResNet-50, BEATs", (77.96, 85.29), (50.23, 62.37), (24.68, 29.63), "", _CAVP),
    Published("MUTR", "AAAI 2024", "Video-Swin-B", (81.6, 89.7), (64.0, 73.5), None, "", _TESO),
    Published("SAMA-AVS", "WACV 2024", "SAM ViT-H, 1024", (81.53, 88.6), (63.14, 69.1), None, "batch1", _TESO),
    Published("GAVS", "AAAI 2024", "SAM ViT-B, 1024", (80.06, 90.2), (63.7, 77.4), None, "threshold0.4", _TESO),
    Published("CAVP", "CVPR 2024", "ResNet-50", (78.78, 88.89), (55.82, 67.14), (30.37, 35.29), "", _CAVP),
    Published("CAVP", "CVPR 2024", "ResNet-50", (89.43, 94.5), (72.79, 83.05), (44.7, 57.76), "dataset", _CAVP),
    Published("TeSO", "ECCV 2024", "Swin-B", (83.27, 93.3), (66.02, 80.1), (38.96, 45.1), "", _TESO),
    Published("Stepping Stones", "ECCV 2024", "Swin-B", (83.18, 91.33), (67.3, 77.63), (48.5, 53.2), "", _STONES),
    Published("SelM", "MM 2024", "ResNet-50", (76.6, 86.2), (54.5, 65.6), (31.9, 37.2), "", "README of SelM"),
    Published("SelM", "MM 2024", "PVT-v2-B5", (83.5, 91.2), (60.3, 71.3), (41.3, 46.9), "", "README of SelM"),
    Published("AVESFormer", "arXiv 2024", "ResNet-50", (79.9, None), (57.9, None), (31.2, None), "", "arXiv 2408.01708"),
    Published("SAVE", "arXiv 2024", "SAM, 256", (84.59, None), (70.28, None), None, "", "abstract of arXiv 2407.02004"),
    Published("SAVE", "arXiv 2024", "SAM, 1024", (86.16, None), (70.83, None), None, "", "abstract of arXiv 2407.02004"),
    Published("TAViS", "ICCV 2025", "SAM 2, ImageBind", (84.8, 91.2), (68.2, 75.9), (44.2, None), "", "arXiv 2506.11436"),
    Published("TAViS", "ICCV 2025", "SAM 2, ImageBind, 1024", (87.0, 92.6), (71.2, 79.6), None, "", "arXiv 2506.11436"),
    Published("ICF", "ICCV 2025", "", (86.63, 93.51), (64.38, 75.39), (45.03, 51.28), "", _KEVA),
    Published("SSP", "arXiv 2601.08133", "", (85.4, 93.3), (72.3, 84.6), (50.1, 54.5), "", _KEVA),
    Published("KEVA", "2026", "Swin-B, 384, five seeds", (87.42, 95.1), (73.5, 84.88), (51.98, 56.33), "combo", _KEVA),
    Published("LightAVSeg", "ICML 2026", "SeaFormer-L", (75.6, None), (50.4, None), None, "", "abstract of arXiv 2605.08805"),
    Published("EASE", "2026", "PVT-v2-B5, DINOv3", None, None, None, "", "its README has none; 18 checkpoints"),
)  # fmt: skip
"""In the order of their years."""


def table() -> list[Published]:
    """The figures of the catalogue's models, then those of other systems."""
    own: list[Published] = []
    for record in records().values():
        for preset in dict.fromkeys(figure.preset.replace("avss_", "avs_") for figure in record.figures):
            mine = [f for f in record.figures if f.preset.replace("avss_", "avs_") == preset]
            pairs: dict[str, Pair] = {f.data: (f.miou, f.fscore) for f in mine}
            protocols = ", ".join(dict.fromkeys(f.protocol for f in mine))
            sources = "; ".join(dict.fromkeys(f.source for f in mine))
            subsets = (pairs.get("s4"), pairs.get("ms3"), pairs.get("avss"))
            own.append(Published(preset, record.paper, "", *subsets, protocols, sources))
    return [*own, *FIELD]


def markdown(rows: Iterable[Published] | None = None) -> str:
    """The table for a report, marked as what it is."""
    head = (
        "Published figures, mIoU / F in percent, full-size networks on AVSBench. **Not measured here**, and of different "
        "protocols: compare within one only; an empty protocol is not told by the source."
    )
    lines = [
        head,
        "",
        "| system | where | sees with | S4 | MS3 | AVSS | protocol | read in |",
        "|---|---|---|--:|--:|--:|---|---|",
    ]
    for row in table() if rows is None else rows:
        cells = [row.system, row.venue, row.network, *map(_cell, (row.s4, row.ms3, row.avss)), row.protocol, row.source]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(pair: Pair) -> str:
    if pair is None:
        return ""
    return f"{pair[0]:g}" + ("" if pair[1] is None else f" / {pair[1]:g}")
