"""Protocols: named ways of combining the scores of frames into the score of a data set.

The published F-score takes the greatest value of a mean curve in each test batch, so it depends on the batch size, which
differs from paper to paper; a figure without its protocol can't be compared.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Protocol:
    """A way to average.

    Attributes:
        unit: "batch": clips in the order of the data set form batches; frames are averaged in a batch, batches (the last,
            shorter one with the same weight) among one another; a batch of nothing but silence has F = 0. "video": each
            clip by itself; one of nothing but silence has no F. "frame": each frame by itself; a silent one has F = 0.
            "dataset": pixels are summed over everything.
        batch: Clips in a batch.
        threshold: Threshold of the probability, for the IoU.
        source: Papers and programs that use the protocol.
    """

    unit: Literal["batch", "video", "frame", "dataset"] = "batch"
    batch: int = 4
    threshold: float = 0.5
    source: str = ""


PROTOCOLS: dict[str, Protocol] = {
    "avsbench": Protocol(source="AVSBench's test scripts (Zhou et al., ECCV 2022), and most papers since"),
    "batch1": Protocol(batch=1, source="AVSBench's default option; SAMA-AVS"),
    "batch2": Protocol(batch=2, source="AVSegFormer"),
    "batch8": Protocol(batch=8),
    "combo": Protocol(batch=1, source="COMBO, VCT: each video by itself, 0 for one of nothing but silence"),
    "video": Protocol(unit="video", source="ours: no batch, no penalty for silent videos"),
    "ease": Protocol(unit="frame", source="EASE: each frame by itself, its greatest F, 0 for a silent one"),
    "dataset": Protocol(unit="dataset", source="CAVP, DDESeg"),
    "threshold0.4": Protocol(batch=1, threshold=0.4, source="GAVS, Ref-AVS"),
}

SEMANTIC_PROTOCOLS: dict[str, str] = {
    "avss": "all frames, the zero-padded ones of short clips too, as AVSBench's test does",
    "avss_unpadded": "only frames that exist, as COMBO and VCT do",
}


def protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        ValueError: There is none.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"`protocols`: expected names among {', '.join(PROTOCOLS)}, got {name!r}.")
    return PROTOCOLS[name]
