"""The metric that fits a model."""

from collections.abc import Sequence

from sonomask.metrics.binary import AVSMetrics
from sonomask.metrics.semantic import SemanticMetrics
from sonomask.structures import ModelConfig

__all__ = ["metrics_of"]


def metrics_of(config: ModelConfig, protocols: Sequence[str], *, details: bool = False) -> AVSMetrics | SemanticMetrics:
    """The metric for a model's masks: of its classes if it is semantic, else binary.

    Args:
        config: The model's.
        protocols: Names of scoring protocols of a binary model; a semantic model's are both of AVSS.
        details: Add boundary F and figures of each category; of a semantic model, of each class and its mistakes.
    """
    if config.semantic:
        return SemanticMetrics(config.num_classes, names=config.classes, details=details)
    return AVSMetrics(protocols=tuple(protocols), boundary=details, categories=details)
