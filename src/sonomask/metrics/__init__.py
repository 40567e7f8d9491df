"""Figures of masks: functions, and torchmetrics classes that gather them over a data set and over processes."""

from sonomask.metrics.binary import AVSMetrics
from sonomask.metrics.boundary import boundary_fscore
from sonomask.metrics.fscore import fscore
from sonomask.metrics.jaccard import jaccard
from sonomask.metrics.of_model import metrics_of
from sonomask.metrics.protocols import PROTOCOLS, SEMANTIC_PROTOCOLS, Protocol
from sonomask.metrics.semantic import SemanticMetrics
from sonomask.metrics.timing import delays

__all__ = [
    "PROTOCOLS",
    "SEMANTIC_PROTOCOLS",
    "AVSMetrics",
    "Protocol",
    "SemanticMetrics",
    "boundary_fscore",
    "delays",
    "fscore",
    "jaccard",
    "metrics_of",
]
